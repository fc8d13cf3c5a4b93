package promises

import (
	"slices"
	"time"
)

// Cancellations: what was answered about them is true, and stays so.

// canceledBy returns the cancellations that were asked for by a time and include a
// place.
func (w *world) canceledBy(p place, by time.Time) bool {
	return slices.ContainsFunc(w.Cancels, func(c Cancel) bool {
		return c.key() == p.task && !c.Asked.After(by) && (c.Endpoints == nil || slices.Contains(c.Endpoints, p.endpoint))
	})
}

func (c *Cancel) key() task { return task{c.Type, c.Identifier} }

// No run starts after the answer that the task was stopped there, whatever happens
// to the process, unless it is retried.
func runAfterCancel(w *world, report reportFunc) {
	for _, c := range w.Cancels {
		for _, endpoint := range c.Stopped {
			for _, r := range w.at[place{c.key(), endpoint}] {
				if r.start != nil && r.start.Time.After(c.Answered) && !w.retriedBetween(r.place, c.Asked, r.start.Time) {
					report("%v: attempt %d started at %s, but a cancellation was answered with stopped at %s", r.place, r.attempt,
						clock(r.start.Time), clock(c.Answered))
				}
			}
		}
	}
}

// The answer to a cancellation is what the rows say, until the task is retried: what was
// stopped is CANCELED, what had finished stays as it was.
func cancelContradicted(w *world, report reportFunc) {
	for _, c := range w.Cancels {
		answers := slices.DeleteFunc(slices.Clone(w.answers[c.key()]), func(a *Answer) bool { return !a.Time.After(c.Answered) })
		say := func(endpoint, word string, wrong func(row *Result) bool) {
			for _, a := range answers {
				if w.retriedBetween(place{c.key(), endpoint}, c.Asked, a.read()) {
					return
				}
				if row := a.row(endpoint); row == nil || wrong(row) {
					report("%v was answered as %s at %s, and at %s its row is %+v", place{c.key(), endpoint}, word,
						clock(c.Answered), clock(a.Time), row)
					return
				}
			}
		}
		for _, endpoint := range c.Stopped {
			say(endpoint, "stopped", func(row *Result) bool { return row.State != stateCanceled })
		}
		for _, endpoint := range c.FinishedBefore {
			say(endpoint, "finished before", func(row *Result) bool { return !finished(row.State) || row.State == stateCanceled })
		}
		for _, endpoint := range slices.Concat(c.Stopping, c.Unreachable) {
			say(endpoint, "stopping", func(row *Result) bool { return row.State == stateReceived })
		}
	}
}

// Only what somebody canceled is CANCELED, or what an endpoint lost whose place went to
// another one.
func canceledByNobody(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		if row.passedOn() && slices.ContainsFunc(w.posts[p.task], func(post Post) bool { return post.Deliver > 0 }) {
			return
		}
		if row.State == stateCanceled && !w.canceledBy(p, a.Answered) {
			report("%v at %s is CANCELED, and nobody canceled it", p, clock(a.Time))
		}
	})
}
