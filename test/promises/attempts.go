package promises

import "time"

// The policy allows each attempt, in each round of the task, each is counted, and they
// follow each other.
func attemptNotAllowed(w *world, report reportFunc) {
	allowed := func(p place, attempt, least int, what string) {
		t, known := w.types[p.task.kind]
		if most := t.MaxAttempts * w.rounds(p); known && (attempt < least || attempt > most) {
			report("%v: %s has attempt %d of %d allowed", p, what, attempt, most)
		}
	}
	for _, r := range w.runs {
		allowed(r.place, r.attempt, 1, "a run")
	}
	w.finalRows(func(p place, row *Result) { allowed(p, row.Attempt, 0, "the row") })
}

// Every counted attempt has started, unless a fault hit the manager in between:
// then it was interrupted, and can be the row's last only as that.
func attemptGap(w *world, report reportFunc) {
	gaps := func(p place, counted int) {
		for attempt := 1; attempt <= counted; attempt++ {
			if w.started(p, attempt) != nil {
				continue
			}
			from, to := w.between(p, attempt)
			if w.rounds(p) > 1 && w.canceledBy(p, to) {
				continue // in a round that was canceled before the run began
			}
			if !w.struck(p.endpoint, 0, from, to, FaultKill, FaultStop, FaultPause) {
				report("%v: attempt %d of %d never started, without a fault of its manager between %s and %s",
					p, attempt, counted, clock(from), clock(to))
			}
		}
	}
	highest := map[place]int{}
	for _, r := range w.runs {
		highest[r.place] = max(highest[r.place], r.attempt)
	}
	for _, p := range w.places {
		if w.finalRow(p) == nil {
			gaps(p, highest[p]-1)
		}
	}
	w.finalRows(func(p place, row *Result) {
		counted := max(row.Attempt, highest[p])
		if hasOutcome(row) || row.State == stateCanceled {
			// Another rule checks that the last one ran; one that was canceled need not.
			counted--
		}
		gaps(p, min(counted, 1000))
	})
}

// between returns the period in which an attempt that never started was counted
// and interrupted. A paused process writes its entries too late.
func (w *world) between(p place, attempt int) (from, to time.Time) {
	from, to = w.Begin, w.end()
	for _, r := range w.at[p] {
		begin, end := r.lasted()
		switch {
		case r.attempt > attempt && begin.Before(to):
			to = begin
		case r.attempt < attempt && end.After(from) && !w.struck(p.endpoint, r.pid, begin, end, FaultPause):
			from = end
		}
	}
	for _, a := range w.answers[p.task] {
		row := a.row(p.endpoint)
		over := row != nil && (row.Attempt > attempt || row.Attempt == attempt && (row.State == stateRetrying || finished(row.State)))
		if over && a.read().Before(to) {
			to = a.read()
		}
	}
	return from, to
}

// The row counts every run: the attempt is incremented before a handler starts.
func attemptNotCounted(w *world, report reportFunc) {
	for _, p := range w.places {
		row := w.finalRow(p)
		if row == nil {
			continue
		}
		for _, r := range w.at[p] {
			if r.start != nil && r.attempt > row.Attempt {
				report("%v: attempt %d started at %s, but the row counts %d", p, r.attempt, clock(r.start.Time), row.Attempt)
			}
		}
	}
}

// Attempts start in order, unless a process was paused between counting its
// attempt and starting it.
func attemptsOutOfOrder(w *world, report reportFunc) {
	w.pairs(func(a, b *run) {
		if b.attempt < a.attempt && !w.struck(b.endpoint, b.pid, a.start.Time, b.start.Time, FaultPause) {
			report("%v: attempt %d started at %s, after attempt %d at %s", a.place, b.attempt, clock(b.start.Time),
				a.attempt, clock(a.start.Time))
		}
	})
}

// An attempt starts after the end of the one before, unless that one's process
// was paused and replaced; it may even have been paused before it started.
func overlappingRuns(w *world, report reportFunc) {
	w.pairs(func(a, b *run) {
		var over time.Time
		if a.end != nil {
			over = a.end.Time
		} else if died, ok := w.death(a); ok {
			over = died
		} else {
			return // another rule checks that runs end
		}
		paused := a
		if b.attempt < a.attempt {
			paused = b
		}
		if a.attempt != b.attempt && b.start.Time.Before(over) &&
			!w.struck(a.endpoint, paused.pid, a.start.Time, b.start.Time, FaultPause) {
			report("%v: attempt %d started at %s in process %d, while attempt %d ran in process %d until %s", a.place,
				b.attempt, clock(b.start.Time), b.pid, a.attempt, a.pid, clock(over))
		}
	})
}

// pairs calls each with every two runs of the same place of which a started
// before b.
func (w *world) pairs(each func(a, b *run)) {
	for _, p := range w.places {
		for i, a := range w.at[p] {
			for _, b := range w.at[p][i+1:] {
				if a.start != nil && b.start != nil {
					each(a, b)
				}
			}
		}
	}
}

// A failure is final only if no attempt is left: these handlers leave the
// decision to the policy.
func gaveUpEarly(w *world, report reportFunc) {
	w.finalRows(func(p place, row *Result) {
		if t, known := w.types[p.task.kind]; known && row.State == stateFailed && row.Errnr != errnrBadResult &&
			row.Round < 2 && row.Attempt < t.MaxAttempts {
			report("%v is FAILED (errnr %d) after attempt %d of %d", p, row.Errnr, row.Attempt, t.MaxAttempts)
		}
	})
}

// end returns the time of the last record.
func (w *world) end() time.Time {
	last := w.End
	for _, a := range w.all {
		if a.read().After(last) {
			last = a.read()
		}
	}
	return last
}
