package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// maxReason limits the reason in a dead letter's header, in bytes.
const maxReason = 1024

var errSettled = errors.New("message is already settled")

// delivery is one message. Its tag belongs to its channel, which is never
// opened again: a late settlement fails and cannot settle another message.
type delivery struct {
	amqp    amqp.Delivery
	ch      *amqp.Channel
	queue   string
	broker  *Broker
	acks    *acks
	settled atomic.Bool
}

var (
	_ broker.Delivery = (*delivery)(nil)
	_ broker.Grouped  = (*delivery)(nil)
)

func (d *delivery) Body() []byte      { return d.amqp.Body }
func (d *delivery) MessageID() string { return d.amqp.MessageId }
func (d *delivery) Redelivered() bool { return d.amqp.Redelivered }

// Group implements [broker.Grouped].
func (d *delivery) Group() broker.Group { return d.acks }

// Ack implements [broker.Delivery]. A second settlement must fail here: the
// broker would close the channel, with all its deliveries.
func (d *delivery) Ack() error {
	if !d.settled.CompareAndSwap(false, true) {
		return d.wrap("acknowledge", errSettled)
	}
	if err := d.acks.ack(d.amqp.DeliveryTag); err != nil {
		return d.wrap("acknowledge", err)
	}
	return nil
}

// DeadLetter implements [broker.Delivery].
func (d *delivery) DeadLetter(ctx context.Context, reason string) error {
	if d.ch.IsClosed() {
		return d.wrap("dead-letter", amqp.ErrClosed)
	}
	if !d.settled.CompareAndSwap(false, true) {
		return d.wrap("dead-letter", errSettled)
	}
	message := deadPublishing(broker.DeadLetter{
		Body: d.amqp.Body, MessageID: d.amqp.MessageId, Queue: d.queue, Reason: reason,
	})
	message.ContentType = d.amqp.ContentType
	if err := d.broker.deadLetter(ctx, message); err != nil {
		d.settled.Store(false)
		return d.wrap("dead-letter", err)
	}
	if err := d.acks.ack(d.amqp.DeliveryTag); err != nil {
		return d.wrap("acknowledge the dead-lettered", err)
	}
	return nil
}

// Requeue implements [broker.Delivery].
func (d *delivery) Requeue() error {
	if !d.settled.CompareAndSwap(false, true) {
		return d.wrap("requeue", errSettled)
	}
	if err := d.acks.requeue(d.amqp.DeliveryTag); err != nil {
		return d.wrap("requeue", err)
	}
	return nil
}

func (d *delivery) wrap(what string, err error) error {
	return fmt.Errorf("%s message %q of queue %s: %w", what, d.amqp.MessageId, d.queue, err)
}
