package promises

import (
	"encoding/json"
	"slices"
	"time"
)

// Promise 3: no lost result. The only excuse is a fault of the manager's
// process at the handler's end: it was killed before the result could be on
// disk, or paused until another had taken over. An outage of the database or
// the broker does not excuse.

// A success is in the row.
func lostDone(w *world, report reportFunc) {
	w.ends(ranDone, func(r *run, row *Result) {
		if row.State == stateDone && row.Attempt == r.attempt || w.followed(r, row) ||
			row.passedOn() { // another rule checks that it may be
			return // the payload is checked by another rule
		}
		if !w.cut(r) && (row.State != stateCanceled || !w.canceledBy(r.place, r.end.Time.Add(grace))) {
			report("%v: attempt %d succeeded at %s (run %s), but the row is %s, attempt %d, errnr %d, payload %.100s", r.place,
				r.attempt, clock(r.end.Time), r.end.Run, row.State, row.Attempt, row.Errnr, row.Payload)
		}
	})
}

// A failure is in the row, or another attempt followed. A handler that was
// asked to stop may have failed because of that: it counts as interrupted.
func lostFailure(w *world, report reportFunc) {
	w.ends(ranFailed, func(r *run, row *Result) {
		if row.Attempt > r.attempt || row.State == stateFailed && row.Errnr > 0 || row.State == stateExpired ||
			row.State == stateSuperseded {
			return
		}
		if row.State == stateDone || row.State == stateCanceled {
			return // other rules check by which run, and who canceled it
		}
		from, to := r.lasted()
		if !w.cut(r) && !w.struck(r.endpoint, r.pid, from, to, FaultStop) {
			report("%v: attempt %d failed at %s (run %s), but the row is %s, attempt %d, errnr %d", r.place,
				r.attempt, clock(r.end.Time), r.end.Run, row.State, row.Attempt, row.Errnr)
		}
	})
}

// A timeout is in the row.
func lostTimeout(w *world, report reportFunc) {
	w.ends(ranStopped, func(r *run, row *Result) {
		if w.types[r.task.kind].Outcome != "timed_out" || row.State == stateTimedOut && row.Attempt == r.attempt ||
			row.State == stateCanceled || w.followed(r, row) {
			return
		}
		from, to := r.lasted()
		if !w.struck(r.endpoint, r.pid, from, to, FaultKill, FaultStop, FaultPause) {
			report("%v: attempt %d timed out at %s, but the row is %s, attempt %d, errnr %d", r.place,
				r.attempt, clock(to), row.State, row.Attempt, row.Errnr)
		}
	})
}

// ends calls each with every run with an outcome and its final row. Another
// rule checks that rows are finished.
func (w *world) ends(outcome string, each func(r *run, row *Result)) {
	for _, r := range w.runs {
		if row := w.finalRow(r.place); row != nil && r.start != nil && r.ended(outcome) && finished(row.State) {
			each(r, row)
		}
	}
}

// cut reports whether a fault may have destroyed a run's result.
func (w *world) cut(r *run) bool {
	from, to := r.lasted()
	return w.killedSoonAfter(r, to) || w.struck(r.endpoint, r.pid, from, to, FaultPause)
}

// killedSoonAfter reports whether a run's process was killed within the grace
// after a time. Paused time does not count, since it could store nothing.
func (w *world) killedSoonAfter(r *run, at time.Time) bool {
	return slices.ContainsFunc(w.Faults, func(kill Fault) bool {
		if kill.Kind != FaultKill || !w.strikes(kill, r.endpoint, r.pid) || kill.Time.Before(at.Add(-grace)) {
			return false
		}
		ran := kill.Time.Sub(at)
		for _, pause := range w.Faults {
			if pause.Kind == FaultPause && w.strikes(pause, r.endpoint, r.pid) {
				ran -= max(0, overlap(pause, at, kill.Time))
			}
		}
		return ran <= grace
	})
}

// overlap returns how much of a pause lies between two times; negative if none.
func overlap(pause Fault, from, to time.Time) time.Duration {
	if pause.Time.After(from) {
		from = pause.Time
	}
	if pause.Until.Before(to) {
		to = pause.Until
	}
	return to.Sub(from)
}

// resultRun returns the run named in a row's payload, or "".
func resultRun(row *Result) string {
	var payload struct {
		Run string `json:"run"`
	}
	if json.Unmarshal(row.Payload, &payload) != nil {
		return ""
	}
	return payload.Run
}
