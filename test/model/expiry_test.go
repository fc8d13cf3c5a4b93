package model

import (
	"maps"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
)

// passed reports whether a time has come; zero is never.
func (w *world) passed(at time.Time) bool { return !at.IsZero() && !at.After(w.store.Now()) }

// expire ends what can be ended of the tasks that have expired.
func (w *world) expire(r *reconciler) {
	if w.alone {
		w.check()
	}
	const limit = 3
	due := w.toExpire(limit)
	var tasks []int64
	var err error
	w.call(func() { tasks, err = w.store.Expiry.ExpireTasks(w.ctx, limit) })
	w.logf("ExpireTasks: %v", tasks)
	r.pending = append(r.pending, tasks...)
	if w.failed("ExpireTasks", err) || !w.alone {
		return
	}
	if !slices.Equal(tasks, due) {
		w.violate(4, "tasks %v have expired, but %v were ended", due, tasks)
	}
	now, err := w.look()
	if w.failed("read the rows", err) {
		return
	}
	for _, id := range tasks {
		w.judgeExpired(now, id)
	}
}

// toExpire returns the first tasks that are due to be ended.
func (w *world) toExpire(limit int) (due []int64) {
	for _, id := range slices.Sorted(maps.Keys(w.before.tasks)) {
		if w.passed(w.before.tasks[id].expireTime) {
			due = append(due, id)
		}
	}
	slices.SortStableFunc(due, func(a, b int64) int {
		return w.before.tasks[a].expireTime.Compare(w.before.tasks[b].expireTime)
	})
	return due[:min(limit, len(due))]
}

// judgeExpired checks what has become of a task that has expired: what waits and what is
// missing is EXPIRED, and it ends if it has not begun anywhere.
func (w *world) judgeExpired(now snapshot, id int64) {
	old, task := w.before.tasks[id], now.tasks[id]
	if old.status.Final() {
		if !task.expireTime.IsZero() {
			w.violate(4, "task %d is %s, and will expire at %v", id, task.status, task.expireTime)
		}
		return // see checkTaskMove and checkMove
	}
	received, ran, runs := false, false, false
	for _, name := range w.endpointsOf(w.before, id) {
		key := tasker.ResultKey{TaskID: id, Endpoint: name}
		before, ok := w.before.results[key]
		row, want := now.results[key], before.state
		if !ok || waits(before) {
			want = tasker.Expired
		}
		if row.state != want {
			w.violate(4, "task %d has expired, and its result at %s was %+v, and is %+v", id, name, before, row)
		}
		received, ran, runs = true, ran || row.state != tasker.Expired, runs || !row.state.Finished()
	}
	want := old.status
	switch {
	case !received, old.status == tasker.Created && !ran, old.untaken > 0 && !runs:
		want = tasker.Failed
	case old.status == tasker.Created:
		want = tasker.Sent
	}
	if task.status != want || task.expireTime.IsZero() != task.status.Final() {
		w.violate(4, "task %d has expired, was %s with %v, and is %s, to be looked at again at %v", id, old.status,
			now.outcomes(id), task.status, task.expireTime)
	}
}

// checkExpired checks a result that is EXPIRED: its time has come, and it says so.
func (w *world) checkExpired(key tasker.ResultKey, r resultRow) {
	errmsg := "the task expired at " + r.expires.Format(time.RFC3339) + ", before it ran"
	if !w.passed(r.expires) || r.errnr != tasker.ErrnrExpired || r.errmsg != errmsg || !w.keepsPayload(key, r) {
		w.violate(4, "the result of %v is %+v", key, r)
	}
}
