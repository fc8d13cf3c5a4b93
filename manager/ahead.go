package manager

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

const (
	// aheadRun is the average run of a pool up to which tasks are recorded as
	// RUNNING ahead of a free slot.
	aheadRun = 2 * time.Millisecond
	// maxAhead bounds these tasks in a pool, and aheadPerSlot those for each of its
	// slots.
	maxAhead, aheadPerSlot = 16, 4
	// aheadWait is how long a task may be RUNNING without having begun before it is
	// given back, and how long no slot may have become free for another one.
	aheadWait = 100 * time.Millisecond
)

// ahead has the tasks of a pool that are RUNNING in the database and wait for a slot:
// where runs are very brief, it is free before anybody could tell the difference, and
// one statement records more tasks than there are slots. They start before all
// others, in the order in which they arrived. If a run turns long, or the pool is
// paused, they are given back: they are RECEIVED again, as if no attempt had been
// counted. The pool's lock guards it.
type ahead struct {
	claimed   int // about to be recorded
	tasks     []aheadTask
	returning int  // being given back: neither may they start, nor what is newer
	watched   bool // a timer is set for the oldest one
	// unsupported is true if the store cannot give back attempts, as a gateway that
	// is older than this program.
	unsupported bool
}

// aheadTask is a task with a counted attempt that has not begun.
type aheadTask struct {
	work  ledger.Work // with the number of that attempt
	run   *run
	begin func(b *binding) // runs it in a new goroutine, with b in use
	until time.Time        // when it is given back
}

// mayClaimAhead reports whether a task may be recorded as RUNNING although no slot is
// free for it. So that one statement has many of them, there are none until half of
// those before have begun. The caller holds the lock.
func (p *pool) mayClaimAhead() bool {
	return (p.ahead.claimed > 0 || p.hasRoomAhead()) && p.ahead.claimed+len(p.ahead.tasks) < p.maxAhead() &&
		!p.ahead.unsupported && !p.refilling && p.turnover.turnsOver()
}

func (p *pool) maxAhead() int { return min(maxAhead, aheadPerSlot*p.binding.Concurrency) }

func (p *pool) hasRoomAhead() bool { return 2*len(p.ahead.tasks) <= p.maxAhead() }

// follow runs do on a task that was recorded as RUNNING: in the slot of its claim,
// or when one is free. The caller holds the lock.
func (p *pool) follow(taking context.Context, work ledger.Work, c *claim, do doing) {
	defer p.claims.remove(c.id)
	if c.binding != nil {
		p.launch(taking, work, c.binding, true, do)
		return
	}
	p.ahead.claimed--
	running, r := p.activate(taking, work)
	p.ahead.tasks = append(p.ahead.tasks, aheadTask{
		work: work, run: r, until: time.Now().Add(aheadWait),
		begin: func(b *binding) { go p.perform(taking, running, r, work, b, do) },
	})
	p.startWaiting(taking)
	if !p.mayBegin() {
		go p.giveBack()
		return
	}
	p.watchAhead()
}

// mayBegin reports whether what is ahead may begin when a slot is free: a stop does
// not prevent it. The caller holds the lock.
func (p *pool) mayBegin() bool { return p.binding.handler != nil && !p.rests() }

// startAhead starts what is ahead, in the order of its arrival, while slots are free.
// The caller holds the lock.
func (p *pool) startAhead() {
	for len(p.ahead.tasks) > 0 && p.free > 0 && p.mayBegin() {
		next := p.ahead.tasks[0]
		p.ahead.tasks = p.ahead.tasks[1:]
		p.free--
		next.run.slot = true
		p.binding.use()
		next.begin(p.binding)
	}
}

// watchAhead has what is ahead given back once the oldest one has waited for too
// long. The caller holds the lock.
func (p *pool) watchAhead() {
	if len(p.ahead.tasks) == 0 || p.ahead.watched {
		return
	}
	p.ahead.watched = true
	time.AfterFunc(time.Until(p.ahead.tasks[0].until), func() {
		p.mu.Lock()
		p.ahead.watched = false
		late := len(p.ahead.tasks) > 0 && !time.Now().Before(p.ahead.tasks[0].until)
		if !late {
			p.watchAhead()
		}
		p.mu.Unlock()
		if late { // the others wait for the same slots
			p.giveBack()
		}
	})
}

// giveBack gives back what is ahead. Until the database has answered, it may neither
// start nor be forgotten.
func (p *pool) giveBack() {
	p.mu.Lock()
	tasks := p.ahead.tasks
	p.ahead.tasks = nil
	p.ahead.returning += len(tasks)
	p.mu.Unlock()
	if len(tasks) == 0 {
		return
	}
	list := make([]ledger.Work, len(tasks))
	for i, t := range tasks {
		list[i] = t.work
	}
	returned, err := p.runner.giveBack(list)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead.returning -= len(tasks)
	if tasker.CodeOf(err) == tasker.NotFound {
		p.ahead.unsupported = true
	}
	for i, t := range tasks {
		delete(p.active, t.work.Task.ID)
		t.run.cancel(nil)
		p.takeBack(t, err == nil && returned[i])
		p.live.leave()
	}
	p.wake.Raise()
}

// takeBack has a task that was ahead wait like any other. If it was not given back,
// it has ended, or it cannot be: its start tells. The caller holds the lock.
func (p *pool) takeBack(t aheadTask, returned bool) {
	work := lean(t.work)
	work.Attempt--
	if returned {
		work.State = tasker.Received
	}
	switch {
	case p.suspended: // it waits in the database
	case returned && t.run.canceled: // see Cancel
		p.doubt()
	case p.fits(&work):
		p.insert(work)
	}
}
