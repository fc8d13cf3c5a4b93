package promises

import "slices"

// Promise 1: no accepted task is lost.

// An accepted task is there at the end.
func acceptedTaskLost(w *world, report reportFunc) {
	for _, key := range w.tasks {
		accepted := slices.IndexFunc(w.posts[key], func(p Post) bool { return !p.Accepted.IsZero() })
		if accepted >= 0 && w.final[key] == nil {
			report("%v was accepted at %s, and nothing is known of it at the end", key, clock(w.posts[key][accepted].Accepted))
		}
	}
}

// Every endpoint that a task is for has recorded it at the end.
func rowMissing(w *world, report reportFunc) {
	for _, key := range w.tasks {
		a := w.final[key]
		if a == nil {
			continue
		}
		for _, endpoint := range w.addressed(key) {
			if a.row(endpoint) == nil && slices.Contains(a.Summary.Missing, endpoint) {
				report("%v never reached %s, which is alive", key, endpoint)
			}
		}
	}
}

// A row that tells how a handler ended has a handler that ran.
func rowWithoutRun(w *world, report reportFunc) {
	w.finalRows(func(p place, row *Result) {
		if tellsOfRun(row) && w.started(p, row.Attempt) == nil {
			report("%v is %s (errnr %d) by attempt %d, which no handler has seen", p, row.State, row.Errnr, row.Attempt)
		}
	})
}

// tellsOfRun reports whether a row says how a handler ended.
func tellsOfRun(row *Result) bool {
	switch row.State {
	case stateDone, stateTimedOut:
		return true
	case stateFailed:
		return row.Errnr != errnrInterrupted
	}
	return false
}
