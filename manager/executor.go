package manager

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/batch"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// backlog bounds the waiting results that an executor holds in memory; more
// wait in the database only. With [keptPayload] it bounds what they take.
const backlog = 256

// executor runs the tasks of one type at one endpoint, in a bounded number of
// slots, the oldest first.
type executor struct {
	m        *Manager
	endpoint string
	name     string         // the task type's
	wake     chan struct{}  // something changed: look again
	running  sync.WaitGroup // counts the attempts that are under way

	mu      sync.Mutex
	how     *performer
	free    int // slots; negative where there are fewer than there were
	waiting []ledger.Work
	queued  map[int64]bool // the tasks in waiting
	active  map[int64]bool // the tasks that have a slot
	// behind tells that there may be waiting results in the database that
	// are not in memory. Until they are read, newer ones do not pass them.
	behind bool
	// retryAt is when to look for results whose next attempt is due; zero
	// means not at all.
	retryAt time.Time
	stopped bool                              // it rests, or the manager stops
	retired bool                              // the type was removed
	cancels map[int64]context.CancelCauseFunc // of the handlers that run

	// Of the manager, under its lock: end makes the executor rest and is nil
	// while it does, and ended is closed when it rests.
	end   context.CancelFunc
	ended <-chan struct{}
}

func newExecutor(m *Manager, endpoint string, how *performer) *executor {
	e := &executor{
		m: m, endpoint: endpoint, name: how.Name, how: how, wake: make(chan struct{}, 1), free: how.Concurrency,
		queued: map[int64]bool{}, active: map[int64]bool{}, cancels: map[int64]context.CancelCauseFunc{},
		// What an earlier manager left is adopted like what did not fit.
		behind: true, retryAt: m.store.Now(),
	}
	how.use()
	return e
}

func (e *executor) queue() broker.Queue {
	return broker.Queue{TaskType: e.name, Endpoint: e.endpoint}
}

// performer is how the tasks are performed from now on.
func (e *executor) performer() *performer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.how
}

// perform has the tasks performed in another way from now on.
func (e *executor) perform(how *performer) {
	how.use()
	e.mu.Lock()
	before := e.how
	e.free += how.Concurrency - before.Concurrency
	e.how, e.retired = how, false
	e.mu.Unlock()
	before.drop()
	e.lookAgain()
}

// retire has no more tasks begin: the type was removed. What arrives still is
// recorded, and waits in the database.
func (e *executor) retire() {
	e.mu.Lock()
	before := e.how
	e.how, e.retired = &performer{TaskType: before.TaskType}, true
	e.mu.Unlock()
	before.drop()
}

// admit says how an arriving task is to be recorded: RUNNING, with a slot
// taken and its handler in use, where one is free and nothing older waits.
func (e *executor) admit(message wire.Task) (a ledger.Incoming, how *performer) {
	a = ledger.Incoming{
		ResultKey:  tasker.ResultKey{TaskID: message.TaskID, Endpoint: e.endpoint},
		Identifier: message.Identifier, Type: message.Type, State: tasker.Received,
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.retired:
	case e.how.handler == nil:
		a.State, a.Errnr = tasker.Rejected, tasker.ErrnrRejected
		a.Errmsg = "endpoint " + e.endpoint + " has no handler for task type " + e.name
	case e.free > 0 && len(e.waiting) == 0 && !e.behind && !e.stopped:
		e.free--
		a.State, how = tasker.Running, e.how
		how.use()
	}
	return a, how
}

// giveBack frees the slot of an arrival that was not recorded.
func (e *executor) giveBack(how *performer) {
	if how != nil {
		e.mu.Lock()
		e.free++
		e.mu.Unlock()
		how.drop()
		e.poke()
	}
}

// admitted runs or queues an arrival that is recorded.
func (e *executor) admitted(ctx context.Context, a ledger.Incoming, task tasker.Task, how *performer) {
	work := ledger.Work{Task: task, Endpoint: e.endpoint, State: a.State}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch a.State {
	case tasker.Running:
		work.Attempt = 1
		e.active[task.ID] = true
		e.occupy(ctx, job{Work: work, how: how}, e.run)
	case tasker.Received:
		e.enqueue(work)
		e.poke()
	}
}

// known takes notice of an arrival that was recorded before. As a rule it is
// in memory, or through. If it is neither, it was recorded by a statement of
// this manager whose answer was lost: then it still has to run. Whether it is
// through may have changed since the database was asked, so it is asked again
// when the task is active, and no run of it can end unseen.
func (e *executor) known(ctx context.Context, how *performer, admission ledger.Recording) {
	if !e.takeUp(ctx, how, admission) {
		e.giveBack(how)
		e.poke()
	}
}

// takeUp is the part of known that holds the lock. It tells whether the slot is
// used.
func (e *executor) takeUp(ctx context.Context, how *performer, admission ledger.Recording) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := admission.Task.ID
	switch {
	case e.active[id] || e.queued[id]:
	case admission.State == tasker.Received:
		e.behind = true
	case admission.State == tasker.Running && admission.Own && how != nil:
		e.active[id] = true
		// To start the attempt that has begun is to ask whether it still runs.
		work := ledger.Work{Task: admission.Task, Endpoint: e.endpoint, State: tasker.Running, Attempt: admission.Attempt - 1}
		e.occupy(ctx, job{Work: work, how: how}, e.start)
		return true
	}
	return false
}

// job is work that has its handler in use.
type job struct {
	ledger.Work
	how  *performer
	free func() // frees the slot, if there is one
}

// occupy runs do in a slot that is taken already. do calls free when its
// handler has ended: what follows, the storing of the result, needs no slot. It
// tells whether the result may not be what it was taken for.
// The caller holds the lock and has made the task active.
func (e *executor) occupy(ctx context.Context, j job, do func(ctx context.Context, j job) (doubt bool)) {
	j.free = sync.OnceFunc(func() {
		e.mu.Lock()
		e.free++
		e.mu.Unlock()
		e.poke()
	})
	e.follow(ctx, j, do)
}

// follow is occupy for what has no slot.
func (e *executor) follow(ctx context.Context, j job, do func(ctx context.Context, j job) (doubt bool)) {
	e.running.Go(func() {
		doubt := do(ctx, j)
		e.mu.Lock()
		delete(e.active, j.Task.ID)
		e.mu.Unlock()
		if j.free != nil {
			j.free()
		}
		j.how.drop()
		if doubt { // now, when a look at the database does not pass the task over
			e.m.doubt(e.endpoint)
		}
	})
}

// enqueue holds work in memory until a slot is free, if there is room.
func (e *executor) enqueue(work ledger.Work) {
	switch {
	case e.queued[work.Task.ID] || e.active[work.Task.ID]:
	case len(e.waiting) >= backlog || e.behind && work.State == tasker.Received:
		e.behind = true
	default:
		e.queued[work.Task.ID] = true
		e.waiting = append(e.waiting, lean(work))
	}
}

func (e *executor) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *executor) busy() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.how.Concurrency - e.free
}

// loop starts waiting work in free slots, and what is due for its next
// attempt, until ctx ends. What has started goes on with taking.
func (e *executor) loop(ctx, taking context.Context) {
	defer e.rest()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		if err := e.refill(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			e.m.log.ErrorContext(ctx, "could not read the waiting results", "queue", e.queue().Name(), "err", err)
		}
		e.startWaiting(ctx, taking)
		retry.Reset(e.untilRetry())
		select {
		case <-e.wake:
		case <-retry.C:
			if err := e.dueRetries(ctx); err != nil {
				if ctx.Err() != nil {
					return
				}
				e.m.log.ErrorContext(ctx, "could not read the results to retry", "queue", e.queue().Name(), "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rest makes the executor start nothing any more. What waits, waits in the
// database.
func (e *executor) rest() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped, e.behind = true, true
	e.waiting, e.queued = nil, map[int64]bool{}
}

// rise ends the rest.
func (e *executor) rise() {
	e.mu.Lock()
	e.stopped = false
	e.mu.Unlock()
	e.lookAgain()
}

// refill reads waiting results from the database when memory has none left.
func (e *executor) refill(ctx context.Context) error {
	e.mu.Lock()
	if !e.behind || len(e.waiting) > 0 || e.free <= 0 || e.how.handler == nil {
		e.mu.Unlock()
		return nil
	}
	e.mu.Unlock()
	var work []ledger.Work
	read := func() error {
		return e.m.persist(ctx, "read the waiting results", func(ctx context.Context) (err error) {
			work, err = e.m.store.WaitingWork(ctx, e.endpoint, e.name, backlog)
			return err
		})
	}
	if err := read(); err != nil {
		return err
	}
	if len(work) < backlog {
		// That may be all. What is recorded from now on is queued in memory,
		// and what was recorded since the first look shows in a second.
		e.mu.Lock()
		e.behind = false
		e.mu.Unlock()
		if err := read(); err != nil {
			e.mu.Lock()
			e.behind = true
			e.mu.Unlock()
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	fresh := e.waiting // queued during the second look: newer than what was read
	e.waiting, e.queued = nil, map[int64]bool{}
	full := len(work) >= backlog
	for _, w := range work {
		if !e.active[w.Task.ID] {
			e.waiting = append(e.waiting, lean(w))
			e.queued[w.Task.ID] = true
		}
	}
	for _, w := range fresh {
		e.enqueue(w)
	}
	e.behind = e.behind || full
	return nil
}

// startWaiting starts waiting work, the oldest first, while a slot is free.
func (e *executor) startWaiting(ctx, taking context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.free > 0 && len(e.waiting) > 0 && e.how.handler != nil && ctx.Err() == nil {
		work := e.waiting[0]
		e.waiting = e.waiting[1:]
		delete(e.queued, work.Task.ID)
		if e.active[work.Task.ID] {
			continue
		}
		e.active[work.Task.ID] = true
		e.free--
		e.how.use()
		e.occupy(taking, job{Work: work, how: e.how}, e.start)
	}
}

// start counts the next attempt and runs it. Where somebody else was first, or
// the result has ended or is lost, it does nothing, and is in doubt.
func (e *executor) start(ctx context.Context, j job) (doubt bool) {
	if j.AwaitsReboot != "" {
		return e.resume(ctx, j)
	}
	begun, err := e.begin(ctx, j)
	if err != nil {
		if ctx.Err() == nil {
			e.m.log.ErrorContext(ctx, "an attempt could not be started", "task_id", j.Task.ID, "endpoint", e.endpoint, "err", err)
			_ = clock.Sleep(ctx, time.Second) // it waits in the database, and is tried again
		}
		e.lookAgain()
		return false
	}
	if !begun {
		return true
	}
	j.Attempt++
	j.Step = 0 // that of the attempt before
	e.m.changes.add(changed(&j.Task, e.endpoint, j.Attempt, tasker.Running))
	return e.run(ctx, j)
}

// begin counts the next attempt. As long as the answer is not known it asks
// again: the attempt may have begun, and nobody else would run it.
func (e *executor) begin(ctx context.Context, j job) (begun bool, err error) {
	for {
		b, err := e.m.starts.Do(ledger.Start{ResultKey: j.Key(), Attempt: j.Attempt})
		if err == nil {
			err = b.err
		}
		if err == nil || isRefusal(err) || errors.Is(err, batch.ErrEnded) || clock.Sleep(ctx, time.Second) != nil {
			return b.out, err
		}
	}
}

// lookAgain makes the loop read from the database what waits there.
func (e *executor) lookAgain() {
	e.mu.Lock()
	e.behind = true
	e.mu.Unlock()
	e.retryBy(e.m.store.Now())
}

// retryBy makes the loop look for due retries at a time, at the latest.
func (e *executor) retryBy(at time.Time) {
	e.mu.Lock()
	if e.retryAt.IsZero() || at.Before(e.retryAt) {
		e.retryAt = at
	}
	e.mu.Unlock()
	e.poke()
}

// untilRetry is how long to wait before looking for due retries.
func (e *executor) untilRetry() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.retryAt.IsZero() {
		return time.Hour
	}
	return max(e.retryAt.Sub(e.m.store.Now()), 0)
}

// dueRetries queues the results whose next attempt is due.
func (e *executor) dueRetries(ctx context.Context) error {
	const soon = time.Second
	e.mu.Lock()
	e.retryAt = time.Time{}
	idle := e.how.handler == nil
	e.mu.Unlock()
	if idle {
		return nil
	}
	var due []ledger.Work
	var next time.Time
	var more bool
	err := e.m.persist(ctx, "read the results to retry", func(ctx context.Context) (err error) {
		if due, err = e.m.store.DueWork(ctx, e.endpoint, e.name, backlog); err != nil {
			return err
		}
		next, more, err = e.m.store.NextRetry(ctx, e.endpoint, e.name)
		return err
	})
	if err != nil {
		e.retryBy(e.m.store.Now().Add(soon))
		return err
	}
	e.mu.Lock()
	for _, work := range due {
		if len(e.waiting) < backlog {
			e.enqueue(work)
		}
	}
	e.mu.Unlock()
	if more {
		// Those that are due now stay the next ones until they have a slot.
		if earliest := e.m.store.Now().Add(soon); len(due) > 0 && next.Before(earliest) {
			next = earliest
		}
		e.retryBy(next)
	}
	return nil
}

// cancel ends the contexts of the handlers that run.
func (e *executor) cancel(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, cancel := range maps.All(e.cancels) {
		cancel(cause)
	}
}
