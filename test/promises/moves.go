package promises

import (
	"bytes"
	"encoding/json"
)

// Comparisons of consecutive answers. Moves in between may have been missed, so
// a step is legal if a chain of legal moves leads to it.

// consecutive calls each with every answer and one that certainly came before
// it.
func (w *world) consecutive(each func(before, after *Answer)) {
	for _, a := range w.all {
		if before := w.before(a); before != nil {
			each(before, a)
		}
	}
}

// consecutiveRows does the same with the rows that both have.
func (w *world) consecutiveRows(each func(p place, before, after *Result, at *Answer)) {
	w.consecutive(func(before, after *Answer) {
		for i := range before.Results {
			row := &before.Results[i]
			if next := after.row(row.Endpoint); next != nil {
				each(place{after.key(), row.Endpoint}, row, next, after)
			}
		}
	})
}

// A task does not go back, and a final status does not change, unless it is retried.
func illegalTaskMove(w *world, report reportFunc) {
	w.consecutive(func(before, after *Answer) {
		from, to := before.Task.Status, after.Task.Status
		if from != to && (statusRank[to] < statusRank[from] || finalStatus(from)) &&
			!w.openedBetween(after.key(), before.Time, after.read()) {
			report("%v was %s at %s, then %s at %s", after.key(), from, clock(before.Time), to, clock(after.Time))
		}
	})
}

// A failed attempt does not start again. Other steps back show in the attempt:
// RECEIVED is before the first. All other states can be reached from every
// unfinished state, by way of LOST or another attempt.
func illegalRowMove(w *world, report reportFunc) {
	w.consecutiveRows(func(p place, before, after *Result, at *Answer) {
		if before.State == stateRetrying && after.State == stateRunning && after.Attempt == before.Attempt {
			report("%v was %s, attempt %d, and at %s is %s with the same attempt", p, before.State, before.Attempt,
				clock(at.Time), after.State)
		}
	})
}

// Attempts do not decrease, except that the first one may be given back before it
// has begun.
func attemptDecreased(w *world, report reportFunc) {
	w.consecutiveRows(func(p place, before, after *Result, at *Answer) {
		if after.Attempt < before.Attempt && !finished(before.State) && !w.givenBack(p, before, after, at) {
			report("%v had attempt %d, and at %s only %d", p, before.Attempt, clock(at.Time), after.Attempt)
		}
	})
}

// givenBack reports whether the first attempt of a row was counted, and then not,
// without having begun by the time of an answer.
func (w *world) givenBack(p place, before, after *Result, at *Answer) bool {
	begun := w.started(p, 1)
	return before.Attempt == 1 && (before.State == stateRunning || before.State == stateLost) &&
		after.Attempt == 0 && (begun == nil || !begun.start.Time.Before(at.Time))
}

// A final row does not change, unless the task is retried there.
func finalRowChanged(w *world, report reportFunc) {
	w.consecutiveRows(func(p place, before, after *Result, at *Answer) {
		if finished(before.State) && !same(before, after) && !w.retriedBetween(p, w.before(at).Time, at.read()) {
			report("%v was %s, attempt %d, errnr %d, payload %.100s, and at %s is %s, attempt %d, errnr %d, payload %.100s", p,
				before.State, before.Attempt, before.Errnr, before.Payload,
				clock(at.Time), after.State, after.Attempt, after.Errnr, after.Payload)
		}
	})
}

func same(a, b *Result) bool {
	return a.State == b.State && a.Attempt == b.Attempt && a.Errnr == b.Errnr && quote(a.Errmsg) == quote(b.Errmsg) &&
		bytes.Equal(compact(a.Payload), compact(b.Payload))
}

// compact removes insignificant spaces of a payload. No payload equals null.
func compact(payload json.RawMessage) []byte {
	var buf bytes.Buffer
	if string(payload) == "null" {
		return nil
	}
	if json.Compact(&buf, payload) != nil {
		return payload
	}
	return buf.Bytes()
}

// A row does not disappear.
func rowVanished(w *world, report reportFunc) {
	w.consecutive(func(before, after *Answer) {
		for i := range before.Results {
			if row := &before.Results[i]; after.row(row.Endpoint) == nil {
				report("%v was %s at %s, but has no row at %s", place{after.key(), row.Endpoint}, row.State,
					clock(before.Time), clock(after.Time))
			}
		}
	})
}
