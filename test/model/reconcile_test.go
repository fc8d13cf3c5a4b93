package model

import (
	"maps"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// reconciler is the memory of an API process's reconciler, without its relay.
type reconciler struct {
	after   map[tasker.TaskStatus]ledger.SentPosition // the sweep's position
	looked  ledger.SentPosition                       // tasks up to here were checked when overdue
	pending []int64                                   // to aggregate
	busy    bool
}

func newReconciler() *reconciler {
	return &reconciler{after: map[tasker.TaskStatus]ledger.SentPosition{}}
}

func (w *world) stepReconciler(c chance) {
	i := c(len(w.reconcilers), "reconciler")
	r := w.reconcilers[i]
	if r.busy {
		return
	}
	if c.oneIn(20, "crash") {
		w.logf("a reconciler crashes")
		w.reconcilers[i] = newReconciler()
		return
	}
	r.busy = true
	defer func() { r.busy = false }()
	if len(r.pending) > 0 && c(3, "later") < 2 {
		w.aggregate(r)
		return
	}
	switch c(8, "job") {
	case 0:
		w.sweep(r)
	case 1:
		w.lookAtOverdue(r)
	case 2:
		w.markLost(r)
	case 3:
		r.pending, w.hinted = append(r.pending, w.hinted...), nil
	case 4:
		w.expire(r)
	case 5:
		w.releasePlaces(r)
	case 6, 7:
		w.advanceRollouts(c)
	}
}

func (w *world) aggregate(r *reconciler) {
	ids := r.pending
	var n int
	var err error
	w.call(func() { n, err = w.store.Statuses.Aggregate(w.ctx, ids, waitForAll) })
	if !w.failed("Aggregate", err) {
		w.logf("Aggregate %v: %d changed", ids, n)
		r.pending = nil
	}
}

// sweep finds open tasks whose status is out of date, page by page.
func (w *world) sweep(r *reconciler) {
	for _, status := range []tasker.TaskStatus{tasker.Sent, tasker.Incomplete, tasker.Canceling} {
		var page []ledger.SentPosition
		var unsettled []int64
		var err error
		const limit = 2
		after := r.after[status]
		w.call(func() {
			if page, err = w.store.Statuses.OpenTasks(w.ctx, status, after, w.store.Now(), limit); err == nil {
				var looks []ledger.Look
				looks, err = w.store.Statuses.LookAtTasks(w.ctx, ids(page), waitForAll)
				for _, look := range looks {
					if look.Unsettled {
						unsettled = append(unsettled, look.ID)
					}
				}
			}
		})
		if w.failed("sweep", err) {
			return
		}
		w.logf("sweep: tasks %v, unsettled %v", ids(page), unsettled)
		if w.alone {
			w.judgeUnsettled(page, unsettled)
		}
		r.pending = append(r.pending, unsettled...)
		r.after[status] = ledger.SentPosition{}
		if len(page) == limit {
			r.after[status] = page[limit-1]
		}
	}
}

// judgeUnsettled checks that the sweep misses no task that its results have
// settled.
func (w *world) judgeUnsettled(page []ledger.SentPosition, unsettled []int64) {
	for _, id := range ids(page) {
		t := w.before.tasks[id]
		next := tasker.NextStatus(t.status, w.before.summary(id), false)
		if next != t.status && !slices.Contains(unsettled, id) {
			w.violate(4, "task %d is %s and must become %s, but the sweep misses it", id, t.status, next)
		}
	}
}

// lookAtOverdue looks at each task once, when its timeout has passed.
func (w *world) lookAtOverdue(r *reconciler) {
	var page []ledger.SentPosition
	var err error
	after := r.looked
	w.call(func() {
		page, err = w.store.Statuses.OpenTasks(w.ctx, tasker.Sent, after, w.store.Now().Add(-waitForAll), 10)
	})
	if w.failed("OpenTasks", err) || len(page) == 0 {
		return
	}
	r.pending = append(r.pending, ids(page)...)
	r.looked = page[len(page)-1]
}

func (w *world) markLost(r *reconciler) {
	cutoff := w.store.Now().Add(-lostAfter)
	silent := map[string]bool{}
	for name, seen := range w.lastSeen {
		silent[name] = seen.Before(cutoff)
	}
	var tasks []int64
	var err error
	w.call(func() { tasks, err = w.store.Endpoints.MarkLost(w.ctx, cutoff, 10) })
	if w.failed("MarkLost", err) {
		return
	}
	w.logf("MarkLost: tasks %v of %v", tasks, slices.Sorted(maps.Keys(silent)))
	r.pending = append(r.pending, tasks...)
	if !w.alone {
		return
	}
	now, err := w.look()
	if err != nil {
		w.failed("read the rows", err)
	}
	for _, key := range sortedKeys(now.results) {
		old, row := w.before.results[key], now.results[key]
		unfinished := !old.state.Finished() && old.state != tasker.Lost
		if became := unfinished && row.state == tasker.Lost; became != (unfinished && silent[key.Endpoint]) {
			w.violate(5, "task %d at %s went from %s to %s, but its endpoint was last seen %v ago",
				key.TaskID, key.Endpoint, old.state, row.state, w.store.Now().Sub(w.lastSeen[key.Endpoint]))
		}
	}
}

func ids(page []ledger.SentPosition) []int64 {
	ids := make([]int64, len(page))
	for i, p := range page {
		ids[i] = p.ID
	}
	return ids
}

// stepTime advances the clock, with or without heartbeats of the managers.
func (w *world) stepTime(c chance) {
	if c(3, "silence") < 2 {
		for _, m := range w.live() {
			if m.phase == serving && !m.busy {
				w.heartbeat(calm, m)
			}
		}
	}
	seconds := []time.Duration{1, 3, 9, 16, 31, 61}
	d := pick(c, seconds, "passes") * time.Second
	w.clock.advance(d)
	w.logf("%v pass", d)
	if r := w.reconcilers[0]; d > lostAfter && !r.busy {
		r.busy = true
		w.markLost(r)
		r.busy = false
	}
}

// observe is a GET.
func (w *world) observe(c chance) {
	if len(w.identifiers) == 0 {
		return
	}
	id := w.anyTask(c).ID
	var task tasker.Task
	var results []tasker.TaskResult
	var err error
	identifier := w.tasks[id].Identifier
	w.call(func() {
		if task, err = w.store.Tasks.FindTask(w.ctx, taskType, identifier); err == nil {
			results, err = w.store.Results.TaskResults(w.ctx, id)
		}
	})
	if w.failed("FindTask", err) {
		return
	}
	if task.ID != id {
		w.violate(1, "task %s had id %d, and now %d", identifier, id, task.ID)
	}
	if !w.alone {
		return
	}
	row := w.before.tasks[id]
	if !row.status.Final() && task.Untaken != row.untaken {
		w.violate(4, "task %d was returned with %d untaken places, but is stored as %+v", id, task.Untaken, row)
	}
	if task.Status != row.status || len(results) != len(w.before.outcomes(id)) || !slices.Equal(task.Expected, row.expected) {
		w.violate(4, "task %d was returned as %+v with %d results, but is stored as %+v", id, task, len(results), row)
	}
	for _, r := range results {
		stored := w.before.results[tasker.ResultKey{TaskID: id, Endpoint: r.Endpoint}]
		if r.State != stored.state || r.Attempt != stored.attempt || r.Errnr != stored.errnr || string(r.Payload) != stored.payload {
			w.violate(4, "the result of task %d at %s was returned as %+v, but is stored as %+v", id, r.Endpoint, r, stored)
		}
	}
}
