package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/taskerhq/tasker/internal/broker"
)

var errGone = errors.New("already settled, or its consumer has ended")

type delivery struct {
	broker      *Broker
	queue       *queue
	consumer    *consumer
	message     *message
	name        string
	redelivered bool
	settled     bool // guarded by the broker's mutex
}

var _ broker.Delivery = (*delivery)(nil)

func (d *delivery) Body() []byte      { return d.message.body }
func (d *delivery) MessageID() string { return d.message.id }
func (d *delivery) Redelivered() bool { return d.redelivered }

// Ack implements [broker.Delivery].
func (d *delivery) Ack() error { return d.settle("acknowledge", func() {}) }

// DeadLetter implements [broker.Delivery].
func (d *delivery) DeadLetter(ctx context.Context, reason string) error {
	if ctx.Err() != nil {
		return d.wrap("dead-letter", context.Cause(ctx))
	}
	return d.settle("dead-letter", func() { d.broker.deadLetter(d.name, reason, d.message) })
}

// Requeue implements [broker.Delivery].
func (d *delivery) Requeue() error {
	return d.leave("requeue", d.queue.putBack, func() {})
}

// settle removes the message from its queue and calls then, under the lock.
func (d *delivery) settle(what string, then func()) error { return d.leave(what, d.queue.settle, then) }

// leave makes the consumer give up the message with release, and calls then.
func (d *delivery) leave(what string, way func(*consumer, *message) bool, then func()) error {
	d.broker.mu.Lock()
	defer d.broker.mu.Unlock()
	if d.broker.isClosed {
		return d.wrap(what, broker.ErrClosed)
	}
	// A requeued message may be at the same consumer again.
	if d.settled || !way(d.consumer, d.message) {
		return d.wrap(what, errGone)
	}
	d.settled = true
	then()
	return nil
}

func (d *delivery) wrap(what string, err error) error {
	return fmt.Errorf("%s message %q of queue %s: %w", what, d.message.id, d.name, err)
}
