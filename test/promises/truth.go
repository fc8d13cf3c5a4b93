package promises

import (
	"slices"
)

// Promise 4: no lie. These rules check single answers; moves.go compares
// answers.

// Statuses and states are words of the contract.
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

// count summarizes an answer's rows.
type count struct{ received, finished, failed, canceled, lost, missing int }

func (a *Answer) count() (c count) {
	c.received, c.missing = len(a.Results), len(a.Summary.Missing)+a.Summary.Unopened+a.Summary.Untaken
	for i := range a.Results {
		switch state := a.Results[i].State; {
		case a.Results[i].passedOn():
			c.received--
		case state == stateLost:
			c.lost++
		case finished(state):
			c.finished++
			switch state {
			case stateDone:
			case stateCanceled, stateSuperseded:
				c.canceled++
			default:
				c.failed++
			}
		}
	}
	return c
}

// notStarted reports whether the task ended without any endpoint: it expired before,
// or was to start later and was canceled before.
func (a *Answer) notStarted() bool {
	if len(a.mentions()) > 0 {
		return false
	}
	return a.Task.Status == statusFailed && a.Task.Errmsg != "" ||
		a.Task.Status == statusCanceled && a.Task.AcceptedTime != nil && a.Task.SentTime == nil
}

// through reports whether all have finished, and there is at least one.
func (c count) through() bool { return c.missing == 0 && c.received > 0 && c.finished == c.received }

// The status follows from the rows of the same answer. An INCOMPLETE task stays
// so until all have finished, even if the missing ones have come back.
func statusNotOfRows(w *world, report reportFunc) {
	for _, a := range w.all {
		c := a.count()
		say := func(why string) {
			report("%v at %s is %s, but %s: %d rows, %d finished, %d of them failed, %d lost, %d missing", a.key(), clock(a.Time),
				a.Task.Status, why, c.received, c.finished, c.failed, c.lost, c.missing)
		}
		switch a.Task.Status {
		case statusSent, statusIncomplete:
			if c.through() {
				say("all have finished")
			} else if a.Task.Status == statusSent && c.lost > 0 {
				say("one is lost")
			}
		case statusCanceling:
			if c.through() {
				say("all have finished")
			}
		case statusCanceled:
			if c.through() && c.canceled == 0 {
				say("none was canceled or superseded")
			}
		case statusDone:
			if c.through() && c.failed+c.canceled > 0 {
				say("not all succeeded")
			}
		case statusFailed:
			if c.through() && c.failed == 0 {
				say("all succeeded")
			}
		}
	}
}

// A task with a final status has no unfinished rows and no missing endpoints.
func finalTaskUnfinished(w *world, report reportFunc) {
	for _, a := range w.all {
		if c := a.count(); finalStatus(a.Task.Status) && !c.through() && !a.notStarted() {
			report("%v at %s is %s with %d rows, %d finished, %d missing", a.key(), clock(a.Time), a.Task.Status,
				c.received, c.finished, c.missing)
		}
	}
}

// The summary equals the rows of the same answer.
func summaryNotOfRows(w *world, report reportFunc) {
	for _, a := range w.all {
		c, s := a.count(), a.Summary
		if s.Expected != c.received+c.missing || s.Received != c.received ||
			s.Finished != c.finished || s.Failed != c.failed || s.Canceled != c.canceled || s.Lost != c.lost {
			report("%v at %s: summary %+v, rows %+v", a.key(), clock(a.Time), s, c)
		}
	}
}

// status is 1 if the state is final.
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

// Each state has its own error numbers, so that none is confused with another.
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
	case stateRetrying: // 0 if it was LOST and came back
		return errnr >= 0 || errnr == errnrInterrupted
	case stateFailed:
		return errnr > 0 || errnr == errnrInterrupted || errnr == errnrBadResult
	case stateTimedOut:
		return errnr == errnrTimedOut
	case stateCanceled:
		return errnr == errnrCanceled || errnr == errnrRemoved
	case stateLost:
		return errnr == errnrLost
	case stateExpired:
		return errnr == errnrExpired
	case stateRejected:
		return errnr == errnrRejected
	case stateSuperseded:
		return errnr == errnrSuperseded
	}
	return true // unknown state: another rule reports it
}

// errmsg is set if and only if errnr is not 0.
func errmsgNotOfErrnr(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		if (row.Errmsg == nil) != (row.Errnr == 0) || row.Errmsg != nil && *row.Errmsg == "" {
			report("%v at %s is %s with errnr %d and errmsg %s", p, clock(a.Time), row.State, row.Errnr, quote(row.Errmsg))
		}
	})
}

// The attempt is 0 before the first run, and positive from then on.
func attemptNotOfState(w *world, report reportFunc) {
	w.rows(func(a *Answer, p place, row *Result) {
		wrong := row.Attempt < 0
		switch row.State {
		case stateReceived, stateRejected: // in later rounds there are attempts of earlier ones
			wrong = row.Attempt != 0 && row.Round < 2
		case stateRunning, stateRetrying, stateDone, stateFailed, stateTimedOut:
			wrong = row.Attempt < 1
		}
		if wrong {
			report("%v at %s is %s with attempt %d", p, clock(a.Time), row.State, row.Attempt)
		}
	})
}

// A handler with a fixed outcome never has another one, except being
// interrupted by a fault, canceled or superseded.
func outcomeNotOfType(w *world, report reportFunc) {
	reported := map[place]bool{}
	w.rows(func(a *Answer, p place, row *Result) {
		t, known := w.types[p.task.kind]
		if !known || reported[p] || !finished(row.State) || row.State == stateFailed && row.Errnr < 0 ||
			row.State == stateExpired || row.State == stateCanceled || row.State == stateSuperseded {
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
			report("%v at %s is %s (errnr %d) with attempt %d, but its type ends %s", p, clock(a.Time),
				row.State, row.Errnr, row.Attempt, t.Outcome)
		}
	})
}

// A row's end is the one that the handler of that attempt recorded.
func resultOfNoRun(w *world, report reportFunc) {
	w.finalRows(func(p place, row *Result) {
		if !hasOutcome(row) || w.started(p, row.Attempt) == nil {
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
				return r.ended(ranDone) // it is lost, which another rule reports
			}
			return r.ended(ranFailed)
		})
		if !fits {
			report("%v is %s (errnr %d) by attempt %d with payload %.100s, but its handler recorded another end", p,
				row.State, row.Errnr, row.Attempt, row.Payload)
		}
	})
}

// rows calls each with every row of every answer.
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
