// Package reconcile does what time makes necessary: it starts tasks that are due,
// takes those with rollouts through their waves, relays those that could not be
// published, finds tasks not received in time and endpoints that stopped
// heartbeating, stores the statuses of tasks whose results have ended, and
// deletes old tasks.
//
// It runs in every API process, safely: claims, locks and guarded updates in the
// database make each loop idempotent. The processes share the work. Tasks to
// relay are claimed, dead letters are consumed, and one elected process runs the
// loops that go through all tasks; if it dies, another one continues seconds
// later. Each loop is one type with a runOnce, in a file of its own, and one line
// in [New].
package reconcile

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/choice"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// Store has the parts of the database that the loops use; see internal/store.
// All are needed.
type Store struct {
	Leases      Leases
	Schedule    Schedule
	Endpoints   choice.Endpoints
	Expired     Expired
	Unsent      Unsent
	Statuses    Statuses
	Lost        Lost
	Retention   Retention
	DeadLetters DeadLetters
	Census      Census
	Holds       Holds
	Rollouts    Rollouts
	Conductor   Conductor
}

// Holds ends the pauses and drains whose time has passed; see internal/hold.
type Holds interface {
	EndOver(ctx context.Context) error
}

// Statuses are the stored statuses of tasks, and the results that decide them.
type Statuses interface {
	OpenTasks(
		ctx context.Context, status tasker.TaskStatus, after ledger.SentPosition, until time.Time, limit int,
	) ([]ledger.SentPosition, error)
	// LookAtTasks returns those of the tasks that are open.
	LookAtTasks(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) ([]ledger.Look, error)
	Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error)
	// ConvertTasks converts the open tasks of older programs.
	ConvertTasks(ctx context.Context) error
	Now() time.Time
}

// Broker is the message broker.
type Broker interface {
	Ready() error
	Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error
	ConsumeDeadLetters(ctx context.Context, handle func(context.Context, broker.DeadLetter) error) error
}

// Dispatcher publishes a task and marks it SENT; see internal/dispatch.
type Dispatcher interface {
	Check(ctx context.Context, t tasker.Task) error
	Dispatch(ctx context.Context, t tasker.Task) (tasker.Task, error)
	Resume(ctx context.Context, u ledger.Unsent) (tasker.Task, error)
	WaveSender
}

// pageSize limits what a loop looks at in one step.
const pageSize = 100

// loop is something to do again and again.
type loop struct {
	name    string
	period  time.Duration
	runOnce func(context.Context) error
	pause   func(context.Context) // between two runs; nil for about the period
}

// Reconciler runs the loops.
type Reconciler struct {
	everywhere []loop // run in every process
	elected    []loop // run in one process at a time
	elector    *elector
	// run in every process until their context ends
	background []func(context.Context)
	starter    *starter
	retention  *atomic.Pointer[map[string]time.Duration]
	attempts   *atomic.Pointer[map[string]int]
	census     *census
	succeeded  observe.Gauge
	log        *slog.Logger
}

// New returns a Reconciler.
func New(cfg Config, store Store, broker Broker, dispatcher Dispatcher, log *slog.Logger) *Reconciler {
	cfg.WaitForEndpoints = cmp.Or(cfg.WaitForEndpoints, DefaultConfig().WaitForEndpoints)
	cfg.LostAfter = cmp.Or(cfg.LostAfter, DefaultConfig().LostAfter)
	relay := &relay{store: store.Unsent, broker: broker, dispatcher: dispatcher, log: log}
	chooser := choice.Chooser{Endpoints: store.Endpoints, Clock: store.Schedule}
	starter := newStarter(store.Schedule, chooser, dispatcher, cfg.Metrics.StartDelay, log)
	incomplete := &incomplete{statuses: store.Statuses, wait: cfg.WaitForEndpoints}
	expiry := &expiry{store: store.Expired, statuses: store.Statuses, wait: cfg.WaitForEndpoints, log: log}
	lost := &lost{store: store.Lost, statuses: store.Statuses, after: cfg.LostAfter, wait: cfg.WaitForEndpoints, log: log}
	aggregate := newAggregate(store.Statuses, cfg.WaitForEndpoints, log)
	rollouts := newRollouts(store, dispatcher, broker, log)
	aggregate.also = rollouts.hint
	places := newPlaces(store.Lost, cfg, log)
	conversion := &conversion{statuses: store.Statuses}
	purge := newPurge(store.Retention, store.DeadLetters, cfg, log)
	deadLetters := newDeadLetters(store.DeadLetters, log)
	census := newCensus(store.Census, cfg)
	r := &Reconciler{
		everywhere: []loop{
			{name: "relay", period: time.Second, runOnce: relay.runOnce},
			{name: "census", period: censusPeriod, runOnce: census.runOnce},
			{name: "holds", period: time.Second, runOnce: store.Holds.EndOver},
			{name: "rollouts", period: rolloutPeriod, runOnce: rollouts.runOnce},
		},
		elected: []loop{
			{name: "incomplete", period: 500 * time.Millisecond, runOnce: incomplete.runOnce},
			{name: "expiry", period: time.Second, runOnce: expiry.runOnce},
			{name: "lost", period: time.Second, runOnce: lost.runOnce},
			{name: "places", period: time.Second, runOnce: places.runOnce},
			{name: "aggregate", period: 500 * time.Millisecond, runOnce: aggregate.runOnce},
			{name: "purge", period: time.Minute, runOnce: purge.runOnce},
			{name: "conversion", period: 5 * time.Second, runOnce: conversion.runOnce},
		},
		background: []func(context.Context){
			aggregate.hints,
			rollouts.hints,
			func(ctx context.Context) { aggregate.listen(ctx, broker) },
			func(ctx context.Context) { deadLetters.run(ctx, broker) },
		},
		elector:   &elector{leases: store.Leases, holder: ulid.Make().String(), observe: lost.observe, log: log},
		starter:   starter,
		retention: &purge.retention,
		attempts:  &places.attempts,
		census:    census,
		succeeded: cfg.Metrics.LoopSuccess,
		log:       log,
	}
	r.background = append(r.background, func(ctx context.Context) {
		r.every(ctx, starter.loop())
		starter.wait()
	})
	return r
}

// Expect tells that a task is SCHEDULED to start at a time by the database's clock.
// It may be called before Run.
func (r *Reconciler) Expect(start time.Time) { r.starter.expect(start) }

// AddLoop adds a loop of another component, which runs in every process: runOnce again
// and again, with a pause after each success, or about a period after each failure. It
// must be called before Run.
func (r *Reconciler) AddLoop(name string, period time.Duration, runOnce func(context.Context) error, pause func(context.Context)) {
	r.everywhere = append(r.everywhere, loop{name: name, period: period, runOnce: runOnce, pause: pause})
}

// SetRetention replaces Config.Retention. It may be called while Run runs.
func (r *Reconciler) SetRetention(retention map[string]time.Duration) {
	r.retention.Store(&retention)
}

// SetAttempts replaces Config.Attempts. It may be called while Run runs.
func (r *Reconciler) SetAttempts(attempts map[string]int) {
	r.attempts.Store(&attempts)
}

// SetTaskTypes replaces Config.TaskTypes. It may be called while Run runs.
func (r *Reconciler) SetTaskTypes(names []string) { r.census.types.Store(&names) }

// Run runs the loops until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { r.loops(ctx, r.everywhere) })
	group.Go(func() { r.elector.run(ctx, func(leading context.Context) { r.loops(leading, r.elected) }) })
	for _, run := range r.background {
		group.Go(func() { run(ctx) })
	}
	group.Wait()
}

// loops runs loops until ctx ends.
func (r *Reconciler) loops(ctx context.Context, loops []loop) {
	var group sync.WaitGroup
	for _, l := range loops {
		group.Go(func() { r.every(ctx, l) })
	}
	group.Wait()
}

// every runs a loop until ctx ends, with jittered pauses. It logs when the loop
// starts to fail and when it recovers. Each run has a time limit, so that a
// connection that hangs does not stop the loop for good; the next run continues.
func (r *Reconciler) every(ctx context.Context, l loop) {
	failing := false
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, max(time.Minute, 10*l.period))
		err := l.runOnce(once)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			failing = true
			r.log.WarnContext(ctx, "loop of the reconciler fails", "loop", l.name, "err", err)
		case err == nil && failing:
			failing = false
			r.log.InfoContext(ctx, "loop of the reconciler works again", "loop", l.name)
		}
		if err == nil {
			r.succeeded.SetTime(time.Now(), l.name)
		}
		if l.pause != nil && err == nil {
			l.pause(ctx)
			continue
		}
		_ = clock.Sleep(ctx, clock.Around(l.period))
	}
}
