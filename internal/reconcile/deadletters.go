package reconcile

import (
	"context"
	"log/slog"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// maxLoggedReason bounds what a dead letter puts into the log, in bytes: its
// reason may quote what a foreign client sent.
const maxLoggedReason = 256

// deadLetters moves dead letters from the broker into the database, where they
// can be listed, requeued and discarded. A letter is stored first and then
// acknowledged; one that comes again, since a crash came between, is
// recognized. Several processes share the letters.
type deadLetters struct {
	store Store
	log   *slog.Logger
	// failing tells that the last letter could not be stored.
	failing bool
	// failures counts how often large letters could not be stored, by their IDs.
	failures map[string]int
}

func newDeadLetters(store Store, log *slog.Logger) *deadLetters {
	return &deadLetters{store: store, log: log, failures: map[string]int{}}
}

// run moves letters until ctx ends.
func (d *deadLetters) run(ctx context.Context, from Broker) {
	if err := from.ConsumeDeadLetters(ctx, d.handle); err != nil && ctx.Err() == nil {
		d.log.ErrorContext(ctx, "dead letters are collected no more", "err", err)
	}
}

func (d *deadLetters) handle(ctx context.Context, letter broker.DeadLetter) error {
	whole := tasker.DeadLetter{
		Key: letter.ID, Reason: letter.Reason, Queue: letter.Queue, MessageID: letter.MessageID,
		Body: letter.Body, Size: int64(len(letter.Body)), Time: letter.Time,
	}
	stored, err := d.store.StoreDeadLetter(ctx, whole)
	cut := err != nil && ctx.Err() == nil && d.tooLarge(letter, err)
	if cut {
		whole.Body = whole.Body[:maxCutBody]
		stored, err = d.store.StoreDeadLetter(ctx, whole)
	}
	switch {
	case err != nil:
		if !d.failing && ctx.Err() == nil {
			d.failing = true
			d.log.WarnContext(ctx, "a dead letter could not be stored, and stays at the broker until it can", "err", err)
		}
		return err
	case d.failing:
		d.failing = false
		d.log.InfoContext(ctx, "dead letters are stored again")
	}
	delete(d.failures, letter.ID)
	if stored {
		d.log.WarnContext(ctx, "a dead letter: it is kept until it is requeued or discarded",
			"reason", text.Shorten(letter.Reason, maxLoggedReason), "queue", text.Shorten(letter.Queue, maxLoggedReason),
			"message_id", text.Shorten(letter.MessageID, maxLoggedReason),
			"size", whole.Size, "truncated", cut)
	}
	return nil
}

const (
	// maxCutBody is how much is kept of a body that the database does not take
	// whole.
	maxCutBody = 64 << 10
	// maxFailures is how often the connection may break over a large letter
	// before that is taken for the letter's fault, and maxCounted bounds the
	// letters that are counted.
	maxFailures, maxCounted = 3, 1000
)

// tooLarge reports whether a letter that could not be stored is to be kept
// without the rest of its body: the database says so, or failed over it again
// and again. Such a letter must not come round for ever, and hold up the others.
func (d *deadLetters) tooLarge(letter broker.DeadLetter, err error) bool {
	if len(letter.Body) <= maxCutBody {
		return false
	}
	if tasker.CodeOf(err) == tasker.TooLarge {
		return true
	}
	if len(d.failures) >= maxCounted {
		clear(d.failures)
	}
	d.failures[letter.ID]++
	return d.failures[letter.ID] >= maxFailures
}
