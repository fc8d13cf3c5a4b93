package dispatch

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// DeadLetters is what a Requeuer needs of the database.
type DeadLetters interface {
	FindDeadLetter(ctx context.Context, id int64) (tasker.DeadLetter, error)
	DeleteDeadLetter(ctx context.Context, id int64) error
}

// Requeuer sends dead letters back to where they came from. It is safe for
// concurrent use.
type Requeuer struct {
	cfg    Config
	store  DeadLetters
	broker Publisher
}

// NewRequeuer makes a Requeuer; of cfg it takes the Timeout.
func NewRequeuer(cfg Config, store DeadLetters, publisher Publisher) *Requeuer {
	return &Requeuer{cfg: cfg.withDefaults(), store: store, broker: publisher}
}

// Requeue publishes a dead letter's body again, as it was, to the queue that it
// came from, and deletes the letter once the broker has confirmed it. What the
// endpoint does not take this time either becomes a new dead letter.
//
// Its errors are [tasker.NotFound] where there is no such letter,
// [tasker.Conflict] where it cannot be sent back, since it is not kept whole,
// nobody knows from where it came or the endpoint has no queue now, and [tasker.Unavailable] where the
// broker could not be reached or did not confirm in time. The letter stays
// then.
//
// A crash between the confirm and the deletion leaves a letter that was
// requeued and is still listed. To requeue it again does no harm: the endpoint
// recognizes a task that it knows.
func (r *Requeuer) Requeue(ctx context.Context, id int64) error {
	letter, err := r.store.FindDeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if kept := int64(len(letter.Body)); kept < letter.Size {
		return tasker.Errorf(tasker.Conflict,
			"dead letter %d cannot be requeued: of its %d bytes the database could keep the first %d only: send the task anew", id, letter.Size, kept)
	}
	queue, ok := broker.ParseQueueName(letter.Queue)
	if !ok {
		from := "nobody said which queue it came from: it can only be discarded"
		if letter.Queue != "" {
			from = "it came from " + letter.Queue + ", which is no queue of a task type: it can only be discarded"
		}
		return tasker.Errorf(tasker.Conflict, "dead letter %d cannot be requeued: %s", id, from)
	}
	if err := r.publish(ctx, letter, queue); err != nil {
		return err
	}
	err = r.store.DeleteDeadLetter(ctx, id)
	if tasker.CodeOf(err) == tasker.NotFound {
		return nil // somebody else did the same
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
		return tasker.WrapError(tasker.Unavailable, err, "the message broker did not confirm the message: the dead letter stays")
	case receipt.Unrouted || len(receipt.Unserved) > 0:
		return tasker.Errorf(tasker.Conflict, "dead letter %d cannot be requeued: endpoint %s has no queue for task type %s now; its manager makes one when it starts",
			letter.ID, queue.Endpoint, queue.TaskType)
	}
	return nil
}
