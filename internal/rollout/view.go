package rollout

import (
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
)

// View is what the rows say. It is read in the transaction that read the
// [Record], or after it: never before.
type View struct {
	Now time.Time // of the database
	// Waves are the counts of each wave of the plan. With a window, it has one
	// element, the counts of all endpoints.
	Waves []Counts
	// ReceiveBy is the next receive deadline of an opened endpoint that has no
	// result yet; zero if there is none.
	ReceiveBy time.Time
}

// Counts are numbers of endpoints. Each endpoint is in one of them. An endpoint
// that was removed is in Canceled.
type Counts struct {
	OK         int // DONE
	Bad        int // FAILED, TIMED_OUT, REJECTED, EXPIRED or LOST
	Unreached  int // opened, without a result at the receive deadline
	Late       int // unfinished, and marked as late by a decision
	Canceled   int // CANCELED or SUPERSEDED
	Forgiven   int // bad or unreached, and forgiven
	Unopened   int // without a result, in a wave that is not opened yet
	Unfinished int // all others: to be received, RECEIVED, RUNNING or RETRYING
}

// Target is what decides where one endpoint is counted.
type Target struct {
	State    tasker.ResultState // of its result; empty if it has none
	Opened   bool               // its wave has been opened
	Overdue  bool               // the receive deadline has passed
	Late     bool               // a decision marked it as late, and nobody forgave or retried it since
	Forgiven bool               // it was bad when the rollout was resumed, and nobody retried it since
}

// Add counts an endpoint.
func (c *Counts) Add(t Target) {
	to := &c.Unfinished
	switch t.State {
	case tasker.ResultDone:
		to = &c.OK
	case tasker.ResultCanceled, tasker.Superseded:
		to = &c.Canceled
	case tasker.ResultFailed, tasker.TimedOut, tasker.Rejected, tasker.Expired, tasker.Lost:
		to = &c.Bad
	case "":
		if !t.Opened {
			to = &c.Unopened
		} else if t.Overdue {
			to = &c.Unreached
		}
	}
	switch {
	case t.Forgiven && (to == &c.Bad || to == &c.Unreached):
		to = &c.Forgiven
	case t.Late && to == &c.Unfinished:
		to = &c.Late
	}
	*to++
}

// plus returns the sums of two counts.
func (c Counts) plus(o Counts) Counts {
	return Counts{
		OK: c.OK + o.OK, Bad: c.Bad + o.Bad, Unreached: c.Unreached + o.Unreached, Late: c.Late + o.Late,
		Canceled: c.Canceled + o.Canceled, Forgiven: c.Forgiven + o.Forgiven,
		Unopened: c.Unopened + o.Unopened, Unfinished: c.Unfinished + o.Unfinished,
	}
}

// sum returns the sum of all counts.
func sum(all []Counts) Counts {
	var total Counts
	for _, c := range all {
		total = total.plus(c)
	}
	return total
}

// settled returns how many endpoints have turned out well or badly.
func (c Counts) settled() int { return c.OK + c.Bad + c.Unreached + c.Canceled + c.Forgiven }

// unsettled returns how many may still do so without a retry.
func (c Counts) unsettled() int { return c.Unopened + c.Unfinished + c.Late }

// bad returns how many endpoints count as bad.
func (c Counts) bad(s Settings) int {
	bad := c.Bad + c.Late
	if s.Unreached != IgnoreUnreached {
		bad += c.Unreached
	}
	return bad
}

// check panics unless the view is one of the plan: with fewer waves, a rollout
// would seem to be done.
func (v View) check(p Plan) {
	want := len(p.Waves)
	if p.Window > 0 {
		want = 1
	}
	if len(v.Waves) != want {
		panic(fmt.Sprintf("rollout: the view has counts of %d waves, the plan has %d", len(v.Waves), want))
	}
}
