package rabbit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// deadPrefetch limits the dead letters waiting in this process. It is small, since
// each waits for the pauses of failed ones before it, and may be as large as RabbitMQ
// takes.
const deadPrefetch = 4

// headerDeath is RabbitMQ's own record of dead-lettering, newest first.
const headerDeath = "x-death"

// deathRejected is the reason in RabbitMQ's record of a message that a consumer rejected.
const deathRejected = "rejected"

// ConsumeDeadLetters implements [broker.Broker].
func (b *Broker) ConsumeDeadLetters(ctx context.Context, handle func(context.Context, broker.DeadLetter) error) error {
	return b.keep(ctx, "queue "+broker.DeadQueue, func(ctx context.Context, conn *amqp.Connection) error {
		return b.consumeDead(ctx, conn, handle)
	})
}

// consumeDead handles dead letters over one channel until that or ctx ends.
func (b *Broker) consumeDead(ctx context.Context, conn *amqp.Connection, handle func(context.Context, broker.DeadLetter) error) error {
	var deliveries <-chan amqp.Delivery
	var closes chan *amqp.Error
	ch, err := b.consumes.open(ctx, conn, func(ch *amqp.Channel) (err error) {
		closes = ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := b.cfg.declareDeadLetters(ch, false); err != nil {
			return err
		}
		if err := ch.Qos(deadPrefetch, 0, false); err != nil {
			return err
		}
		deliveries, err = ch.Consume(broker.DeadQueue, "", false, false, false, false, nil)
		return err
	})
	if err != nil {
		return err
	}
	defer b.consumes.closeChannel(ch)
	stale, unwatch := b.checker.watch(deadLettersBinding(), broker.DeadQueue, nil)
	defer unwatch()
	pause := newRetry()
	return each(ctx, deliveries, closes, stale, func(d amqp.Delivery) error {
		return b.takeDead(ctx, d, handle, &pause)
	})
}

// takeDead handles one dead letter. One without an ID is first published again
// with one, so that the handler can recognize it. One that could not be handled
// is published again as well, instead of requeued: so it does not block the
// others, and no delivery limit of a quorum queue drops it. A crash after the
// confirm leaves two with the same ID or, for a letter without one, two
// letters; never none.
func (b *Broker) takeDead(
	ctx context.Context, d amqp.Delivery, handle func(context.Context, broker.DeadLetter) error, pause *retry,
) error {
	letter := deadLetterOf(d, b.cfg.MaxBody)
	if letter.ID != "" {
		err := handle(ctx, letter)
		if err == nil {
			pause.Reset()
			return d.Ack(false)
		}
		b.log.DebugContext(ctx, "dead letter not handled: it comes again", "message_id", letter.MessageID, "err", err)
		pause.wait(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx) // it returns when the channel ends
		}
	}
	message := deadPublishing(letter)
	message.ContentType = d.ContentType
	if err := b.deadLetter(ctx, message); err != nil {
		return fmt.Errorf("put dead letter %q back: %w", letter.MessageID, err)
	}
	return d.Ack(false)
}

// deadLetter publishes a message to the dead letters.
func (b *Broker) deadLetter(ctx context.Context, message amqp.Publishing) error {
	returned, err := b.publisher.publishHealing(
		newJob(ctx, broker.DeadExchange, []string{""}, message, b.cfg.deadLetters()))
	if err == nil && len(returned) > 0 {
		err = errUnrouted
	}
	return err
}

// deadPublishing returns the message of a dead letter, with a new ID if it has
// none.
func deadPublishing(letter broker.DeadLetter) amqp.Publishing {
	if letter.ID == "" {
		letter.ID = ulid.Make().String()
	}
	message := publishing(letter.MessageID, letter.Body)
	if !letter.Time.IsZero() {
		message.Timestamp = letter.Time
	}
	message.Headers = amqp.Table{broker.HeaderID: letter.ID}
	if letter.Reason != "" {
		message.Headers[broker.HeaderReason] = text.CutValid(letter.Reason, maxReason)
	}
	if letter.Queue != "" {
		message.Headers[broker.HeaderQueue] = letter.Queue
	}
	return message
}

// deadLetterOf decodes a message of the dead letters. RabbitMQ's own record is
// newer than tasker's headers, which are then from an earlier time: the ID in
// them no longer counts. The reason of one that an endpoint rejected for being larger
// than limit says so.
func deadLetterOf(d amqp.Delivery, limit int) broker.DeadLetter {
	letter := broker.DeadLetter{Body: d.Body, MessageID: d.MessageId, Time: d.Timestamp, Redelivered: d.Redelivered}
	if deaths, ok := d.Headers[headerDeath].([]any); ok && len(deaths) > 0 {
		if death, ok := deaths[0].(amqp.Table); ok {
			letter.Queue, _ = death["queue"].(string)
			letter.Reason, _ = death["reason"].(string)
			if when, ok := death["time"].(time.Time); ok {
				letter.Time = when
			}
			if letter.Reason == deathRejected && len(d.Body) > limit {
				letter.Reason = fmt.Sprintf("message has %d bytes, but an endpoint accepts at most %d", len(d.Body), limit)
			}
			return letter
		}
	}
	letter.ID, _ = d.Headers[broker.HeaderID].(string)
	letter.Queue, _ = d.Headers[broker.HeaderQueue].(string)
	letter.Reason, _ = d.Headers[broker.HeaderReason].(string)
	return letter
}

var errUnrouted = errors.New("queue of the dead letters is gone")
