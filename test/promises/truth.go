package promises

import (
	"slices"
)

// Promise 4: no lie. What one answer says of itself; moves.go compares the
// answers with each other.

// The statuses and states are words of the contract.
func unknownWord(w *world, report reportFunc) {
	for _, a := range w.all {
		if _, known := statusRank[a.Task.Status]; !known {
			report("%v at %s has the status %q", a.key(), clock(a.Time), a.Task.Status)
		}
	}
	w.rows(func(a *Answer, p place, row *Result) {
		if !finished(row.State) && !slices.Contains(unfinishedStates, row.State) {
			report("%v at %s has the state %q", p, clock(a.Time), row.State)
		}
	})
}

// count is what an answer's rows say.
type count struct{ received, finished, failed, lost, missing int }

func (a *Answer) count() (c count) {
	c.received, c.missing = len(a.Results), len(a.Summary.Missing)
	for i := range a.Results {
		switch state := a.Results[i].State; {
		case state == stateLost:
			c.lost++
		case finished(state):
			c.finished++
			if state != stateDone {
				c.failed++
			}
		}
	}
	return c
}

// through reports whether all have finished, and there is somebody.
func (c count) through() bool { return c.missing == 0 && c.received > 0 && c.finished == c.received }

// The status is the one that the rows of the same answer make. An INCOMPLETE
// task stays so until all have finished, whoever has come back.
func statusNotOfRows(w *world, report reportFunc) {
	for _, a := range w.all {
		c := a.count()
		say := func(why string) {
			report("%v at %s is %s, and %s: %d rows, %d finished, %d of them not well, %d lost, %d missing", a.key(), clock(a.Time),
				a.Task.Status, why, c.received, c.finished, c.failed, c.lost, c.missing)
		}
		switch a.Task.Status {
		case statusSent, statusIncomplete:
			if c.through() {
				say("all have finished")
			} else if a.Task.Status == statusSent && c.lost > 0 {
				say("one is lost")
			}
		case statusDone:
			if c.through() && c.failed > 0 {
				say("not all finished well")
			}
		case statusFailed:
			if c.through() && c.failed == 0 {
				say("all finished well")
			}
		}
	}
}

// A task in a final status has no unfinished rows, and misses nobody.
func finalTaskUnfinished(w *world, report reportFunc) {
	for _, a := range w.all {
		if c := a.count(); finalStatus(a.Task.Status) && !c.through() {
			report("%v at %s is %s with %d rows, %d finished, %d missing", a.key(), clock(a.Time), a.Task.Status,
				c.received, c.finished, c.missing)
		}
	}
}

// The summary counts the rows of the same answer.
func summaryNotOfRows(w *world, report reportFunc) {
	for _, a := range w.all {
		c, s := a.count(), a.Summary
		if s.Expected != c.received+c.missing || s.Received != c.received || s.Finished != c.finished || s.Failed != c.failed || s.Lost != c.lost {
			report("%v at %s: the summary is %+v, and the rows say %+v", a.key(), clock(a.Time), s, c)
		}
	}
}

// status is 1 where the state is final.
func statusNotOfState(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		want := 0
		if finished(row.State) {
			want = 1
		}
		if row.Status != want {
			report("%v at %s is %s with status %d", p, clock(a.Time), row.State, row.Status)
		}
	})
}

// Each state has its error numbers, so that none is mistaken for another.
func errnrNotOfState(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		if !errnrFits(row.State, row.Errnr) {
			report("%v at %s is %s with errnr %d", p, clock(a.Time), row.State, row.Errnr)
		}
	})
}

func errnrFits(state string, errnr int) bool {
	switch state {
	case stateReceived, stateRunning, stateDone:
		return errnr == 0
	case stateRetrying: // 0 after it was lost, and came back
		return errnr >= 0 || errnr == errnrInterrupted
	case stateFailed:
		return errnr > 0 || errnr == errnrInterrupted || errnr == errnrBadResult
	case stateTimedOut:
		return errnr == errnrTimedOut
	case stateCanceled:
		return errnr == errnrCanceled
	case stateLost:
		return errnr == errnrLost
	case stateExpired:
		return errnr == errnrExpired
	case stateRejected:
		return errnr == errnrRejected
	}
	return true // no state of the contract: a rule of its own
}

// errmsg says why exactly where errnr is not 0.
func errmsgNotOfErrnr(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		if (row.Errmsg == nil) != (row.Errnr == 0) || row.Errmsg != nil && *row.Errmsg == "" {
			report("%v at %s is %s with errnr %d and errmsg %s", p, clock(a.Time), row.State, row.Errnr, quote(row.Errmsg))
		}
	})
}

// The attempt is 0 before the first run, and counted from then on.
func attemptNotOfState(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		wrong := row.Attempt < 0
		switch row.State {
		case stateReceived, stateRejected:
			wrong = row.Attempt != 0
		case stateRunning, stateRetrying, stateDone, stateFailed, stateTimedOut:
			wrong = row.Attempt < 1
		}
		if wrong {
			report("%v at %s is %s with attempt %d", p, clock(a.Time), row.State, row.Attempt)
		}
	})
}

// A handler that always ends one way is never said to have ended another.
// That a fault interrupted it is possible with each.
func outcomeNotOfType(w *world, report reportFunc) {
	reported := map[place]bool{}
	w.rows(func(a *Answer, p place, row *Result) {
		t, known := w.types[p.task.kind]
		if !known || reported[p] || !finished(row.State) || row.State == stateFailed && row.Errnr < 0 {
			return
		}
		var fits bool
		switch t.Outcome {
		case "done":
			fits = row.State == stateDone
		case "failed":
			fits = row.State == stateFailed
		case "timed_out":
			fits = row.State == stateTimedOut
		case "flaky": // only its first attempt fails
			fits = row.State == stateDone && row.Attempt > 1 || row.State == stateFailed && row.Attempt == 1
		}
		if !fits {
			reported[p] = true
			report("%v at %s is %s (errnr %d) with attempt %d, and its type is of those that end %s", p, clock(a.Time),
				row.State, row.Errnr, row.Attempt, t.Outcome)
		}
	})
}

// The end that a row tells of is the one that the handler of that attempt
// wrote down.
func resultOfNoRun(w *world, report reportFunc) {
	w.finalRows(func(p place, row *Result) {
		if !tellsOfRun(row) || w.started(p, row.Attempt) == nil {
			return
		}
		fits := slices.ContainsFunc(w.at[p], func(r *run) bool {
			if r.start == nil || r.attempt != row.Attempt {
				return false
			}
			switch {
			case row.State == stateDone:
				return r.ended(ranDone) && r.end.Run == resultRun(row)
			case row.State == stateTimedOut:
				return r.end == nil || r.ended(ranStopped)
			case row.Errnr == errnrBadResult:
				return r.ended(ranDone) // it is lost, which is a rule of its own
			}
			return r.ended(ranFailed)
		})
		if !fits {
			report("%v is %s (errnr %d) by attempt %d with payload %.100s, and its handler wrote down another end", p,
				row.State, row.Errnr, row.Attempt, row.Payload)
		}
	})
}

// rows returns each row of each answer.
func (w *world) rows(each func(a *Answer, p place, row *Result)) {
	for _, a := range w.all {
		for i := range a.Results {
			each(a, place{a.key(), a.Results[i].Endpoint}, &a.Results[i])
		}
	}
}

func quote(s *string) string {
	if s == nil {
		return "null"
	}
	return `"` + *s + `"`
}
