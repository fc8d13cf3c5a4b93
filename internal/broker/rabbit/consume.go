package rabbit

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

const (
	defaultPrefetch = 64
	maxPrefetch     = 1<<16 - 1 // 16 bits in AMQP
)

// errCanceled is why a consumer ended whose queue is gone, while its channel is
// open.
var errCanceled = errors.New("consumer ended by the broker: its queue was deleted or moved")

// errGone is why a consumer ended that the checker found useless.
var errGone = errors.New("queue is gone, or has forgotten its consumer")

// Consume implements [broker.Broker].
func (b *Broker) Consume(ctx context.Context, s broker.Subscription) error {
	if s.Prefetch <= 0 {
		s.Prefetch = defaultPrefetch
	}
	s.Prefetch = min(s.Prefetch, maxPrefetch)
	return b.keep(ctx, "queue "+s.Queue.Name(), func(ctx context.Context, conn *amqp.Connection) error {
		return b.consume(ctx, conn, s)
	})
}

// keep runs consumer over one connection after another. It returns nil when ctx
// ends, and an error when the Broker is closed.
func (b *Broker) keep(ctx context.Context, what string, consumer func(context.Context, *amqp.Connection) error) error {
	if err := b.group.err(); err != nil {
		return fmt.Errorf("consume from %s: %w", what, err)
	}
	b.startConsuming()
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer b.group.bind(cancel)()

	pause := newRetry()
	logged := ""
	for {
		conn, err := b.consumes.connection(both)
		if err == nil {
			since := time.Now()
			err = consumer(both, conn)
			pause.worked(since)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := b.group.err(); err != nil {
			return fmt.Errorf("consume from %s: %w", what, err)
		}
		err = explain(err)
		switch {
		case conn.IsClosed():
			b.log.DebugContext(ctx, "consumer lost its connection", "from", what, "err", err)
		case err.Error() == logged:
			b.log.DebugContext(ctx, "consumer ended, starting another", "from", what, "err", err)
		default:
			b.log.WarnContext(ctx, "consumer ended, starting others until one lasts", "from", what, "err", err)
			logged = err.Error()
		}
		pause.wait(both)
	}
}

// consume delivers over one channel until that or ctx ends.
func (b *Broker) consume(ctx context.Context, conn *amqp.Connection, s broker.Subscription) error {
	var deliveries <-chan amqp.Delivery
	var closes chan *amqp.Error
	ch, err := b.consumes.open(ctx, conn, func(ch *amqp.Channel) (err error) {
		closes = ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := b.cfg.declareQueue(ch, s.Queue); err != nil {
			return err
		}
		if err := ch.Qos(s.Prefetch, 0, false); err != nil {
			return err
		}
		deliveries, err = ch.Consume(s.Queue.Name(), "", false, false, false, false, nil)
		return err
	})
	if err != nil {
		return err
	}
	// Closing the channel returns unsettled messages to the queue.
	defer b.consumes.closeChannel(ch)
	var consumed flow
	acks := newAcks(ch, &consumed)
	stale, unwatch := b.checker.watch(bindings(s.Queue), s.Queue.Name(), &consumed)
	defer unwatch()
	if s.Ready != nil {
		s.Ready(true)
		defer s.Ready(false)
	}
	return each(ctx, deliveries, closes, stale, func(d amqp.Delivery) error {
		consumed.taken.Add(1)
		if len(d.Body) > b.cfg.MaxBody {
			b.log.WarnContext(ctx, "message too large: it becomes a dead letter", "queue", s.Queue.Name(), "message_id", d.MessageId,
				"bytes", len(d.Body), "limit", b.cfg.MaxBody)
			return acks.reject(d.DeliveryTag)
		}
		s.Deliver(&delivery{amqp: d, ch: ch, queue: s.Queue.Name(), broker: b, acks: acks})
		return nil
	})
}

// each passes the deliveries of a consumer to handle until that fails, or the
// channel, the queue (stale, may be nil) or ctx ends, and returns why.
func each(ctx context.Context, deliveries <-chan amqp.Delivery, closes <-chan *amqp.Error, stale <-chan struct{},
	handle func(amqp.Delivery) error,
) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-stale:
			return errGone
		case d, ok := <-deliveries:
			if !ok {
				return endOf(closes)
			}
			if err := handle(d); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// endOf returns why the deliveries of a channel ended. The client reports the
// channel's reason before it ends the deliveries.
func endOf(closes <-chan *amqp.Error) error {
	select {
	case reason := <-closes:
		return endReason(reason)
	default:
		return errCanceled
	}
}
