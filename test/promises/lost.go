package promises

import "slices"

// Promise 1: no accepted task is lost.

// An accepted task exists at the end.
func acceptedTaskLost(w *world, report reportFunc) {
	for _, key := range w.tasks {
		accepted := slices.IndexFunc(w.posts[key], func(p Post) bool { return !p.Accepted.IsZero() })
		if accepted >= 0 && w.final[key] == nil {
			report("%v was accepted at %s, and does not exist at the end", key, clock(w.posts[key][accepted].Accepted))
		}
	}
}

// Every endpoint of a task has recorded it at the end.
func rowMissing(w *world, report reportFunc) {
	for _, key := range w.tasks {
		a := w.final[key]
		if a == nil {
			continue
		}
		for _, endpoint := range w.addressed(key) {
			if a.row(endpoint) == nil && slices.Contains(a.Summary.Missing, endpoint) {
				report("%v is not recorded at %s", key, endpoint)
			}
		}
	}
}

// A row with the end of a handler has a run.
func rowWithoutRun(w *world, report reportFunc) {
	w.finalRows(func(p place, row *Result) {
		if hasOutcome(row) && w.started(p, row.Attempt) == nil {
			report("%v is %s (errnr %d) by attempt %d, which never ran", p, row.State, row.Errnr, row.Attempt)
		}
	})
}

// hasOutcome reports whether a row has the end of a handler.
func hasOutcome(row *Result) bool {
	switch row.State {
	case stateDone, stateTimedOut:
		return true
	case stateFailed:
		return row.Errnr != errnrInterrupted
	}
	return false
}

// No handler starts before the time at which its task was to start, and no
// endpoint has received it before.
func startedEarly(w *world, report reportFunc) {
	for _, r := range w.runs {
		for _, p := range w.posts[r.task] {
			if from, _ := r.lasted(); from.Before(p.StartTime.Add(-grace)) {
				report("%v: attempt %d ran at %s, but the task was to start at %s", r.place, r.attempt, clock(from), clock(p.StartTime))
			}
		}
	}
	for _, a := range w.all {
		if a.Task.Status == statusScheduled && len(a.mentions()) > 0 {
			report("%v at %s is %s, but has rows or missing endpoints", a.key(), clock(a.Time), a.Task.Status)
		}
	}
}
