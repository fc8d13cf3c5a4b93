package promises

import (
	"slices"
	"time"
)

// Retries: a task goes on where people asked for it, and only there.

func (r *Retry) key() task { return task{r.Type, r.Identifier} }

// includes reports whether the retry may have begun a round at an endpoint.
func (r *Retry) includes(endpoint string) bool {
	return !r.Refused && (r.Answered.IsZero() || slices.Contains(r.Retried, endpoint))
}

// during reports whether its round may have begun between two times.
func (r *Retry) during(from, to time.Time) bool {
	return !r.Refused && !r.Asked.After(to) && (r.Answered.IsZero() || !r.Answered.Before(from))
}

// retriedBetween reports whether a place may have begun another round between two
// times.
func (w *world) retriedBetween(p place, from, to time.Time) bool {
	return slices.ContainsFunc(w.Retries, func(r Retry) bool {
		return r.key() == p.task && r.includes(p.endpoint) && r.during(from, to)
	})
}

// openedBetween reports the same of a task.
func (w *world) openedBetween(key task, from, to time.Time) bool {
	return slices.ContainsFunc(w.Retries, func(r Retry) bool { return r.key() == key && r.during(from, to) })
}

// rounds returns how many rounds a place may have had.
func (w *world) rounds(p place) int {
	n := 1
	for _, r := range w.Retries {
		if r.key() == p.task && r.includes(p.endpoint) {
			n++
		}
	}
	return n
}

// followed reports whether a run was followed by a later round, which is in its row: by
// a run, or by none, if it expired, was canceled or was superseded before.
func (w *world) followed(r *run, row *Result) bool {
	_, to := r.lasted()
	notRun := row.Round > 1 && (row.State == stateExpired || row.State == stateCanceled || row.State == stateSuperseded)
	return (row.Attempt > r.attempt || notRun) && w.retriedBetween(r.place, to, w.end())
}

// A task has no more rounds than people asked for, and does not go back to an earlier
// one.
func roundWithoutRetry(w *world, report reportFunc) {
	for _, a := range w.all {
		asked := 1
		for _, r := range w.Retries {
			if r.key() == a.key() && r.during(time.Time{}, a.read()) {
				asked++
			}
		}
		if a.Task.Round > asked {
			report("%v at %s is in round %d, but only %d retries were asked for", a.key(), clock(a.Time), a.Task.Round, asked-1)
		}
	}
	w.consecutive(func(before, after *Answer) {
		if after.Task.Round < before.Task.Round {
			report("%v was in round %d at %s, then in %d at %s", after.key(), before.Task.Round, clock(before.Time), after.Task.Round,
				clock(after.Time))
		}
	})
}

// Where the answer says that a task is retried it goes on: at the end the endpoint has
// had that round, and no end of an earlier one is left.
func retryWithoutEffect(w *world, report reportFunc) {
	for _, r := range w.Retries {
		a := w.final[r.key()]
		if r.Refused || r.Answered.IsZero() || a == nil {
			continue
		}
		for _, endpoint := range r.Retried {
			// One that had not received the task may have done so at the same time.
			row := a.row(endpoint)
			if r.Class == retryFailed && row != nil && row.Round < r.Round {
				report("%v was retried as round %d at %s, but its row is of round %d: %s, attempt %d", place{r.key(), endpoint}, r.Round,
					clock(r.Answered), row.Round, row.State, row.Attempt)
			}
		}
	}
}

// retryFailed is the class of a retry of what failed.
const retryFailed = "failed"
