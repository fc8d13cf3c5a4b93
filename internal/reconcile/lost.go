package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// lost finds endpoints that stopped heartbeating and calls their unfinished
// results LOST.
//
// A silence counts only while this process could have heard: after it started,
// after an outage of the database, and after it was held up itself, every
// endpoint gets the whole time again, since no heartbeat could be stored,
// or none that it knows of. It listens also while it is not its turn.
type lost struct {
	store Store
	turn  *turn
	after time.Duration
	wait  time.Duration
	log   *slog.Logger
	// since is when this process began to hear, by the database's clock; zero
	// while it does not. last is when it looked last.
	since, last time.Time
}

// deafness is how long a process may have heard nothing, whatever held it up,
// and still judge who was silent.
const deafness = 5 * time.Second

func (l *lost) runOnce(ctx context.Context) error {
	mine, err := l.turn.mine(ctx)
	if err != nil {
		l.since = time.Time{}
		return err
	}
	now := l.store.Now()
	cutoff := now.Add(-l.after)
	if l.since.IsZero() || now.Sub(l.last) > max(l.after/2, deafness) {
		l.since = now
	}
	l.last = now
	if !mine {
		return nil
	}
	if l.since.After(cutoff) {
		// Nobody can be lost yet; but see that the database answers.
		cutoff = time.Time{}
	}
	tasks, err := l.store.MarkLost(ctx, cutoff, pageSize)
	if err != nil {
		l.since = time.Time{}
	}
	if len(tasks) == 0 {
		return err
	}
	l.log.WarnContext(ctx, "endpoints stopped heartbeating: their unfinished results are lost", "tasks", len(tasks))
	_, aggregated := l.store.Aggregate(ctx, tasks, l.wait)
	return errors.Join(err, aggregated)
}
