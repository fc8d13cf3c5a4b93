package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Lost marks the results of silent endpoints.
type Lost interface {
	MarkLost(ctx context.Context, notSeenSince time.Time, limit int) (tasks []int64, err error)
	// ReleasePlaces gives back places that endpoints which are gone have taken and not
	// recorded, and returns their tasks.
	ReleasePlaces(ctx context.Context, limit int) (tasks []int64, err error)
	// PassOnPlaces passes on places of endpoints that are lost, and returns their tasks.
	// attempts tells how many attempts the retry policy of a type allows.
	PassOnPlaces(ctx context.Context, attempts func(taskType string) int, limit int) (tasks []int64, err error)
}

// lost finds endpoints that stopped heartbeating, and marks their unfinished
// results as LOST.
//
// Silence counts only while this process could have heard a heartbeat. After its
// start, after an outage of the database, and after it was held up itself, every
// endpoint gets the whole time again. The process listens while another one is
// elected, too: see observe.
type lost struct {
	store    Lost
	statuses Statuses
	after    time.Duration
	wait     time.Duration
	log      *slog.Logger

	mu sync.Mutex
	// since is when this process began to listen, by the database's clock; zero
	// if the database does not answer. last is when it answered last.
	since, last time.Time
}

// maxDeaf is how long this process may go without an answer of the database,
// for whatever reason, and still judge who was silent.
const maxDeaf = 5 * time.Second

// observe notes that the database answered, or did not.
func (l *lost) observe(err error) { l.listening(l.statuses.Now(), err) }

// listening is observe at a time, and returns since when this process listens.
func (l *lost) listening(now time.Time, err error) (since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.since = time.Time{}
	case l.since.IsZero() || now.Sub(l.last) > max(l.after/2, maxDeaf):
		l.since = now
	}
	l.last = now
	return l.since
}

func (l *lost) runOnce(ctx context.Context) error {
	now := l.statuses.Now()
	cutoff := now.Add(-l.after)
	if l.listening(now, nil).After(cutoff) {
		cutoff = time.Time{} // too early, but see whether the database answers
	}
	tasks, err := l.store.MarkLost(ctx, cutoff, pageSize)
	if err != nil {
		l.observe(err)
	}
	if len(tasks) == 0 {
		return err
	}
	l.log.WarnContext(ctx, "endpoints stopped heartbeating: their unfinished results are lost", "tasks", len(tasks))
	_, aggregated := l.statuses.Aggregate(ctx, tasks, l.wait)
	return errors.Join(err, aggregated)
}
