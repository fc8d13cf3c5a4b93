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
)

// aggregate stores the statuses of tasks whose last result has ended.
//
// Managers tell by an event which tasks had results that ended, and those are
// looked at within milliseconds, once for all events that came meanwhile. An
// event may be lost, and so may what another job was about to store when its
// process died, so the open tasks are looked at in turn as well, a page at a
// time.
type aggregate struct {
	store Store
	wait  time.Duration
	log   *slog.Logger

	// after is the place of the sweep, for each open status.
	after map[tasker.TaskStatus]ledger.SentPosition

	mu     sync.Mutex
	hinted map[int64]bool
	wake   chan struct{}
}

// maxHinted bounds the tasks that wait to be looked at because of an event.
const maxHinted = 10_000

// sweepPage is how many open tasks a step of the sweep looks at.
const sweepPage = 5 * pageSize

func newAggregate(store Store, wait time.Duration, log *slog.Logger) *aggregate {
	return &aggregate{
		store: store, wait: wait, log: log, after: map[tasker.TaskStatus]ledger.SentPosition{},
		hinted: map[int64]bool{}, wake: make(chan struct{}, 1),
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
		a.after[status] = ledger.SentPosition{} // from the start again
		if len(page) == sweepPage {
			a.after[status] = page[len(page)-1]
		}
	}
	return nil
}

// settle stores the statuses of those of the tasks whose results are ahead.
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

// listen takes the managers' events.
func (a *aggregate) listen(ctx context.Context, broker Broker) {
	err := broker.Listen(ctx, wire.KeyResultsEnded, func(_ string, body []byte) {
		event, err := wire.DecodeResultsEnded(body)
		if err != nil {
			a.log.WarnContext(ctx, "an event was ignored", "err", err)
			return
		}
		a.hint(event.TaskIDs)
	})
	if err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "listening to events ended: statuses are stored a little later now", "err", err)
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
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// hints looks at the tasks that events named, until ctx ends.
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
		// What comes during a short pause is looked at together.
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}
