package model

import (
	"maps"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// canceledErrmsg is the errmsg of what [world.stepCancel] cancels.
const canceledErrmsg = "canceled by ann: why"

// stepCancel is a POST that cancels a task, as a whole or at one endpoint.
func (w *world) stepCancel(c chance) {
	if len(w.identifiers) == 0 {
		return
	}
	t := w.anyTask(c)
	request := tasker.CancelRequest{Type: taskType, Identifier: t.Identifier, By: "ann", Reason: "why"}
	if c.oneIn(3, "at one endpoint") {
		if known := w.endpointsOf(w.before, t.ID); len(known) > 0 {
			request.Endpoints = []string{pick(c, known, "endpoint")}
		}
	}
	for _, name := range endpoints { // a call that fails cancels nothing that could be
		if request.Endpoints == nil || slices.Contains(request.Endpoints, name) {
			w.canceled[tasker.ResultKey{TaskID: t.ID, Endpoint: name}] = true
		}
	}
	var outcome tasker.CancelOutcome
	var err error
	w.call(func() { outcome, err = w.store.Cancels.CancelTask(w.ctx, request) })
	w.logf("CancelTask %s at %v: stopped %v, stopping %v, finished %v, unreachable %v, %v", t.Identifier, request.Endpoints,
		outcome.Stopped, outcome.Stopping, outcome.FinishedBefore, outcome.Unreachable, err)
	conflict := tasker.CodeOf(err) == tasker.Conflict
	if !conflict && w.failed("CancelTask", err) {
		return
	}
	if w.alone {
		w.judgeCancel(t.ID, request, outcome, conflict)
	}
	for _, name := range outcome.Stopped {
		w.stopped[tasker.ResultKey{TaskID: t.ID, Endpoint: name}] = true
	}
	if !conflict {
		w.hinted = append(w.hinted, t.ID)
	}
}

// endpointsOf returns the endpoints that a task expects, or will when their waves open, or
// that have a result of it.
func (w *world) endpointsOf(s snapshot, task int64) []string {
	known := map[string]bool{}
	for _, name := range s.tasks[task].expected {
		known[name] = true
	}
	for _, o := range s.outcomes(task) {
		known[o.Endpoint] = true
	}
	for _, name := range s.unopened(task) {
		known[name] = true
	}
	return slices.Sorted(maps.Keys(known))
}

// canceling is what a cancellation has to find.
type canceling struct {
	outcome  tasker.CancelOutcome
	canceled bool // some of it is already
	left     bool // some of it is not, and has not ended
}

// toCancel returns what a cancellation finds, by the rows before it.
func (w *world) toCancel(task int64, request tasker.CancelRequest) (found canceling) {
	o := &found.outcome
	now := w.store.Now()
	found.left = request.Endpoints == nil && w.before.tasks[task].untaken > 0
	for _, name := range w.endpointsOf(w.before, task) {
		if request.Endpoints != nil && !slices.Contains(request.Endpoints, name) {
			continue
		}
		row, ok := w.before.results[tasker.ResultKey{TaskID: task, Endpoint: name}]
		found.left = found.left || !row.state.Finished() && !row.stopping
		found.canceled = found.canceled || row.stopping && !row.state.Finished() || row.state == tasker.ResultCanceled
		switch {
		case !ok, waits(row), row.state == tasker.ResultCanceled:
			o.Stopped = append(o.Stopped, name)
		case row.state.Finished():
			o.FinishedBefore = append(o.FinishedBefore, name)
		case row.state == tasker.Lost, !w.leaseUntil[name].After(now):
			o.Unreachable = append(o.Unreachable, name)
		default:
			o.Stopping = append(o.Stopping, name)
		}
	}
	return found
}

// judgeCancel compares the answer to a cancellation with the rows before it.
func (w *world) judgeCancel(task int64, request tasker.CancelRequest, got tasker.CancelOutcome, refused bool) {
	row, found := w.before.tasks[task], w.toCancel(task, request)
	want := found.outcome
	nothing := len(want.FinishedBefore) > 0 && !found.left && !found.canceled
	switch {
	case row.canceled:
		nothing = false // the same again
	case row.status.Final():
		nothing = request.Endpoints == nil || !found.canceled || len(want.FinishedBefore) > 0
	case row.status == tasker.Scheduled:
		nothing = request.Endpoints != nil
	}
	if refused != nothing {
		w.violate(4, "task %d is %s with %v, and its cancellation at %v was refused: %v", task, row.status, w.before.outcomes(task),
			request.Endpoints, refused)
	}
	if refused {
		return
	}
	if !slices.Equal(got.Stopped, want.Stopped) || !slices.Equal(got.Stopping, want.Stopping) ||
		!slices.Equal(got.FinishedBefore, want.FinishedBefore) || !slices.Equal(got.Unreachable, want.Unreachable) {
		w.violate(4, "the cancellation of task %d at %v was answered as %+v, want %+v", task, request.Endpoints, got, want)
	}
	ended := len(got.Stopping)+len(got.Unreachable) == 0
	if request.Endpoints == nil && !row.canceled && got.Task.Status.Final() != ended {
		w.violate(4, "task %d is %s after its cancellation, answered as %+v", task, got.Task.Status, got)
	}
}

// checkCancellation checks that a task which is canceled as a whole ends, and that nobody
// joins it.
func (w *world) checkCancellation(id int64, old, now taskRow) {
	switch {
	case now.status == tasker.Canceling && !now.canceled, now.canceled && !now.status.Final() && now.status != tasker.Canceling:
		w.violate(4, "task %d is %s, and canceled as a whole: %v", id, now.status, now.canceled)
	case now.round > old.round: // see retry
	case old.canceled && !now.canceled:
		w.violate(4, "task %d was canceled as a whole, and is no longer", id)
	case old.canceled && len(now.expected) > len(old.expected):
		w.violate(5, "task %d was canceled, expected %v and now expects %v", id, old.expected, now.expected)
	}
}

// checkCanceled checks a result that is CANCELED: somebody canceled it, and it says who.
func (w *world) checkCanceled(key tasker.ResultKey, r resultRow) {
	if !w.canceled[key] || !r.stopping || r.errnr != tasker.ErrnrCanceled || r.errmsg != canceledErrmsg || !w.keepsPayload(key, r) {
		w.violate(4, "the result of %v is %+v, and it was canceled: %v", key, r, w.canceled[key])
	}
}

// waits reports whether a result waits for an attempt.
func waits(r resultRow) bool {
	waiting := []tasker.ResultState{tasker.Received, tasker.Retrying}
	return slices.Contains(waiting, r.state) || r.state == tasker.Lost && slices.Contains(waiting, r.lostFrom)
}

// stopCanceled looks for results that were told to stop. A handler stops, one that has not
// begun does not begin, and the end of what the manager does not know of is stored at once.
func (w *world) stopCanceled(c chance, m *manager) {
	name := pick(c, m.endpoints, "endpoint")
	var work []ledger.Work
	w.perform(c, m, operation{
		what: "CanceledWork",
		call: func() (err error) { work, err = w.store.Attempts.CanceledWork(w.ctx, m.id, name, 10); return err },
		seen: func() {},
		absorb: func() {
			for _, one := range work {
				key := one.Key()
				_, runs := m.running[key]
				_, early := m.early[key]
				if m.active[key] && !runs && !early {
					continue // it starts, or its end is being stored
				}
				w.logf("manager %s stops attempt %d of task %d at %s: handler called: %v", m.id, one.Attempt, key.TaskID, name, runs)
				delete(m.running, key)
				delete(m.early, key)
				delete(m.waiting, key)
				m.active[key] = true
				m.results = append(m.results, canceledEnd(one))
			}
		},
	})
}

// canceledEnd returns the end of an attempt that was told to stop.
func canceledEnd(one ledger.Work) ledger.End {
	return ledger.End{
		ResultKey: one.Key(), Attempt: one.Attempt, State: tasker.ResultCanceled, Errnr: tasker.ErrnrCanceled, Errmsg: one.Canceled,
	}
}
