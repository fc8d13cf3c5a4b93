package model

import (
	"fmt"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// check compares the rows with those before and with what the model knows.
func (w *world) check() {
	if !w.unchecked {
		return
	}
	w.unchecked = false
	now, err := w.look()
	if err != nil {
		w.violations = append(w.violations, fmt.Sprintf("read the rows: %v", err))
		return
	}
	w.checkTasks(now)
	w.checkResults(now)
	w.before = now
}

func (w *world) checkTasks(now snapshot) {
	for id := range w.before.tasks {
		if _, ok := now.tasks[id]; !ok {
			w.violate(1, "task %d is gone", id)
		}
	}
	for id := range w.tasks {
		if _, ok := now.tasks[id]; !ok {
			w.violate(1, "task %d was accepted but is not stored", id)
		}
	}
	for id, t := range now.tasks {
		old, ok := w.before.tasks[id]
		if !ok {
			if w.alone {
				w.checkNew(id, t)
			}
			continue
		}
		w.checkTaskMove(id, old, t)
		if begins := t.status == tasker.Created || !w.alone; old.status == tasker.Scheduled && t.status != tasker.Scheduled && begins {
			if w.alone {
				w.checkNew(id, t)
			}
			continue
		}
		w.checkTargets(now, id, old, t)
		w.checkEnd(now, id, t)
	}
}

// checkTaskMove checks how a task went from one status to another.
func (w *world) checkTaskMove(id int64, old, now taskRow) {
	switch {
	case now.round > old.round: // see retry
		if now.round != old.round+1 || now.status != tasker.Sent || !old.status.CanRetry() {
			w.violate(4, "task %d went from %s to %s, and from round %d to %d", id, old.status, now.status, old.round, now.round)
		}
	case now.status == old.status:
	case old.status.Final(), w.alone && !old.status.CanMoveTo(now.status):
		w.violate(4, "task %d went from %s to %s", id, old.status, now.status)
	}
	w.checkCancellation(id, old, now)
}

// checkTargets checks whom a task that has started expects.
func (w *world) checkTargets(now snapshot, id int64, old, t taskRow) {
	if t.places > 0 {
		w.checkPlaces(now, id, old, t)
		return
	}
	if _, ok := now.rollouts[id]; ok {
		w.checkWaves(now, id, old, t)
		return
	}
	for _, name := range old.expected {
		if !slices.Contains(t.expected, name) {
			w.violate(5, "task %d expected %v and now expects %v", id, old.expected, t.expected)
		}
	}
	if !w.alone {
		return
	}
	for _, name := range t.expected {
		if _, joined := now.results[tasker.ResultKey{TaskID: id, Endpoint: name}]; !joined && !slices.Contains(old.expected, name) {
			w.violate(5, "task %d expected %v and now expects %v, without a result of %s", id, old.expected, t.expected, name)
		}
	}
	if t.targets != len(t.expected) {
		w.violate(5, "task %d says that it has %d targets and has %v", id, t.targets, t.expected)
	}
}

// checkEnd checks that a task which has ended has the status that its results imply.
func (w *world) checkEnd(now snapshot, id int64, t taskRow) {
	summary := now.summary(id)
	if summary.Expected != summary.Received+len(summary.Missing)+summary.Untaken+summary.Unopened {
		w.violate(5, "task %d: %+v does not add up", id, summary)
	}
	if t.status == tasker.Failed && !t.canceled && (summary.Expected == 0 || t.missed()) && w.passed(t.expires) {
		return // nobody has received it, or taken all of its places
	}
	if task := w.tasks[id]; t.status == tasker.Failed && len(t.expected) == 0 && task != nil && !task.asked.Start.IsZero() &&
		task.asked.OnConflict == tasker.ConflictRefuse {
		return // it could not start: see begin
	}
	if t.status.Final() && tasker.NextStatus(t.from(), summary, false) != t.status {
		w.violate(4, "task %d is %s, but its results are %v of %v", id, t.status, now.outcomes(id), t.expected)
	}
}

// from returns the status from which the results move a task to its end.
func (t taskRow) from() tasker.TaskStatus {
	if t.canceled {
		return tasker.Canceling
	}
	return tasker.Sent
}

// checkNew checks a task that was just stored, or has just started: it has all its
// targets, and none while it is SCHEDULED.
func (w *world) checkNew(id int64, t taskRow) {
	if t.status == tasker.Scheduled {
		if len(t.expected) > 0 || t.targets != 0 {
			w.violate(5, "task %d is SCHEDULED with %d targets, %v", id, t.targets, t.expected)
		}
		return
	}
	if t.status != tasker.Created {
		w.violate(4, "task %d starts as %s", id, t.status)
	}
	if t.places > 0 {
		if len(t.expected) > 0 || t.targets != t.places || t.untaken != t.places {
			w.violate(5, "task %d starts with %d places, of which %d are untaken, and with %d targets, %v", id, t.places, t.untaken,
				t.targets, t.expected)
		}
		return
	}
	if task := w.tasks[id]; task == nil || task.Rollout != nil {
		return // see checkWaves
	}
	want := w.registered()
	if task := w.tasks[id]; task.Endpoints != nil {
		want = task.Endpoints
	}
	if !slices.Equal(t.expected, want) || t.targets != len(want) {
		w.violate(5, "task %d starts with %d targets, %v; want %v", id, t.targets, t.expected, want)
	}
}

func (w *world) checkResults(now snapshot) {
	for key := range w.before.results {
		if _, ok := now.results[key]; !ok {
			w.violate(3, "the result of %v is gone", key)
		}
	}
	for r := range w.started {
		if row := now.results[r.ResultKey]; row.attempt < r.attempt {
			w.violate(2, "attempt %d of %v has begun, but its row is %+v", r.attempt, r.ResultKey, row)
		}
	}
	for key := range w.stopped {
		if r := now.results[key]; r.state != tasker.ResultCanceled {
			w.violate(4, "a cancellation was answered with stopped at %v, whose result is %+v", key, r)
		}
	}
	for key, r := range now.results {
		task, stored := now.tasks[key.TaskID]
		t := w.tasks[key.TaskID]
		if !stored || t != nil && !t.Addressed(key.Endpoint) {
			w.violate(5, "%v has a result, but is not addressed", key)
		}
		old, ok := w.before.results[key]
		switch {
		case !ok && w.alone:
			first := 0
			if r.state == tasker.Running {
				first = 1
			}
			if !slices.Contains(tasker.InitialResultStates(), r.state) || r.attempt != first {
				w.violate(2, "the result of %v starts as %+v", key, r)
			}
			if w.before.tasks[key.TaskID].status.Final() {
				w.violate(4, "the result of %v starts when its task is %s", key, task.status)
			}
		case ok:
			w.checkMove(key, old, r)
		}
		if !r.state.Finished() && !r.expires.Equal(task.expires) {
			w.violate(2, "the result of %v expires at %v, and its task at %v", key, r.expires, task.expires)
		}
		w.checkContent(key, r)
	}
}

func (w *world) checkMove(key tasker.ResultKey, old, now resultRow) {
	switch {
	case now.round > old.round: // see retry
		again := now.state == tasker.Received || now.state == tasker.Lost && now.lostFrom == tasker.Received
		if !again || !old.state.CanRetry() || now.attempt != old.attempt || now.payload != "" || now.stopping || now.newer {
			w.violate(4, "the result of %v was %+v, and a retry has made it %+v", key, old, now)
		}
	case old.state.Finished():
		if now != old {
			w.violate(3, "the result of %v had ended as %+v and is now %+v", key, old, now)
		}
	case old.stopping && (!now.stopping || now.attempt != old.attempt || waits(now)):
		w.violate(4, "the result of %v was told to stop as %+v, and is now %+v", key, old, now)
	case old.newer && (!now.newer || now.attempt > old.attempt || waits(now)):
		w.violate(4, "the result of %v was superseded as %+v, and is now %+v", key, old, now)
	case now.attempt < old.attempt:
		// It may be given back, by the manager that has not begun it.
		_, begun := w.started[run{key, old.attempt}]
		if begun || old.attempt != 1 || w.alone && now.state != tasker.Received && (now.state != tasker.Superseded || !old.newer) {
			w.violate(2, "the result of %v went from attempt %d to %d, %s", key, old.attempt, now.attempt, now.state)
		}
	case !w.alone:
	case now.state != old.state && !old.state.CanMoveTo(now.state):
		w.violate(4, "the result of %v went from %s to %s", key, old.state, now.state)
	case now.attempt > old.attempt && (now.attempt != old.attempt+1 || now.state != tasker.Running ||
		old.state == tasker.Running || old.state == tasker.Lost):
		w.violate(2, "the result of %v went from %+v to %+v", key, old, now)
	case old.state == tasker.Lost && !now.state.Finished() &&
		now.state != tasker.Lost && now.state != tasker.Retrying && now.state != old.lostFrom:
		w.violate(4, "the result of %v was LOST from %s and came back as %s", key, old.lostFrom, now.state)
	case now.state == tasker.Lost && old.state != tasker.Lost && now.lostFrom != old.state:
		w.violate(4, "the result of %v was %s, but LOST from %s", key, old.state, now.lostFrom)
	}
}

// checkContent checks that a result says what happened.
func (w *world) checkContent(key tasker.ResultKey, r resultRow) {
	if (r.state == tasker.Lost) != (r.errnr == tasker.ErrnrLost) {
		w.violate(4, "the result of %v is %+v", key, r)
	}
	if !r.state.Finished() || r.state == tasker.Rejected && w.rejected[key] {
		return
	}
	end, ok := w.ended[key]
	switch {
	case r.state == tasker.ResultCanceled:
		w.checkCanceled(key, r)
	case r.state == tasker.Expired:
		w.checkExpired(key, r)
	case r.state == tasker.Superseded:
		w.checkSuperseded(key, r)
	case ok && !same(r, end):
		w.violate(3, "the result of %v was stored as %+v, but is %+v", key, end, r)
	case !ok:
		// The answer is not known yet: it must be what a handler returned.
		end, ok = w.returned[run{key, r.attempt}]
		if (!ok || !same(r, end)) && (r.errnr != tasker.ErrnrInterrupted || r.state != tasker.ResultFailed) {
			w.violate(4, "the result of %v is %+v, but its handler returned %+v", key, r, end)
		}
	}
}

// keepsPayload reports whether a result that did not end by a run has the payload of the last
// attempt that ended, or none.
func (w *world) keepsPayload(key tasker.ResultKey, r resultRow) bool {
	return r.payload == "" || r.payload == string(w.returned[run{key, r.attempt}].Payload)
}

func same(r resultRow, f ledger.End) bool {
	return r.state == f.State && r.attempt == f.Attempt && r.errnr == f.Errnr && r.errmsg == f.Errmsg &&
		r.payload == string(f.Payload) && r.lostFrom == ""
}
