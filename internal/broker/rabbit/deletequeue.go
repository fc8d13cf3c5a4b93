package rabbit

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// DeleteQueue implements [broker.Broker]. RabbitMQ cannot delete a quorum queue
// on the condition that it has no consumer, so that is checked before.
func (b *Broker) DeleteQueue(ctx context.Context, q broker.Queue) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer b.group.bind(cancel)()
	b.publisher.start()
	l := b.publisher.link
	conn, err := l.connection(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", broker.ErrNotConnected, err)
	}
	ch, err := l.open(ctx, conn, func(ch *amqp.Channel) error {
		state, err := ch.QueueDeclarePassive(q.Name(), true, false, false, false, nil)
		if err != nil {
			return err
		}
		if state.Consumers > 0 {
			return broker.ErrInUse
		}
		_, err = ch.QueueDelete(q.Name(), false, false, false)
		return err
	})
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
		return nil
	}
	if err != nil {
		return explain(err)
	}
	l.closeChannel(ch)
	return nil
}
