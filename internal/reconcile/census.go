package reconcile

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/rollout"
)

// censusPeriod is how often the database is asked: the metrics are as old as that
// at most, however often somebody reads them.
const censusPeriod = 15 * time.Second

// Census counts, in one statement, what the metrics say of the whole fleet.
type Census interface {
	Census(ctx context.Context, taskTypes []string, seenSince time.Time) (ledger.Census, error)
	Now() time.Time
}

// census counts for the metrics. Every process does, so that each one can be asked.
type census struct {
	store Census
	// silentAfter is the silence after which an endpoint counts as silent: then its
	// results are lost.
	silentAfter time.Duration
	types       atomic.Pointer[[]string]
	latest      atomic.Pointer[ledger.Census] // nil until the database has answered
}

func newCensus(store Census, cfg Config) *census {
	c := &census{store: store, silentAfter: cfg.LostAfter}
	c.types.Store(&cfg.TaskTypes)
	metrics := cfg.Metrics
	metrics.TasksOpen.From(c.reading(c.tasksOpen))
	metrics.OldestOpen.From(c.reading(c.oldestOpen))
	metrics.OldestUnsent.From(c.reading(c.oldestUnsent))
	metrics.Endpoints.From(c.reading(func(latest *ledger.Census, report observe.Report) {
		report(float64(latest.Seen), "seen")
		report(float64(latest.Silent), "silent")
	}))
	metrics.Holds.From(c.reading(func(latest *ledger.Census, report observe.Report) {
		report(float64(latest.Drained), "endpoint")
		report(float64(latest.PausedTypes), "task_type")
		report(float64(latest.PausedTasks), "task")
	}))
	metrics.Rollouts.From(c.reading(func(latest *ledger.Census, report observe.Report) {
		for _, state := range rollout.States() {
			if !state.Final() {
				report(float64(latest.Rollouts[string(state)]), string(state))
			}
		}
	}))
	metrics.DeadLetters.From(c.reading(func(latest *ledger.Census, report observe.Report) { report(float64(latest.DeadLetters)) }))
	return c
}

func (c *census) runOnce(ctx context.Context) error {
	latest, err := c.store.Census(ctx, *c.types.Load(), c.store.Now().Add(-c.silentAfter))
	if err == nil {
		c.latest.Store(&latest)
	}
	return err
}

// reading returns a function that reports what was counted last, once there is
// something.
func (c *census) reading(read func(latest *ledger.Census, report observe.Report)) func(observe.Report) {
	return func(report observe.Report) {
		if latest := c.latest.Load(); latest != nil {
			read(latest, report)
		}
	}
}

// tasksOpen reports the open tasks, 0 for the types and statuses that have none.
func (c *census) tasksOpen(latest *ledger.Census, report observe.Report) {
	for _, name := range *c.types.Load() {
		for _, status := range tasker.TaskStatuses() {
			if !status.Final() {
				report(0, name, string(status))
			}
		}
	}
	for _, open := range latest.Open {
		report(float64(open.Tasks), open.Type, string(open.Status))
	}
}

func (c *census) oldestOpen(latest *ledger.Census, report observe.Report) {
	ages := map[string]float64{}
	for _, name := range *c.types.Load() {
		ages[name] = 0
	}
	for _, open := range latest.Open {
		ages[open.Type] = max(ages[open.Type], c.age(open))
	}
	for name, age := range ages {
		report(age, name)
	}
}

func (c *census) oldestUnsent(latest *ledger.Census, report observe.Report) {
	oldest := 0.0
	for _, open := range latest.Open {
		if open.Status == tasker.Created {
			oldest = max(oldest, c.age(open))
		}
	}
	report(oldest)
}

// age returns how long ago the oldest of some tasks was accepted, in seconds.
func (c *census) age(open ledger.OpenTasks) float64 {
	return max(0, c.store.Now().Sub(open.Oldest)).Seconds()
}
