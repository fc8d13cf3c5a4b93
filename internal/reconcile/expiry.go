package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Expired are the tasks that have expired; see internal/store.
type Expired interface {
	ExpireTasks(ctx context.Context, limit int) (tasks []int64, err error)
}

// expiry ends the tasks that have expired, as far as no run goes on.
type expiry struct {
	store    Expired
	statuses Statuses
	wait     time.Duration
	log      *slog.Logger
}

func (e *expiry) runOnce(ctx context.Context) error {
	for {
		tasks, err := e.store.ExpireTasks(ctx, pageSize)
		if len(tasks) == 0 {
			return err
		}
		e.log.InfoContext(ctx, "tasks have expired", "tasks", len(tasks))
		_, aggregated := e.statuses.Aggregate(ctx, tasks, e.wait)
		if err = errors.Join(err, aggregated); err != nil || len(tasks) < pageSize {
			return err
		}
	}
}
