package promises

import (
	"testing"
	"time"
)

// A run is followed by a later round only if a retry was asked for after it, and the row
// is of that round.
func TestFollowed(t *testing.T) {
	ended := time.Now()
	before, after := ended.Add(-time.Minute), ended.Add(time.Minute)
	for name, test := range map[string]struct {
		retried time.Time
		row     Result
		want    bool
	}{
		"it ran again":                       {after, Result{State: stateDone, Attempt: 2, Round: 2}, true},
		"it expired in the next round":       {after, Result{State: stateExpired, Attempt: 1, Round: 2}, true},
		"it was canceled in the next round":  {after, Result{State: stateCanceled, Attempt: 1, Round: 2}, true},
		"it expired, and is of that round":   {after, Result{State: stateExpired, Attempt: 1}, false},
		"it failed in the next round":        {after, Result{State: stateFailed, Attempt: 1, Round: 2}, false},
		"it expired, and was retried before": {before, Result{State: stateExpired, Attempt: 1, Round: 2}, false},
	} {
		p := place{task{"worker", "one"}, "e1"}
		w := &world{History: History{End: after.Add(time.Minute), Retries: []Retry{{
			Type: "worker", Identifier: "one", Asked: test.retried, Answered: test.retried.Add(time.Second), Retried: []string{"e1"},
		}}}}
		r := &run{place: p, attempt: 1, start: &Entry{Time: ended.Add(-time.Second)}, end: &Entry{Time: ended}}
		if got := w.followed(r, &test.row); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
