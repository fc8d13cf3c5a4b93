package promises

import (
	"encoding/json"
	"slices"
	"time"
)

// Promise 3: no lost result. The only excuse is a fault of the manager's own
// process at the handler's end: it was killed before the result could be on
// the disk, or paused until another had taken over. An outage of the database
// or the broker is none.

// That a handler ended well is in the row.
func lostDone(w *world, report reportFunc) {
	w.ends(ranDone, func(r *run, row *Result) {
		if row.State == stateDone && row.Attempt == r.attempt {
			return // with whose payload is a rule of its own
		}
		if !w.cut(r) {
			report("%v: attempt %d ended well at %s (run %s), and the row is %s, attempt %d, errnr %d, payload %.100s", r.place,
				r.attempt, clock(r.end.Time), r.end.Run, row.State, row.Attempt, row.Errnr, row.Payload)
		}
	})
}

// That a handler failed is in the row, or another attempt followed. An error
// of a handler that was asked to stop may be because of that: it counts as
// interrupted.
func lostFailure(w *world, report reportFunc) {
	w.ends(ranFailed, func(r *run, row *Result) {
		if row.Attempt > r.attempt || row.State == stateFailed && row.Errnr > 0 {
			return
		}
		if row.State == stateDone {
			return // by which run is a rule of its own
		}
		from, to := r.lasted()
		if !w.cut(r) && !w.struck(r.endpoint, r.pid, from, to, FaultStop) {
			report("%v: attempt %d failed at %s (run %s), and the row is %s, attempt %d, errnr %d", r.place,
				r.attempt, clock(r.end.Time), r.end.Run, row.State, row.Attempt, row.Errnr)
		}
	})
}

// That a run reached its limit is in the row.
func lostTimeout(w *world, report reportFunc) {
	w.ends(ranStopped, func(r *run, row *Result) {
		if w.types[r.task.kind].Outcome != "timed_out" || row.State == stateTimedOut && row.Attempt == r.attempt {
			return
		}
		from, to := r.lasted()
		if !w.struck(r.endpoint, r.pid, from, to, FaultKill, FaultStop, FaultPause) {
			report("%v: attempt %d reached its limit at %s, and the row is %s, attempt %d, errnr %d", r.place,
				r.attempt, clock(to), row.State, row.Attempt, row.Errnr)
		}
	})
}

// ends returns the runs with an outcome and the rows that they ended in. Rows
// that are not finished are a rule of their own.
func (w *world) ends(outcome string, each func(r *run, row *Result)) {
	for _, r := range w.runs {
		if row := w.finalRow(r.place); row != nil && r.start != nil && r.ended(outcome) && finished(row.State) {
			each(r, row)
		}
	}
}

// cut reports whether a fault may have taken a run's result with it.
func (w *world) cut(r *run) bool {
	from, to := r.lasted()
	return w.killedSoonAfter(r, to) || w.struck(r.endpoint, r.pid, from, to, FaultPause)
}

// killedSoonAfter reports whether a run's process was killed within the grace
// after a time. What it spent paused does not count: it could store nothing.
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

// overlap is how much of a pause lies between two times; negative where it
// lies beside them.
func overlap(pause Fault, from, to time.Time) time.Duration {
	if pause.Time.After(from) {
		from = pause.Time
	}
	if pause.Until.Before(to) {
		to = pause.Until
	}
	return to.Sub(from)
}

// resultRun returns the name of the run that a row's payload carries, empty
// where it carries none.
func resultRun(row *Result) string {
	var payload struct {
		Run string `json:"run"`
	}
	if json.Unmarshal(row.Payload, &payload) != nil {
		return ""
	}
	return payload.Run
}
