package rabbit

import "github.com/taskerhq/tasker/internal/broker"

// SetBlocked simulates RabbitMQ's connection.blocked and connection.unblocked,
// which a test cannot cause without affecting others.
func (b *Broker) SetBlocked(blocked bool, reason string) {
	b.publisher.link.setBlocked(blocked, reason)
}

// Session returns the session that publishes now, or nil.
func (b *Broker) Session() any {
	if s := b.publisher.shared.session.Load(); s != nil {
		return s
	}
	return nil
}

// Unconfirmed returns the number of unconfirmed messages.
func (b *Broker) Unconfirmed() int {
	if s := b.publisher.shared.session.Load(); s != nil {
		return len(s.slots)
	}
	return 0
}

// BreakChannel violates AMQP on a delivery's channel, so that RabbitMQ closes
// that channel only.
func BreakChannel(d broker.Delivery) error {
	return d.(*delivery).ch.Ack(1<<40, false)
}
