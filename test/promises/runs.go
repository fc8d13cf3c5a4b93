package promises

import (
	"maps"
	"slices"
)

// Promise 2: no accidental second run. Who runs, and how often; attempts.go
// checks the order of attempts.

// Only posted tasks run and are answered.
func unknownTask(w *world, report reportFunc) {
	for _, key := range w.tasks {
		if _, ok := w.types[key.kind]; !ok {
			report("%v was posted, but its type is unknown", key)
		}
	}
	for _, p := range w.places {
		if w.posts[p.task] == nil {
			report("%v ran, but was never posted", p)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(w.answers), compareTasks) {
		if w.posts[key] == nil {
			report("%v was answered, but never posted", key)
		}
	}
}

// One identifier is one task, however often it was posted.
func secondTask(w *world, report reportFunc) {
	ids := map[task]int64{}
	owner := map[int64]task{}
	reported := map[task]bool{}
	see := func(key task, id int64, where string) {
		switch first, known := ids[key]; {
		case id == 0 || reported[key]:
		case known && first != id:
			reported[key] = true
			report("%v has ids %d and %d: %s", key, first, id, where)
		case !known:
			ids[key] = id
			if other, taken := owner[id]; taken {
				reported[key] = true
				report("%v and %v have the same id %d", other, key, id)
			}
			owner[id] = key
		}
	}
	for _, key := range w.tasks {
		for _, p := range w.posts[key] {
			see(key, p.TaskID, "answer to POST")
		}
	}
	for _, a := range w.all {
		see(a.key(), a.Task.ID, "answer to GET at "+clock(a.Time))
	}
	for _, r := range w.runs {
		entry := r.start
		if entry == nil {
			entry = r.end
		}
		see(r.task, entry.TaskID, "run at "+r.endpoint)
	}
}

// An endpoint runs only tasks addressed to it.
func notAddressed(w *world, report reportFunc) {
	for _, p := range w.places {
		if w.posts[p.task] != nil && !slices.Contains(w.addressed(p.task), p.endpoint) {
			report("%v ran, but was not addressed to it", p)
		}
	}
}

// An attempt starts once.
func secondStart(w *world, report reportFunc) {
	for _, p := range w.places {
		first := map[int]*run{}
		for _, r := range w.at[p] {
			switch other := first[r.attempt]; {
			case r.start == nil:
			case other == nil:
				first[r.attempt] = r
			default:
				report("%v: attempt %d started at %s in process %d, and again at %s in process %d", p, r.attempt,
					clock(other.start.Time), other.pid, clock(r.start.Time), r.pid)
			}
		}
	}
}

// A run ends once, after its start: the journal is complete.
func endWithoutStart(w *world, report reportFunc) {
	for _, r := range w.runs {
		if r.start == nil {
			report("%v: run %s ended at %s, but was not running", r.place, r.end.Run, clock(r.end.Time))
		}
	}
}

// A run that its handler did not end was ended by a fault, or canceled: its process
// was killed, stopped, or paused until another took over.
func interruptedWithoutFault(w *world, report reportFunc) {
	for _, r := range w.runs {
		if r.start == nil {
			continue
		}
		from, to := r.lasted()
		switch {
		case r.end == nil:
			if !w.struck(r.endpoint, r.pid, from, w.end(), FaultKill, FaultStop, FaultPause) {
				report("%v: attempt %d started at %s in process %d and never ended, without a fault of the process",
					r.place, r.attempt, clock(from), r.pid)
			}
		case r.ended(ranStopped) && w.types[r.task.kind].Outcome != "timed_out":
			if !w.struck(r.endpoint, r.pid, from, to, FaultStop, FaultPause) && !w.canceledBy(r.place, to) {
				report("%v: attempt %d was stopped at %s in process %d, without a fault of the process",
					r.place, r.attempt, clock(to), r.pid)
			}
		}
	}
}

// No run starts after its row is final, unless the task is retried there, except in a process that was paused
// between counting the attempt and starting it.
func runAfterFinal(w *world, report reportFunc) {
	type end struct {
		answer *Answer
		row    *Result
	}
	ends := map[place]end{}
	for _, a := range w.all {
		for i := range a.Results {
			row := &a.Results[i]
			p := place{a.key(), row.Endpoint}
			if first, seen := ends[p]; finished(row.State) && !a.Answered.IsZero() && (!seen || a.Answered.Before(first.answer.Answered)) {
				ends[p] = end{a, row}
			}
		}
	}
	for _, r := range w.runs {
		known, ok := ends[r.place]
		if !ok || r.start == nil || !r.start.Time.After(known.answer.Answered) ||
			w.retriedBetween(r.place, known.answer.Time, r.start.Time) {
			continue
		}
		if !w.struck(r.endpoint, r.pid, known.answer.Answered, r.start.Time, FaultPause) {
			report("%v: attempt %d started at %s, but the row was %s by %s", r.place, r.attempt, clock(r.start.Time),
				known.row.State, clock(known.answer.Answered))
		}
	}
}

// No run begins after its task has expired, unless its process was paused right
// before, and only a task that expires has EXPIRED rows. That none of these has a run
// that is not counted, or succeeded, other rules check.
func ranExpired(w *world, report reportFunc) {
	for _, r := range w.runs {
		for _, p := range w.posts[r.task] {
			late := r.start != nil && !p.Expires.IsZero() && r.start.Time.After(p.Expires.Add(grace))
			if late && !w.struck(r.endpoint, r.pid, p.Expires, r.start.Time, FaultPause) {
				report("%v: attempt %d started at %s, but the task expired at %s", r.place, r.attempt,
					clock(r.start.Time), clock(p.Expires))
			}
		}
	}
	w.finalRows(func(p place, row *Result) {
		if row.State != stateExpired {
			return
		}
		if !slices.ContainsFunc(w.posts[p.task], func(post Post) bool { return !post.Expires.IsZero() }) {
			report("%v is %s, but the task does not expire", p, row.State)
		}
	})
}
