package manager

import (
	"slices"

	"github.com/taskerhq/tasker/internal/ledger"
)

// Cancel reports whether the pool had the task, and stops it:
//
// The context of a task that runs ends with the cause; its slot is free when its
// handler returns. A handler that has not been called yet is not called if the cause
// is [handlers.ErrCanceled], and one that has returned already keeps its result. An
// attempt that awaits a reboot ends at once. A task that is just being recorded as
// RUNNING is stopped as soon as that is done.
//
// A task that waits in memory is dropped from it. Its row is unchanged, and unless
// that has ended by then, the next look at the database brings the task back: store
// its end before.
//
// A task that is ahead of a free slot is like one whose handler has not been called
// yet or, if it is given back, like one that waits.
//
// A task that waits in the database only is not found.
func (p *pool) Cancel(id int64, cause error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancelRun(id, cause) || p.unqueue(id)
}

// CancelRun is Cancel for a task that runs in the database: it also drops one that
// waits in memory, but reports false, since its start would not end it.
func (p *pool) CancelRun(id int64, cause error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancelRun(id, cause) {
		return true
	}
	p.unqueue(id)
	return false
}

// cancelRun is Cancel for a task that runs or is being recorded. The caller holds the
// lock.
func (p *pool) cancelRun(id int64, cause error) bool {
	if r := p.active[id]; r != nil {
		r.canceled = true
		r.cancel(cause)
		return true
	}
	if p.claims.tasks[id] == 0 {
		return false
	}
	p.claims.canceled[id] = cause
	return true
}

// unqueue takes a task that waits out of memory. The caller holds the lock.
func (p *pool) unqueue(id int64) (found bool) {
	if found = p.queued[id]; found {
		delete(p.queued, id)
		p.waiting = slices.DeleteFunc(p.waiting, func(w ledger.Work) bool { return w.Task.ID == id })
	}
	return found
}

// drop takes a task that waits out of memory, if it does, and has the feeder read from
// the database whether it still waits. It reports whether the task may be running.
func (p *pool) drop(id int64) (running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unqueue(id) {
		p.doubt()
		p.wake.Raise()
	}
	return p.active[id] != nil || p.claims.tasks[id] > 0
}
