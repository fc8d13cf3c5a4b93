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
}

func newDeadLetters(store Store, log *slog.Logger) *deadLetters {
	return &deadLetters{store: store, log: log}
}

// run moves letters until ctx ends.
func (d *deadLetters) run(ctx context.Context, from Broker) {
	if err := from.ConsumeDeadLetters(ctx, d.handle); err != nil && ctx.Err() == nil {
		d.log.ErrorContext(ctx, "dead letters are collected no more", "err", err)
	}
}

func (d *deadLetters) handle(ctx context.Context, letter broker.DeadLetter) error {
	stored, err := d.store.StoreDeadLetter(ctx, tasker.DeadLetter{
		Key: letter.ID, Reason: letter.Reason, Queue: letter.Queue, MessageID: letter.MessageID, Body: letter.Body, Time: letter.Time,
	})
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
	if stored {
		d.log.WarnContext(ctx, "a dead letter: it is kept until it is requeued or discarded",
			"reason", text.Shorten(letter.Reason, maxLoggedReason), "queue", text.Shorten(letter.Queue, maxLoggedReason), "message_id", text.Shorten(letter.MessageID, maxLoggedReason))
	}
	return nil
}
