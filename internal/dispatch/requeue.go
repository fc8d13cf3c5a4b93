package dispatch

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// DeadLetters is the part of the database that a Requeuer uses.
type DeadLetters interface {
	FindDeadLetter(ctx context.Context, id int64) (tasker.DeadLetter, error)
	DeleteDeadLetter(ctx context.Context, id int64) error
}

// Requeuer sends dead letters back to the queues they came from. It is safe for
// concurrent use.
type Requeuer struct {
	cfg    Config
	store  DeadLetters
	broker Publisher
}

// NewRequeuer returns a Requeuer; it uses only cfg.Timeout.
func NewRequeuer(cfg Config, store DeadLetters, publisher Publisher) *Requeuer {
	return &Requeuer{cfg: cfg.withDefaults(), store: store, broker: publisher}
}

// Requeue publishes the body of a dead letter, unchanged, to the queue it came from,
// and deletes the letter once the broker has confirmed the message. If the endpoint
// rejects it again, it becomes a new dead letter.
//
// The error is [tasker.NotFound] if there is no such letter; [tasker.Conflict] if it
// cannot be sent back, because its body was truncated, its queue is unknown or the
// endpoint has no queue now; and [tasker.Unavailable] if the broker did not confirm
// in time. After an error the letter stays.
//
// After a crash between the confirm and the deletion the letter is still listed. It
// is safe to requeue it again: the endpoint recognizes the duplicate.
func (r *Requeuer) Requeue(ctx context.Context, id int64) error {
	letter, err := r.store.FindDeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if kept := int64(len(letter.Body)); kept < letter.Size {
		return tasker.Errorf(tasker.Conflict,
			"cannot requeue dead letter %d: only the first %d of its %d bytes were stored: send the task again", id, kept, letter.Size)
	}
	queue, ok := broker.ParseQueueName(letter.Queue)
	if !ok {
		from := "unknown source queue: it can only be discarded"
		if letter.Queue != "" {
			from = "it came from " + letter.Queue + ", not a task type's queue: it can only be discarded"
		}
		return tasker.Errorf(tasker.Conflict, "cannot requeue dead letter %d: %s", id, from)
	}
	if err := r.publish(ctx, letter, queue); err != nil {
		return err
	}
	err = r.store.DeleteDeadLetter(ctx, id)
	if tasker.CodeOf(err) == tasker.NotFound {
		return nil // requeued by somebody else as well
	}
	return err
}

func (r *Requeuer) publish(ctx context.Context, letter tasker.DeadLetter, queue broker.Queue) error {
	target := broker.ToAny()
	if queue.Endpoint != "" {
		target = broker.To(queue.Endpoint)
	}
	limited, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	receipt, err := r.broker.Publish(limited, broker.Publication{
		TaskType: queue.TaskType, Target: target, MessageID: letter.MessageID, Body: letter.Body,
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return tasker.WrapError(tasker.Unavailable, err, "message not confirmed by the message broker: the dead letter stays")
	case receipt.Unrouted || len(receipt.Unserved) > 0:
		return tasker.Errorf(tasker.Conflict,
			"cannot requeue dead letter %d: endpoint %s has no queue for task type %s: start its manager, which declares one",
			letter.ID, queue.Endpoint, queue.TaskType)
	}
	return nil
}
