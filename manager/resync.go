package manager

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// catchUpOverlap is how far a scan for tasks goes back before the previous one.
	// It exceeds the difference of clocks and the time of a statement that marks a
	// task as sent.
	catchUpOverlap = time.Minute
	// deliveryTime is how long a message may be on its way before a periodic scan
	// takes it for lost.
	deliveryTime = 5 * time.Second
	// resubscribeSpread is within which time the endpoints of a fleet scan after
	// the broker has restarted, so that they do not do so at once.
	resubscribeSpread = 2 * time.Second
	// repairPause is the minimum time between two repairs on demand.
	repairPause = 100 * time.Millisecond
)

// prompt has the reasons to resync an endpoint that other parts find.
type prompt struct {
	suspect    signal.Signal // a result may not be what this manager takes it for
	subscribed signal.Signal // a consumer or new task types are registered
	retried    signal.Signal // a task was retried that the endpoint has not received
	fullScan   atomic.Bool   // there are new task types: scan all open tasks
}

// prompts has the prompts of all endpoints.
type prompts map[string]*prompt

func newPrompts(endpoints []string) prompts {
	list := prompts{}
	for _, endpoint := range endpoints {
		list[endpoint] = &prompt{suspect: signal.New(), subscribed: signal.New(), retried: signal.New()}
	}
	return list
}

// suspectAll has all endpoints resynced.
func (p prompts) suspectAll() {
	for _, one := range p {
		one.suspect.Raise()
	}
}

// resync makes this manager's in-memory work match the database's view of its
// endpoints.
//
// It records open tasks that expect an endpoint and have no result of it, whose
// message was lost or was sent when there was no queue. It scans for them when a
// consumer or new task types are registered, and periodically, since RabbitMQ does
// not tell a consumer that its bindings are gone. The first scan, and the first
// after a type was added, goes through all open tasks; others go through what was
// sent since the previous one.
//
// It also takes back results that were declared lost, and judges attempts that
// another manager began, periodically and when a result is suspect.
type resync struct {
	results  Results
	database Database
	db       *database
	pools    *pools
	adopter  *adopter
	recorder *recorder
	prompts  prompts
	holds    signal.Signal // has the holder look
	period   time.Duration
	stretch  func(time.Duration) time.Duration // of the period, in a large fleet
	count    func(context.Context)             // counts the fleet for that, now and then
	log      *slog.Logger
}

// run resyncs an endpoint until ctx ends.
func (r *resync) run(ctx context.Context, endpoint string) {
	var since time.Time
	prompt := r.prompts[endpoint]
	for {
		periodic := time.NewTimer(clock.Around(r.stretch(r.period)))
		var err error
		select {
		case <-prompt.subscribed:
			if !since.IsZero() { // not the first one
				_ = clock.Sleep(ctx, rand.N(resubscribeSpread))
			}
			since, err = r.catchUp(ctx, endpoint, r.scanFrom(prompt, since), 0)
		case <-periodic.C:
			if err = r.repair(ctx, endpoint); err == nil {
				since, err = r.catchUp(ctx, endpoint, r.scanFrom(prompt, since), deliveryTime)
			}
			r.count(ctx)
		case <-prompt.retried:
			if !since.IsZero() { // otherwise the first scan finds it
				since, err = r.catchUp(ctx, endpoint, since, 0)
			}
		case <-prompt.suspect:
			if err = r.repair(ctx, endpoint); err == nil {
				err = clock.Sleep(ctx, repairPause)
			}
		case <-ctx.Done():
		}
		periodic.Stop()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.log.ErrorContext(ctx, "could not resync an endpoint", "endpoint", endpoint, "err", err)
		}
	}
}

// scanFrom returns when the tasks of the next scan were sent at the earliest.
func (r *resync) scanFrom(prompt *prompt, since time.Time) time.Time {
	if prompt.fullScan.Swap(false) {
		return time.Time{}
	}
	return since
}

// repair takes back lost results, judges attempts that others began, and has the
// pools read what waits: what they could not start while it was lost is not in
// memory. A start may have been refused because of a hold.
func (r *resync) repair(ctx context.Context, endpoint string) error {
	r.holds.Raise()
	unfinished, err := r.adopter.adoptOne(ctx, endpoint)
	if err == nil && !unfinished.Any() {
		return nil
	}
	for _, p := range r.pools.at(endpoint) {
		p.rescan()
	}
	return err
}

// catchUp scans the tasks that were sent since a time, and returns the start of the
// next scan.
func (r *resync) catchUp(ctx context.Context, endpoint string, since time.Time, underWay time.Duration) (from time.Time, err error) {
	begin := r.database.Now()
	before := begin.Add(-underWay)
	if underWay == 0 {
		before = begin.Add(catchUpOverlap) // all, even by a clock that is ahead
	}
	for after := (ledger.SentPosition{}); ; {
		var tasks []tasker.Task
		var next ledger.SentPosition
		err := r.db.retry(ctx, "look for unreceived tasks", func(ctx context.Context) (err error) {
			tasks, next, err = r.results.UnreceivedTasks(ctx, endpoint, r.pools.typeNames(), since, after, batchSize)
			return err
		})
		if err == nil {
			err = r.record(ctx, endpoint, tasks, before)
		}
		if err != nil {
			return since, err
		}
		if next == (ledger.SentPosition{}) {
			return begin.Add(-catchUpOverlap), nil
		}
		after = next
	}
}

// record records a page of tasks together, those whose message should have arrived:
// they were sent before a time or, if that is not known, accepted.
func (r *resync) record(ctx context.Context, endpoint string, tasks []tasker.Task, before time.Time) error {
	var submitted []<-chan struct{}
	for _, task := range tasks {
		sent := task.StartTime
		if task.SentTime != nil {
			sent = *task.SentTime
		}
		p := r.pools.get(broker.Queue{TaskType: task.Type, Endpoint: endpoint})
		if sent.After(before) || p == nil {
			continue
		}
		done := make(chan struct{})
		submitted = append(submitted, done)
		message := wire.Task{TaskID: task.ID, Identifier: task.Identifier, Type: task.Type}
		if err := r.recorder.submit(ctx, incoming{pool: p, message: message, done: done}); err != nil {
			return err
		}
	}
	if len(submitted) > 0 {
		r.log.InfoContext(ctx, "found unreceived tasks", "endpoint", endpoint, "tasks", len(submitted))
	}
	for _, done := range submitted {
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
