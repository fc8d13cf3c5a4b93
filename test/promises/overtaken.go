package promises

import "time"

// priorityAge is the time in which what waits rises by a step of priority.
const priorityAge = 10 * time.Minute

// order returns the time by which a task is ordered among those that wait at an
// endpoint: the earliest comes first. ok is false if the answer to its POST is unknown.
func (w *world) order(t task) (order time.Time, ok bool) {
	for _, p := range w.posts[t] {
		if !p.StartTime.IsZero() {
			return p.StartTime.Add(-time.Duration(p.Priority) * priorityAge), true
		}
	}
	return order, false
}

// waited returns the time from which a task is known to have waited at an endpoint,
// until it ran there for the first time; ok is false if none is known.
func (w *world) waited(p place) (from, until time.Time, ok bool) {
	first := w.started(p, 1)
	if first == nil {
		return from, until, false
	}
	until = first.start.Time
	for _, a := range w.answers[p.task] {
		row := a.row(p.endpoint)
		if row == nil || row.State != stateReceived || row.Attempt > 0 || row.Round > 0 {
			continue
		}
		if read := a.read(); !ok || read.Before(from) {
			from, ok = read, true
		}
	}
	return from.Add(grace), until.Add(-grace), ok
}

// quiet reports whether nothing disturbed any process in a period, and nothing was held.
func (w *world) quiet(from, until time.Time) bool {
	during := func(begin, end time.Time) bool {
		return !begin.After(until.Add(grace)) && !end.Before(from.Add(-grace))
	}
	for _, f := range w.Faults {
		end := f.Until
		if end.Before(f.Time) { // it is not known when it was over
			end = until
		}
		if during(f.Time, end) {
			return false
		}
	}
	for _, h := range w.Holds {
		if during(h.Answered, h.Until) {
			return false
		}
	}
	return true
}

// While a task waits at an endpoint no more tasks of its type begin there that come
// after it, by their priorities and ages, than there are slots. Retries are not looked at.
func overtaken(w *world, report reportFunc) {
	for _, p := range w.places {
		from, until, ok := w.waited(p)
		order, known := w.order(p.task)
		if !ok || !known || !from.Before(until) || !w.quiet(from, until) {
			continue
		}
		before := 0
		for _, r := range w.runs {
			other, known := w.order(r.task)
			if r.start != nil && r.attempt == 1 && r.endpoint == p.endpoint && r.task.kind == p.task.kind && r.task != p.task &&
				known && other.After(order) && r.start.Time.After(from) && r.start.Time.Before(until) {
				before++
			}
		}
		if before > slots {
			report("%v waited from %s to %s, and meanwhile %d tasks began that come after it", p, clock(from), clock(until), before)
		}
	}
}
