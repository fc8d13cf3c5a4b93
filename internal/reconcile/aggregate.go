package reconcile

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// aggregate stores the statuses of tasks whose last result has ended.
//
// Managers send an event with the tasks that had results end; these are
// aggregated within milliseconds, together for all events that came meanwhile.
// Events may be lost, and so may what a process was about to store when it
// died, so a sweep goes through the open tasks as well, a page at a time.
type aggregate struct {
	store Statuses
	wait  time.Duration
	log   *slog.Logger

	// after is the position of the sweep, for each open status.
	after map[tasker.TaskStatus]ledger.SentPosition

	mu     sync.Mutex
	hinted map[int64]bool
	wake   signal.Signal
}

// maxHinted limits the tasks that wait because of an event.
const maxHinted = 10_000

// sweepPage is how many open tasks one step of the sweep looks at.
const sweepPage = 5 * pageSize

func newAggregate(store Statuses, wait time.Duration, log *slog.Logger) *aggregate {
	return &aggregate{
		store: store, wait: wait, log: log, after: map[tasker.TaskStatus]ledger.SentPosition{},
		hinted: map[int64]bool{}, wake: signal.New(),
	}
}

// runOnce is one step of the sweep: the next page of the tasks of each open
// status.
func (a *aggregate) runOnce(ctx context.Context) error {
	for _, status := range []tasker.TaskStatus{tasker.Sent, tasker.Incomplete} {
		page, err := a.store.OpenTasks(ctx, status, a.after[status], a.store.Now(), sweepPage)
		if err != nil {
			return err
		}
		if err := a.settle(ctx, taskIDs(page)); err != nil {
			return err
		}
		a.after[status] = ledger.SentPosition{} // start again
		if len(page) == sweepPage {
			a.after[status] = page[len(page)-1]
		}
	}
	return nil
}

// settle stores the statuses of those tasks that are behind their results.
func (a *aggregate) settle(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	unsettled, err := a.store.UnsettledTasks(ctx, ids, a.wait)
	if err != nil || len(unsettled) == 0 {
		return err
	}
	_, err = a.store.Aggregate(ctx, unsettled, a.wait)
	return err
}

// listen receives the managers' events.
func (a *aggregate) listen(ctx context.Context, broker Broker) {
	err := broker.Listen(ctx, wire.KeyResultsEnded, func(_ string, body []byte) {
		event, err := wire.DecodeResultsEnded(body)
		if err != nil {
			a.log.WarnContext(ctx, "event ignored", "err", err)
			return
		}
		a.hint(event.TaskIDs)
	})
	if err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "cannot listen to events: statuses are stored a little later", "err", err)
	}
}

func (a *aggregate) hint(ids []int64) {
	a.mu.Lock()
	for _, id := range ids {
		if len(a.hinted) < maxHinted { // the sweep finds the others
			a.hinted[id] = true
		}
	}
	a.mu.Unlock()
	a.wake.Raise()
}

// hints aggregates the tasks that events named, until ctx ends.
func (a *aggregate) hints(ctx context.Context) {
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		ids := make([]int64, 0, len(a.hinted))
		for id := range a.hinted {
			ids = append(ids, id)
		}
		clear(a.hinted)
		a.mu.Unlock()
		slices.Sort(ids)
		if err := a.settle(ctx, ids); err != nil && ctx.Err() == nil {
			// The sweep finds them.
			a.log.DebugContext(ctx, "hinted tasks were not aggregated", "tasks", len(ids), "err", err)
		}
		// Collect what comes during a short pause.
		_ = clock.Sleep(ctx, 20*time.Millisecond)
	}
}
