package model

import (
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// stepRetry is a POST that retries a task. With overlapping calls the model could not
// know which end of an attempt came before.
func (w *world) stepRetry(c chance) {
	if !w.alone || len(w.identifiers) == 0 {
		return
	}
	t := w.anyTask(c)
	class := pick(c, tasker.RetryClasses(), "class")
	request := tasker.RetryRequest{Type: taskType, Identifier: t.Identifier, Class: class, By: "ann"}
	expired := w.passed(w.before.tasks[t.ID].expires)
	if expired && !c.oneIn(3, "as expired as it is") {
		request.Expires.After = 30 * time.Second
	}
	var outcome tasker.RetryOutcome
	var err error
	w.call(func() { outcome, err = w.store.Rounds.RetryTask(w.ctx, request) })
	w.logf("RetryTask %s %s: %v, round %d, %v", t.Identifier, class, outcome.Retried, outcome.Round, err)
	want := w.toRetry(t.ID, class)
	if expired && request.Expires.IsZero() {
		want = nil
	}
	switch conflict := tasker.CodeOf(err) == tasker.Conflict; {
	case conflict && len(want) == 0:
		return
	case !conflict && w.failed("RetryTask", err):
		return
	case !slices.Equal(outcome.Retried, want):
		w.violate(1, "task %d is retried (%s) at %v, want %v: %v", t.ID, class, outcome.Retried, want, err)
		return
	}
	for _, name := range want {
		key := tasker.ResultKey{TaskID: t.ID, Endpoint: name}
		row, ok := w.before.results[key]
		if !ok {
			continue
		}
		delete(w.ended, key)
		delete(w.canceled, key)
		delete(w.stopped, key)
		w.earlier[key] = row.attempt
		if row.state == tasker.Lost { // its run may go on, and its end is not stored any more
			w.taken[run{key, row.attempt}] = ledger.End{}
		}
	}
}

// toRetry returns the endpoints that a retry concerns, by the rows before it.
func (w *world) toRetry(task int64, class tasker.RetryClass) (list []string) {
	t := w.before.tasks[task]
	if !t.status.CanRetry() {
		return nil
	}
	for _, name := range endpoints {
		row, ok := w.before.results[tasker.ResultKey{TaskID: task, Endpoint: name}]
		switch {
		case !ok:
			if class.Missing() && slices.Contains(t.expected, name) {
				list = append(list, name)
			}
		case w.holder[name] == "": // nobody would run it
		case slices.Contains(class.Results(), row.state) && (row.state != tasker.Lost || row.lostFrom == tasker.Running):
			list = append(list, name)
		}
	}
	return list
}
