// Package reconcile does what has to be done because time passed: it relays
// tasks whose publishing failed, finds tasks that were not received in time
// and endpoints that stopped heartbeating, stores the statuses of tasks whose
// results have ended, and deletes old tasks.
//
// It runs in every API process. Several of them are safe: claims, locks and
// guarded updates in the database make each job idempotent. They share the
// work: tasks to relay are claimed, dead letters are consumed, and jobs that go
// through all tasks are done by one process at a time, in its turn; if it dies
// another one goes on seconds later. Each job is one type with a runOnce.
package reconcile

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Store is what the reconciler needs of the database; see internal/store.
type Store interface {
	ClaimUnsent(ctx context.Context, limit int, lease time.Duration) ([]ledger.Unsent, error)
	OpenTasks(ctx context.Context, status tasker.TaskStatus, after ledger.SentPosition, until time.Time, limit int) ([]ledger.SentPosition, error)
	UnsettledTasks(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) ([]int64, error)
	Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error)
	MarkLost(ctx context.Context, notSeenSince time.Time, limit int) (tasks []int64, err error)
	NextTaskType(ctx context.Context, after string) (string, error)
	PurgeTasks(ctx context.Context, taskType string, endedBefore time.Time, except []int64, limit int) (purged int, unfinished []int64, err error)
	PurgeIncomplete(ctx context.Context, taskType string, unchangedSince time.Time, limit int) (purged []int64, err error)
	PurgeDeadLetters(ctx context.Context, storedBefore time.Time, limit int) (deleted int, err error)
	PurgeResults(ctx context.Context, purgedBefore time.Time, limit int) (deleted int, more bool, err error)
	StoreDeadLetter(ctx context.Context, l tasker.DeadLetter) (stored bool, err error)
	TakeTurn(ctx context.Context, job, holder string, length time.Duration) (taken bool, err error)
	EndTurns(ctx context.Context, holder string, jobs []string) error
	Now() time.Time
}

// Broker is what the reconciler needs of the message broker.
type Broker interface {
	Ready() error
	Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error
	ConsumeDeadLetters(ctx context.Context, handle func(context.Context, broker.DeadLetter) error) error
}

// Dispatcher publishes a task and marks it SENT; see internal/dispatch.
type Dispatcher interface {
	Resume(ctx context.Context, u ledger.Unsent) (tasker.Task, error)
}

// pageSize bounds what a job looks at in one step.
const pageSize = 100

// Reconciler runs the jobs.
type Reconciler struct {
	relay      *relay
	incomplete *incomplete
	lost       *lost
	aggregate  *aggregate
	purge      *purge
	holder     string // names this process in its turns
	store      Store
	broker     Broker
	log        *slog.Logger
}

// New makes a reconciler.
func New(cfg Config, store Store, broker Broker, dispatcher Dispatcher, log *slog.Logger) *Reconciler {
	if cfg.WaitForEndpoints == 0 {
		cfg.WaitForEndpoints = time.Minute
	}
	if cfg.LostAfter == 0 {
		cfg.LostAfter = time.Minute
	}
	holder := ulid.Make().String()
	return &Reconciler{
		holder:     holder,
		relay:      &relay{store: store, broker: broker, dispatcher: dispatcher, log: log},
		incomplete: &incomplete{store: store, wait: cfg.WaitForEndpoints},
		lost: &lost{
			store: store, turn: &turn{store: store, job: jobLost, holder: holder},
			after: cfg.LostAfter, wait: cfg.WaitForEndpoints, log: log,
		},
		aggregate: newAggregate(store, cfg.WaitForEndpoints, log),
		purge:     newPurge(store, cfg, log),
		store:     store,
		broker:    broker,
		log:       log,
	}
}

// SetRetention exchanges Config.Retention. It may be called while Run runs.
func (r *Reconciler) SetRetention(retention map[string]time.Duration) {
	r.purge.retention.Store(&retention)
}

// Run runs the jobs until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { r.every(ctx, "relay", time.Second, r.relay.runOnce) })
	group.Go(func() {
		r.every(ctx, jobIncomplete, 500*time.Millisecond, r.inTurn(jobIncomplete, r.incomplete.runOnce))
	})
	group.Go(func() { r.every(ctx, jobLost, time.Second, r.lost.runOnce) })
	group.Go(func() { r.every(ctx, jobAggregate, 500*time.Millisecond, r.inTurn(jobAggregate, r.aggregate.runOnce)) })
	group.Go(func() { r.every(ctx, jobPurge, time.Minute, r.inTurn(jobPurge, r.purge.runOnce)) })
	group.Go(func() { newDeadLetters(r.store, r.log).run(ctx, r.broker) })
	group.Go(func() { r.aggregate.hints(ctx) })
	group.Go(func() { r.aggregate.listen(ctx, r.broker) })
	group.Wait()
	r.endTurns(ctx)
}

// every runs a job again and again. The pauses are jittered, so that several
// processes do not stay in step. A failing job is logged when it begins to
// fail and when it works again. A run is limited, so that a connection that
// hangs does not stop the job for good; what is left is done in the next one.
func (r *Reconciler) every(ctx context.Context, job string, period time.Duration, runOnce func(context.Context) error) {
	failing := false
	for {
		once, cancel := context.WithTimeout(ctx, max(time.Minute, 10*period))
		err := runOnce(once)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			failing = true
			r.log.WarnContext(ctx, "a job of the reconciler fails, and is tried again", "job", job, "err", err)
		case err == nil && failing:
			failing = false
			r.log.InfoContext(ctx, "a job of the reconciler works again", "job", job)
		}
		select {
		case <-time.After(period*3/4 + rand.N(period/2)):
		case <-ctx.Done():
			return
		}
	}
}
