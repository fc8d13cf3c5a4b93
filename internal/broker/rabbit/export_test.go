package rabbit

import "github.com/taskerhq/tasker/internal/broker"

// SetBlocked does what RabbitMQ's connection.blocked and connection.unblocked
// do, which no test can cause without harm to those beside it.
func (b *Broker) SetBlocked(blocked bool, reason string) {
	b.publisher.link.setBlocked(blocked, reason)
}

// Session names the channel that publishes now; nil where there is none.
func (b *Broker) Session() any {
	if s := b.publisher.shared.session.Load(); s != nil {
		return s
	}
	return nil
}

// Unconfirmed returns how many messages wait for their confirm.
func (b *Broker) Unconfirmed() int {
	if s := b.publisher.shared.session.Load(); s != nil {
		return len(s.slots)
	}
	return 0
}

// BreakChannel breaks a rule of AMQP on the channel that a delivery came by,
// for which RabbitMQ closes it, and nothing else.
func BreakChannel(d broker.Delivery) error {
	return d.(*delivery).ch.Ack(1<<40, false)
}
