package manager

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// maxWaiting bounds the waiting tasks that a pool holds in memory; the others wait
// in the database only. Together with [maxKeptPayload] it bounds their memory.
const maxWaiting = 256

// pool runs the tasks of one type at one endpoint in a bounded number of slots, in
// the order of their places. Its [feeder] reads from the database what memory does not
// hold.
type pool struct {
	queue   broker.Queue
	runner  jobRunner
	now     func() time.Time // the database's clock
	suspect func()           // has the endpoint resynced
	wake    signal.Signal    // for the feeder
	retries *alarm           // when to look for due retries

	consumed atomic.Bool // its consumer is registered

	mu       sync.Mutex
	binding  *binding
	free     int // slots; negative after a reload to fewer than are taken
	turnover turnover
	ahead    ahead
	claims   claims
	waiting  []ledger.Work  // in the order in which they start
	queued   map[int64]bool // the tasks in waiting
	active   map[int64]*run // by task
	// behind is true if the database may have waiting results that memory does
	// not have, from the place beyond on; see order.go. None of these must be overtaken
	// by one that comes after it.
	behind bool
	beyond place
	// refilling is true while the feeder reads waiting results: nothing starts.
	refilling bool
	paused    bool      // what waits is held; see holder
	stopping  bool      // the manager stops, and ends what runs
	suspended bool      // the pool rests, or the manager stops
	retired   bool      // the type was removed
	live      liveCount // of the goroutines of runs
	// roomAwaited is true while the taker waits for roomFree, which is raised when slots are
	// free and nothing waits for them.
	roomAwaited bool
	roomFree    signal.Signal
}

// run is a task that is being worked on: one that has a slot, or that awaits a
// reboot, or that is ahead of a free slot.
type run struct {
	cancel   context.CancelCauseFunc
	slot     bool // it has a slot
	canceled bool // by Cancel
	counted  int  // attempts, with the one that runs
	again    bool // its result waits once more: the task was retried right after its end
}

// job is what a [jobRunner] works on. Its binding is in use until the run ends.
type job struct {
	ledger.Work
	binding *binding
	// freeSlot is called as soon as the handler has ended: storing its end does
	// not need the slot. ran is how long the handler ran, 0 if it was not called.
	freeSlot func(ran time.Duration)
}

// followUp is what a pool does after a job has ended.
type followUp struct {
	suspect bool      // the result may not be what it was taken for: resync the endpoint
	rescan  bool      // read the result from the database again
	retryAt time.Time // when the next attempt is due; zero if there is none
}

// jobRunner runs the jobs of pools. taking ends when the manager stops taking
// tasks. running is the context of the handler: it goes on until the job has ended
// or the pool cancels it.
type jobRunner interface {
	// start counts the next attempt and runs it.
	start(taking, running context.Context, j job) followUp
	// run runs an attempt that is counted already.
	run(taking, running context.Context, j job) followUp
	// awaitReboot waits for a reboot on behalf of an earlier manager.
	awaitReboot(taking, running context.Context, j job) followUp
	// giveBack makes results RECEIVED again whose attempts, which work names, are
	// counted and have not begun. It retries until the answer is known, or the
	// manager ends. The error is [tasker.NotFound] if the store cannot do it.
	giveBack(work []ledger.Work) (returned []bool, err error)
}

// doing is one of the methods of a [jobRunner] that work on a job.
type doing func(taking, running context.Context, j job) followUp

func newPool(
	queue broker.Queue, b *binding, runner jobRunner, now func() time.Time, suspect func(), freed signal.Signal,
) *pool {
	b.use()
	wake := signal.New()
	return &pool{
		queue: queue, runner: runner, now: now, suspect: suspect, wake: wake,
		// What an earlier manager left is read like what memory had no room for.
		behind: true, retries: &alarm{wake: wake, at: now()},
		turnover: turnover{freed: freed}, roomFree: signal.New(),
		binding: b, free: b.Concurrency, claims: newClaims(), queued: map[int64]bool{}, active: map[int64]*run{},
	}
}

// bound returns the present binding.
func (p *pool) bound() *binding {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.binding
}

// bind replaces the binding for what starts from now on. With nil, as for a type
// that was removed, nothing starts any more: what still arrives is recorded and
// waits in the database.
func (p *pool) bind(b *binding) {
	if b != nil {
		b.use()
	}
	p.mu.Lock()
	before := p.binding
	p.retired = b == nil
	if p.retired {
		b = &binding{TaskType: before.TaskType}
	}
	p.free += b.Concurrency - before.Concurrency
	p.binding = b
	p.mu.Unlock()
	before.release()
	if b.handler != nil {
		p.rescan()
	} else {
		go p.giveBack()
	}
}

// canStart reports whether a task could start now. The caller holds the lock.
func (p *pool) canStart() bool {
	return p.free > 0 && p.binding.handler != nil && !p.refilling && !p.rests() && !p.suspended && p.ahead.returning == 0
}

// adoptReboot takes over an attempt that has awaited a reboot since before this
// manager, which runs in the boot named. If the machine has rebooted, the attempt
// continues when a slot is free, before tasks that have not begun. Otherwise it
// waits on, with its run limit from now.
func (p *pool) adoptReboot(taking context.Context, work ledger.Work, boot string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := work.Task.ID
	switch {
	case p.active[id] != nil || p.queued[id] || p.suspended || p.binding.handler == nil:
	case work.AwaitsReboot == boot:
		p.binding.use()
		p.launch(taking, work, p.binding, false, p.runner.awaitReboot)
	default:
		p.insert(work)
		p.wake.Raise()
	}
}

// isActive reports whether the task of waiting work is being worked on. If it waits
// with all attempts that this run knows of, the run has ended and the task was retried:
// it is read once more when the task is no longer active. The caller holds the lock.
func (p *pool) isActive(work *ledger.Work) bool {
	r := p.active[work.Task.ID]
	if r != nil && work.Attempt >= r.counted {
		r.again = true
	}
	return r != nil
}

// enqueue holds work in memory until a slot is free, unless something that waits in
// the database only may come before it, and reports whether it need not be looked for
// again. The caller holds the lock.
func (p *pool) enqueue(work ledger.Work) bool {
	switch {
	case p.queued[work.Task.ID] || p.isActive(&work):
	case !p.fits(&work):
		return false
	default:
		p.insert(work)
	}
	return true
}

// startWaiting starts waiting tasks, in their order, while slots are free, and wakes
// the feeder if it has to read first. The caller holds the lock.
func (p *pool) startWaiting(taking context.Context) {
	p.startAhead()
	for len(p.waiting) > 0 && p.canStart() && !p.outdated() && taking.Err() == nil {
		work := p.waiting[0]
		p.waiting = p.waiting[1:]
		delete(p.queued, work.Task.ID)
		if p.active[work.Task.ID] != nil {
			continue
		}
		p.free--
		p.binding.use()
		p.launch(taking, work, p.binding, true, p.runner.start)
	}
	if p.mustRead() {
		p.wake.Raise()
	}
	p.signalRoom()
}

// launch runs do in a new goroutine, with b in use and, if slot is true, in a slot
// that is taken already. The caller holds the lock.
func (p *pool) launch(taking context.Context, work ledger.Work, b *binding, slot bool, do doing) {
	running, r := p.activate(taking, work)
	r.slot = slot
	go p.perform(taking, running, r, work, b, do)
}

// activate makes a task active. perform ends that. The caller holds the lock.
func (p *pool) activate(taking context.Context, work ledger.Work) (running context.Context, r *run) {
	running, cancel := context.WithCancelCause(context.WithoutCancel(taking))
	id := work.Task.ID
	r = &run{cancel: cancel, counted: work.Attempt}
	if work.State != tasker.Running {
		r.counted++
	}
	p.active[id] = r
	if cause := p.claims.canceled[id]; cause != nil {
		r.canceled = true
		r.cancel(cause)
	}
	p.live.enter()
	return running, r
}

// perform runs do on an active task, with b in use.
func (p *pool) perform(taking, running context.Context, r *run, work ledger.Work, b *binding, do doing) {
	defer p.live.leave()
	next := do(taking, running, job{Work: work, binding: b, freeSlot: func(ran time.Duration) { p.freeSlot(taking, r, ran) }})
	r.cancel(nil)
	p.mu.Lock()
	delete(p.active, work.Task.ID)
	if next.rescan = next.rescan || r.again; next.rescan {
		p.doubt()
	}
	p.mu.Unlock()
	p.freeSlot(taking, r, 0)
	switch {
	case next.rescan:
		p.retries.by(p.now())
	case !next.retryAt.IsZero():
		p.retries.by(next.retryAt)
	}
	b.release()
	if next.suspect { // only now, when the resync does not skip the task as active
		p.suspect()
	}
}

// freeSlot frees the slot of a run, if it has one, for the next waiting task. ran is
// how long its handler ran, 0 if that is not known.
func (p *pool) freeSlot(taking context.Context, r *run, ran time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.slot {
		return
	}
	r.slot = false
	p.free++
	if ran > 0 {
		p.turnover.ran(ran)
	}
	p.startWaiting(taking)
	p.turnover.slotFree(p.hasRoomAhead())
}

// busy returns the number of slots that are taken.
func (p *pool) busy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.binding.Concurrency - p.free
}

// rescan has the feeder read from the database what waits there.
func (p *pool) rescan() {
	p.mu.Lock()
	p.doubt()
	p.mu.Unlock()
	p.retries.by(p.now())
}

// suspend lets nothing start, except what is ahead of a free slot, and forgets what
// waits in memory; it still waits in the database.
func (p *pool) suspend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = true
	p.doubt()
	p.waiting, p.queued = nil, map[int64]bool{}
}

// restore ends a suspension, if there is one.
func (p *pool) restore() {
	p.mu.Lock()
	suspended := p.suspended
	p.suspended = false
	p.mu.Unlock()
	if suspended {
		p.rescan()
	}
}

// settle lets the feeder not read what waits in the database: nothing does, and no
// task has been taken yet.
func (p *pool) settle() {
	p.mu.Lock()
	p.behind = false
	p.mu.Unlock()
	p.retries.clear()
}

// rests reports whether nothing may start. The caller holds the lock.
func (p *pool) rests() bool { return p.paused || p.stopping }

// Pause lets nothing start until Resume. Runs go on, and tasks that arrive are
// recorded and wait. What is ahead of a free slot is given back, and counts as
// running until that is known.
func (p *pool) Pause() {
	p.mu.Lock()
	paused := p.paused
	p.paused = true
	p.mu.Unlock()
	if !paused {
		go p.giveBack()
	}
}

// Resume ends a pause, if there is one.
func (p *pool) Resume() {
	p.mu.Lock()
	paused := p.paused
	p.paused = false
	p.mu.Unlock()
	if paused {
		p.wake.Raise()
	}
}

// cancelAll ends the contexts of all runs, for a stop. Nothing starts any more.
func (p *pool) cancelAll(cause error) {
	p.mu.Lock()
	p.stopping = true
	for _, r := range p.active {
		r.cancel(cause)
	}
	p.mu.Unlock()
	go p.giveBack()
}
