package reconcile

import (
	"context"
	"log/slog"
	"maps"
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
//
// A look counts the results of a task. The more it has, the longer the pause
// before the next look: 100 us for each, so that one with ten thousand is looked
// at once a second while they come in, and a small one at once.
type aggregate struct {
	store Statuses
	wait  time.Duration
	log   *slog.Logger

	// after is the position of the sweep, for each open status.
	after map[tasker.TaskStatus]ledger.SentPosition

	mu     sync.Mutex
	hinted map[int64]bool
	wake   signal.Signal
	looked map[int64]look // the last look at tasks that are open

	also func(ids []int64) // is told the same tasks as the events name
}

// look is when a task was looked at, and for how long that is enough.
type look struct {
	time  time.Time
	pause time.Duration
}

const (
	// pausePerResult is the pause between two looks at a task for each of its
	// results, and longestPause the longest.
	pausePerResult = 100 * time.Microsecond
	longestPause   = time.Second
	// sweepPauses is how many pauses there are between two looks of the sweep.
	sweepPauses = 10
	// hintPause is the pause between two rounds for events: what comes meanwhile
	// is the next round. After a round of many tasks it is busyPause: the more come
	// in, the more are looked at together.
	hintPause, busyPause = 20 * time.Millisecond, 100 * time.Millisecond
	// busyRound is the number of tasks from which on a round is one of many.
	busyRound = 5
)

// maxHinted limits the tasks that wait because of an event.
const maxHinted = 10_000

// sweepPage is how many open tasks one step of the sweep looks at.
const sweepPage = 5 * pageSize

func newAggregate(store Statuses, wait time.Duration, log *slog.Logger) *aggregate {
	return &aggregate{
		store: store, wait: wait, log: log, after: map[tasker.TaskStatus]ledger.SentPosition{},
		hinted: map[int64]bool{}, wake: signal.New(), looked: map[int64]look{}, also: func([]int64) {},
	}
}

// runOnce is one step of the sweep: the next page of the tasks of each open
// status.
func (a *aggregate) runOnce(ctx context.Context) error {
	for _, status := range []tasker.TaskStatus{tasker.Sent, tasker.Incomplete, tasker.Canceling} {
		page, err := a.store.OpenTasks(ctx, status, a.after[status], a.store.Now(), sweepPage)
		if err != nil {
			return err
		}
		ids, _ := a.due(taskIDs(page), sweepPauses)
		if err := a.settle(ctx, ids); err != nil {
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
	looks, err := a.store.LookAtTasks(ctx, ids, a.wait)
	if err != nil {
		return err
	}
	a.note(ids, looks)
	var unsettled []int64
	for _, l := range looks {
		if l.Unsettled {
			unsettled = append(unsettled, l.ID)
		}
	}
	if len(unsettled) == 0 {
		return nil
	}
	_, err = a.store.Aggregate(ctx, unsettled, a.wait)
	return err
}

// note notes looks at tasks; those that are not open any more are forgotten.
func (a *aggregate) note(ids []int64, looks []ledger.Look) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		delete(a.looked, id)
	}
	if len(a.looked) > maxHinted {
		clear(a.looked) // others have closed them
	}
	for _, l := range looks {
		if pause := min(time.Duration(l.Results)*pausePerResult, longestPause); pause > hintPause {
			a.looked[l.ID] = look{now, pause}
		}
	}
}

// due returns the tasks whose last look is at least so many pauses ago, and how
// long it takes until one of the others is due; 0 if there is none.
func (a *aggregate) due(ids []int64, pauses int) (due []int64, next time.Duration) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		last := a.looked[id]
		if left := last.time.Add(time.Duration(pauses) * last.pause).Sub(now); left <= 0 {
			due = append(due, id)
		} else if next == 0 || left < next {
			next = left
		}
	}
	return due, next
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
		a.also(event.TaskIDs)
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
	later := time.NewTimer(0) // when a task that waits for its next look is due
	defer later.Stop()
	for {
		select {
		case <-a.wake:
		case <-later.C:
		case <-ctx.Done():
			return
		}
		ids, next := a.takeHinted()
		if err := a.settle(ctx, ids); err != nil && ctx.Err() == nil {
			// The sweep finds them.
			a.log.DebugContext(ctx, "hinted tasks were not aggregated", "tasks", len(ids), "err", err)
		}
		if next > 0 {
			later.Reset(next)
		}
		pause := hintPause
		if len(ids) >= busyRound {
			pause = busyPause
		}
		_ = clock.Sleep(ctx, pause)
	}
}

// takeHinted takes the hinted tasks that are due, and returns when the next of
// the others is.
func (a *aggregate) takeHinted() (ids []int64, next time.Duration) {
	a.mu.Lock()
	hinted := slices.Sorted(maps.Keys(a.hinted))
	a.mu.Unlock()
	ids, next = a.due(hinted, 1)
	a.mu.Lock()
	for _, id := range ids {
		delete(a.hinted, id)
	}
	a.mu.Unlock()
	return ids, next
}
