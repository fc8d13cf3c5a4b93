package model

import (
	"slices"

	"github.com/taskerhq/tasker"
)

// topic is the topic of all tasks that have one.
const topic = "topic"

// older returns the tasks of the topic that have begun and not ended, by the rows before.
func (w *world) older() (ids []int64) {
	for _, id := range w.before.begun {
		if !w.before.tasks[id].status.Final() {
			ids = append(ids, id)
		}
	}
	return ids
}

// refuses reports whether a task is refused that starts now, since an older one of its topic
// has not ended.
func (w *world) refuses(task tasker.Task) bool {
	return task.OnConflict == tasker.ConflictRefuse && task.Status != tasker.Scheduled && len(w.older()) > 0
}

// begin starts a task of the topic that was to start later, and reports whether that was
// all: it is refused, or somebody else has moved it.
func (w *world) begin(d *dispatch) (done bool) {
	var task tasker.Task
	var started bool
	var err error
	now := w.store.Now()
	d.busy = true
	w.call(func() { task, started, err = w.store.Schedule.StartChosen(w.ctx, d.task, nil, 0) })
	d.busy = false
	w.logf("StartChosen %d: %v, %v", d.task.ID, started, err)
	t, row := w.tasks[d.task.ID], w.before.tasks[d.task.ID]
	scheduled := row.status == tasker.Scheduled
	refused := scheduled && d.task.OnConflict == tasker.ConflictRefuse && len(w.older()) > 0
	conflict := tasker.CodeOf(err) == tasker.Conflict
	if w.alone && (conflict != refused || started != (scheduled && !refused)) {
		w.violate(4, "task %d was %s, and its start was refused: %v, want %v; started: %v", d.task.ID, row.status, conflict, refused,
			started)
	}
	switch {
	case conflict:
		d.busy = true
		w.call(func() { _, err = w.store.Schedule.FailScheduled(w.ctx, d.task, "refused") })
		d.busy = false
		return !w.failed("FailScheduled", err)
	case w.failed("StartChosen", err):
		return false
	case !started:
		return true
	}
	d.task, d.stage, d.attempt = task, publishing, 1
	if t != nil {
		t.relayTime, t.attempt = now.Add(relayGrace), 1
		w.judgeSuperseded(t)
	}
	return false
}

// judgeSuperseded checks what a task of the topic that has just begun has done to the older
// ones: at its endpoints what waits or is missing is SUPERSEDED, and what runs is marked.
func (w *world) judgeSuperseded(by *accepted) {
	if by.Topic == "" || !w.alone {
		return
	}
	now, err := w.look()
	if w.failed("read the rows", err) {
		return
	}
	if n := len(now.begun); n == 0 || now.begun[n-1] != by.ID {
		w.violate(4, "task %d has begun, and those of its topic are %v", by.ID, now.begun)
	}
	for _, id := range w.older() {
		old, task := w.before.tasks[id], now.tasks[id]
		if old.status == tasker.Canceling {
			continue
		}
		if task.untaken > 0 {
			w.violate(4, "task %d is superseded by %d, and has %d untaken places", id, by.ID, task.untaken)
		}
		for _, name := range w.endpointsOf(w.before, id) {
			key := tasker.ResultKey{TaskID: id, Endpoint: name}
			before, ok := w.before.results[key]
			row, want := now.results[key], before
			if _, waves := w.before.rollouts[id]; waves || old.places > 0 || by.includes(now.tasks[by.ID], name) {
				want.newer = before.newer || !before.state.Finished()
				if !ok || waits(before) {
					want.state = tasker.Superseded
				}
			}
			if row.state != want.state || row.newer != want.newer || row.attempt != want.attempt {
				w.violate(4, "task %d is superseded by %d of %v, and its result at %s was %+v, and is %+v", id, by.ID,
					now.tasks[by.ID].expected, name, before, row)
			}
		}
	}
}

// includes reports whether a task of the topic replaces older ones at an endpoint.
func (t *accepted) includes(row taskRow, endpoint string) bool {
	if t.Deliver > 0 || t.Rollout != nil {
		return t.Addressed(endpoint)
	}
	return slices.Contains(row.expected, endpoint)
}

// newerAt returns the newest task of the topic that keeps an endpoint from joining an older
// one, or "".
func (w *world) newerAt(key tasker.ResultKey) (identifier string) {
	i := slices.Index(w.before.begun, key.TaskID)
	if i < 0 || slices.Contains(w.before.tasks[key.TaskID].expected, key.Endpoint) {
		return ""
	}
	for _, id := range w.before.begun[i+1:] {
		by := w.tasks[id]
		if by != nil && by.OnConflict == tasker.ConflictSupersede &&
			(by.Endpoints == nil || by.includes(w.before.tasks[id], key.Endpoint)) {
			identifier = by.Identifier
		}
	}
	return identifier
}

// checkSuperseded checks a result that is SUPERSEDED: another task of the topic has replaced
// it, and the result says so.
func (w *world) checkSuperseded(key tasker.ResultKey, r resultRow) {
	said := false
	for id, by := range w.tasks {
		said = said || id != key.TaskID && by.OnConflict == tasker.ConflictSupersede && r.errmsg == tasker.SupersededErrmsg(by.Identifier)
	}
	given := r.errmsg == tasker.SupersededErrmsg("") && r.attempt == 0
	if t := w.tasks[key.TaskID]; t != nil && t.Topic == "" || !said && !given || r.errnr != tasker.ErrnrSuperseded ||
		!w.keepsPayload(key, r) {
		w.violate(4, "the result of %v is %+v", key, r)
	}
}
