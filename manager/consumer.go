package manager

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// consumer decodes the messages of the queues and hands them to the recorder.
type consumer struct {
	broker      Broker
	recorder    *recorder
	deadLetters *deadLetters
	prefetch    int
	log         *slog.Logger
}

// run subscribes to the queue of a pool until ctx ends. It raises subscribed each
// time that the consumer is registered.
func (c *consumer) run(ctx context.Context, p *pool, subscribed signal.Signal) {
	err := c.broker.Consume(ctx, broker.Subscription{
		Queue:    p.queue,
		Prefetch: c.prefetch,
		Deliver:  func(d broker.Delivery) { c.deliver(ctx, p, d) },
		Ready: func(registered bool) {
			p.consumed.Store(registered)
			if registered {
				subscribed.Raise()
			}
		},
	})
	if err != nil && ctx.Err() == nil {
		c.log.ErrorContext(ctx, "consumer ended", "queue", p.queue.Name(), "err", err)
	}
}

// deliver passes on a message to be recorded. An undecodable one, or one of another
// type, becomes a dead letter.
func (c *consumer) deliver(ctx context.Context, p *pool, d broker.Delivery) {
	message, err := wire.DecodeTask(d.Body())
	if err == nil && message.Type != p.queue.TaskType {
		err = fmt.Errorf("wrong task type %s: received from the queue of %s", message.Type, p.queue.TaskType)
	}
	if err != nil {
		c.deadLetters.add(ctx, p.queue, d, err.Error())
		return
	}
	// If ctx ends first, the message is not settled: the queue keeps it.
	_ = c.recorder.submit(ctx, incoming{pool: p, message: message, delivery: d})
}
