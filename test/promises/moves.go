package promises

import (
	"bytes"
	"encoding/json"
)

// What one answer says after another. Moves in between may have been missed,
// so a step is legal where a chain of legal moves leads along it.

// consecutive returns each answer with one that came before it for certain.
func (w *world) consecutive(each func(before, after *Answer)) {
	for _, a := range w.all {
		if before := w.before(a); before != nil {
			each(before, a)
		}
	}
}

// consecutiveRows does so with the rows that both have.
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

// A task does not go back, and nothing follows a final status.
func illegalTaskMove(w *world, report reportFunc) {
	w.consecutive(func(before, after *Answer) {
		from, to := before.Task.Status, after.Task.Status
		if from != to && (statusRank[to] < statusRank[from] || finalStatus(from)) {
			report("%v was %s at %s, and %s at %s", after.key(), from, clock(before.Time), to, clock(after.Time))
		}
	})
}

// An attempt that has failed is not begun again. Other ways back show in the
// number of the attempt: RECEIVED is before the first. The rest can be reached
// from every unfinished state, by way of LOST or another attempt.
func illegalRowMove(w *world, report reportFunc) {
	w.consecutiveRows(func(p place, before, after *Result, at *Answer) {
		if before.State == stateRetrying && after.State == stateRunning && after.Attempt == before.Attempt {
			report("%v was %s, attempt %d, and at %s is %s with the same attempt", p, before.State, before.Attempt,
				clock(at.Time), after.State)
		}
	})
}

// Attempts are never taken back.
func attemptDecreased(w *world, report reportFunc) {
	w.consecutiveRows(func(p place, before, after *Result, at *Answer) {
		if after.Attempt < before.Attempt && !finished(before.State) {
			report("%v had attempt %d, and at %s has %d", p, before.Attempt, clock(at.Time), after.Attempt)
		}
	})
}

// A final row stays as it is.
func finalRowChanged(w *world, report reportFunc) {
	w.consecutiveRows(func(p place, before, after *Result, at *Answer) {
		if finished(before.State) && !same(before, after) {
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

// compact drops the spaces that a client may have put into a payload. None and
// null are the same.
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

// A row stays.
func rowVanished(w *world, report reportFunc) {
	w.consecutive(func(before, after *Answer) {
		for i := range before.Results {
			if row := &before.Results[i]; after.row(row.Endpoint) == nil {
				report("%v was %s at %s, and has no row at %s", place{after.key(), row.Endpoint}, row.State,
					clock(before.Time), clock(after.Time))
			}
		}
	})
}
