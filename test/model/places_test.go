package model

import (
	"cmp"
	"database/sql"
	"maps"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// lookAtPlaces adds the places that nobody has taken, and those that were taken and may not
// be recorded.
func (w *world) lookAtPlaces(s snapshot) error {
	err := each(w.ctx, w.rows.untaken, func(rows *sql.Rows) error {
		var id int64
		var untaken int
		err := rows.Scan(&id, &untaken)
		if t, ok := s.tasks[id]; ok { // as in look
			t.untaken = untaken
			s.tasks[id] = t
		}
		return err
	})
	if err != nil {
		return err
	}
	return each(w.ctx, w.rows.claims, func(rows *sql.Rows) error {
		var key tasker.ResultKey
		err := rows.Scan(&key.TaskID, &key.Endpoint)
		s.claims[key] = true
		return err
	})
}

// summary counts the results of a task.
func (s snapshot) summary(id int64) tasker.Summary {
	row := s.tasks[id]
	task := tasker.Task{Expected: row.expected, Untaken: row.untaken, Unopened: len(s.unopened(id))}
	if row.places > 0 && row.status != tasker.Scheduled {
		task.Closed = row.places - row.targets
	}
	return task.Summarize(s.outcomes(id))
}

// missed reports whether a task that has ended had places which nobody took, and which
// were not closed.
func (t taskRow) missed() bool { return t.places > 0 && t.targets > len(t.expected) }

// unused returns the places at an endpoint, or at all of them, that were taken and not
// recorded, sorted.
func (s snapshot) unused(endpoint string) []tasker.ResultKey {
	return slices.DeleteFunc(sortedKeys(s.claims), func(key tasker.ResultKey) bool {
		_, recorded := s.results[key]
		return recorded || endpoint != "" && key.Endpoint != endpoint
	})
}

// take takes places for an endpoint.
func (w *world) take(c chance, m *manager, name string, limit int) {
	var tasks []tasker.Task
	w.perform(c, m, operation{
		what: "TakeTasks",
		call: func() (err error) {
			tasks, err = w.store.Inbox.TakeTasks(w.ctx, m.id, name, taskType, limit)
			return err
		},
		seen: func() {
			var got []int64
			for _, task := range tasks {
				got = append(got, task.ID)
			}
			w.logf("manager %s takes tasks %v for %s", m.id, got, name)
			if want := w.toTake(m, name, limit); w.alone && !slices.Equal(got, want) {
				w.violate(1, "manager %s took tasks %v for %s, want %v", m.id, got, name, want)
			}
		},
		absorb: func() {
			for _, task := range tasks {
				m.found = append(m.found, message{incoming: ledger.Incoming{
					ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: name},
					Identifier: task.Identifier, Type: task.Type,
				}})
			}
		},
	})
}

// toTake returns the tasks that an endpoint has taken and not recorded, and the next of which
// it may take a place, by the rows before.
func (w *world) toTake(m *manager, name string, limit int) (list []int64) {
	for _, key := range w.before.unused(name) {
		list = append(list, key.TaskID)
	}
	var open []int64
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		task, row := w.tasks[id], w.before.tasks[id]
		receivable := row.status == tasker.Created || row.status == tasker.Sent || row.status == tasker.Incomplete
		if w.holder[name] == m.id && receivable && row.untaken > 0 && task.Addressed(name) && !slices.Contains(row.expected, name) &&
			!w.passed(row.expires) && !w.isHeld(tasker.ResultKey{TaskID: id, Endpoint: name}) {
			open = append(open, id)
		}
	}
	slices.SortStableFunc(open, func(a, b int64) int {
		x, y := w.tasks[a], w.tasks[b]
		return cmp.Compare(ledger.StartOrder(x.StartTime, x.Priority), ledger.StartOrder(y.StartTime, y.Priority))
	})
	list = append(list, open...)
	return list[:min(limit, len(list))]
}

// checkPlaces checks that no more endpoints have a place of a task than there are, that only
// these record it, and that nobody loses one that was used.
func (w *world) checkPlaces(now snapshot, id int64, old, t taskRow) {
	if len(t.expected)+t.untaken > t.places || t.canceled && t.untaken > 0 {
		w.violate(5, "task %d has %d places, of which %v have one, and %d are untaken; canceled: %v", id, t.places, t.expected,
			t.untaken, t.canceled)
	}
	expired := t.status == tasker.Failed && w.passed(t.expires)
	if t.status != tasker.Scheduled && !expired && len(t.expected)+t.untaken != t.targets {
		w.violate(5, "task %d says that it has %d targets, but %v have a place, and %d are untaken", id, t.targets, t.expected, t.untaken)
	}
	if t.targets > old.targets && old.status != tasker.Scheduled {
		w.violate(5, "task %d had %d places that were not closed, and now %d", id, old.targets, t.targets)
	}
	for _, name := range w.endpointsOf(now, id) {
		_, recorded := now.results[tasker.ResultKey{TaskID: id, Endpoint: name}]
		switch {
		case recorded && !slices.Contains(t.expected, name):
			w.violate(5, "task %d has a result of %s, but only %v have a place", id, name, t.expected)
		case !recorded && !now.claims[tasker.ResultKey{TaskID: id, Endpoint: name}]:
			w.violate(5, "task %d has no result of %s, which has a place that would not be given back", id, name)
		}
	}
}

// releasePlaces gives back the places of endpoints that no manager holds.
func (w *world) releasePlaces(r *reconciler) {
	if w.alone {
		w.check()
	}
	var want, kept []tasker.ResultKey
	for _, key := range w.before.unused("") {
		if w.leaseUntil[key.Endpoint].After(w.store.Now()) {
			kept = append(kept, key)
		} else {
			want = append(want, key)
		}
	}
	var tasks []int64
	var err error
	w.call(func() { tasks, err = w.store.Endpoints.ReleasePlaces(w.ctx, 100) })
	w.logf("ReleasePlaces: %v of tasks %v", want, tasks)
	r.pending = append(r.pending, tasks...)
	if w.failed("ReleasePlaces", err) || !w.alone {
		return
	}
	now, err := w.look()
	if w.failed("read the rows", err) {
		return
	}
	if left := now.unused(""); !slices.Equal(left, kept) {
		w.violate(5, "the places %v were not used, and %v are left, want %v", w.before.unused(""), left, kept)
	}
	for key := range now.claims {
		if state := now.results[key].state; state != "" && state != tasker.Lost {
			w.violate(5, "the place %v is used, %s, and would be given back", key, state)
		}
	}
	for _, key := range want {
		before, after := w.before.tasks[key.TaskID], now.tasks[key.TaskID]
		if slices.Contains(after.expected, key.Endpoint) || after.untaken <= before.untaken || !slices.Contains(tasks, key.TaskID) {
			w.violate(5, "the place %v was not given back: task %d was %+v, and is %+v", key, key.TaskID, before, after)
		}
	}
}
