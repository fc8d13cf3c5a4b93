package manager

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// claim is what a pool keeps for a task that is about to be recorded as RUNNING: a
// slot or, if binding is nil, a place ahead of the next free one.
type claim struct {
	id      int64    // of the task
	binding *binding // in use
}

// claims are the tasks of a pool that are about to be recorded as RUNNING. The
// pool's lock guards it.
type claims struct {
	tasks map[int64]int // how many claims each has
	// canceled has those of them that were canceled meanwhile, with the cause.
	canceled map[int64]error
}

func newClaims() claims { return claims{map[int64]int{}, map[int64]error{}} }

func (c *claims) add(id int64) { c.tasks[id]++ }

func (c *claims) remove(id int64) {
	if c.tasks[id]--; c.tasks[id] == 0 {
		delete(c.tasks, id)
		delete(c.canceled, id)
	}
}

// acquire returns how to record a task that has arrived: RUNNING, with a claim, if a
// slot is free and nothing waits, or if one will be in no time; see [ahead]. If
// hold is true and a slot is likely to be free in a moment, the state is empty: ask
// again when [holding.freed] is raised.
func (p *pool) acquire(message wire.Task, hold bool) (in ledger.Incoming, c *claim) {
	in = ledger.Incoming{
		ResultKey:  tasker.ResultKey{TaskID: message.TaskID, Endpoint: p.queue.Endpoint},
		Identifier: message.Identifier, Type: message.Type, PayloadSHA256: message.PayloadSHA256, State: tasker.Received,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.retired:
	case p.binding.handler == nil:
		in.State, in.Errnr = tasker.Rejected, tasker.ErrnrRejected
		in.Errmsg = "endpoint " + p.queue.Endpoint + " has no handler for task type " + p.queue.TaskType
	case p.behind || p.rests() || p.suspended || p.ahead.returning > 0:
	case len(p.waiting) == 0 && p.ahead.claimed+len(p.ahead.tasks) == 0 && p.canStart():
		p.free--
		p.binding.use()
		in.State, c = tasker.Running, &claim{message.TaskID, p.binding}
	case len(p.waiting) == 0 && p.mayClaimAhead():
		p.ahead.claimed++
		in.State, c = tasker.Running, &claim{id: message.TaskID}
	case hold && p.turnover.await():
		in.State = "" // those that wait in memory start before; it has no place among them yet
	}
	if c != nil {
		p.claims.add(c.id)
	}
	return in, c
}

// release gives up the claim, if there is one, of a task that was not recorded.
func (p *pool) release(taking context.Context, c *claim) {
	if c == nil {
		return
	}
	p.mu.Lock()
	p.claims.remove(c.id)
	if c.binding == nil {
		p.ahead.claimed--
		p.mu.Unlock()
		return
	}
	p.free++
	p.startWaiting(taking)
	p.turnover.slotFree(p.hasRoomAhead())
	p.mu.Unlock()
	c.binding.release()
}

// onRecorded runs or enqueues a task that was recorded as acquire said.
func (p *pool) onRecorded(taking context.Context, state tasker.ResultState, rec ledger.Recording, c *claim) {
	work := ledger.Work{Task: rec.Task, Endpoint: p.queue.Endpoint, State: state, StartOrder: rec.StartOrder}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case tasker.Running:
		work.Attempt = 1
		p.follow(taking, work, c, p.runner.run)
	case tasker.Received:
		p.enqueue(work)
		p.startWaiting(taking)
	}
}

// onDuplicate handles a task that was recorded before. Usually it is in memory, or
// done. Otherwise this manager recorded it by a statement whose answer was lost,
// and it must still run.
func (p *pool) onDuplicate(taking context.Context, c *claim, rec ledger.Recording) {
	id := rec.Task.ID
	p.mu.Lock()
	switch {
	case p.active[id] != nil || p.queued[id]:
	case rec.State == tasker.Received:
		p.doubt()
		p.wake.Raise()
	case rec.State == tasker.Running && rec.Own && c != nil:
		// The task may have ended since the database was asked. Starting the
		// attempt asks again, now that the task is active.
		work := ledger.Work{
			Task: rec.Task, Endpoint: p.queue.Endpoint, State: tasker.Running, StartOrder: rec.StartOrder,
			Attempt: rec.Attempt, Earlier: rec.Earlier,
		}
		p.follow(taking, work, c, func(taking, running context.Context, j job) followUp {
			j.Attempt--
			return p.runner.start(taking, running, j)
		})
		c = nil // used up
	}
	p.mu.Unlock()
	p.release(taking, c)
}
