package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/text"
)

// maxLoggedReason limits what a dead letter adds to the log, in bytes: its
// reason may quote what a foreign client sent.
const maxLoggedReason = 256

// DeadLetters are the dead letters in the database.
type DeadLetters interface {
	StoreDeadLetter(ctx context.Context, l tasker.DeadLetter) (stored bool, err error)
	PurgeDeadLetters(ctx context.Context, storedBefore time.Time, limit int) (deleted int, err error)
}

// deadLetters moves dead letters from the broker into the database, where they
// can be listed, requeued and discarded. A letter is stored, then acknowledged;
// one that comes again after a crash in between is recognized. Several
// processes share the letters.
type deadLetters struct {
	store DeadLetters
	log   *slog.Logger
	// failing is true if the last letter could not be stored.
	failing bool
	// failures counts how often each large letter could not be stored, by ID.
	failures map[string]int
}

func newDeadLetters(store DeadLetters, log *slog.Logger) *deadLetters {
	return &deadLetters{store: store, log: log, failures: map[string]int{}}
}

// run moves letters until ctx ends.
func (d *deadLetters) run(ctx context.Context, from Broker) {
	if err := from.ConsumeDeadLetters(ctx, d.handle); err != nil && ctx.Err() == nil {
		d.log.ErrorContext(ctx, "cannot collect dead letters", "err", err)
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
			d.log.WarnContext(ctx, "dead letter not stored: it stays at the broker", "err", err)
		}
		return err
	case d.failing:
		d.failing = false
		d.log.InfoContext(ctx, "dead letters are stored again")
	}
	delete(d.failures, letter.ID)
	if stored {
		d.log.WarnContext(ctx, "dead letter stored: requeue or discard it",
			"reason", text.Shorten(letter.Reason, maxLoggedReason), "queue", text.Shorten(letter.Queue, maxLoggedReason),
			"message_id", text.Shorten(letter.MessageID, maxLoggedReason),
			"size", whole.Size, "truncated", cut)
	}
	return nil
}

const (
	// maxCutBody is how much is kept of a body that the database does not
	// accept.
	maxCutBody = 64 << 10
	// maxFailures is how often the connection may break over a large letter
	// before the letter is blamed. maxCounted limits the letters counted.
	maxFailures, maxCounted = 3, 1000
)

// tooLarge reports whether a letter that could not be stored must be truncated:
// the database said so, or failed over it again and again. Otherwise it would
// come back for ever and hold up the others.
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
