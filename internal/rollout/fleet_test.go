package rollout_test

import (
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

// receiveTimeout is the time in which an opened endpoint must have the task.
const receiveTimeout = time.Minute

var start = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// endpoint is the row of an endpoint, and its result.
type endpoint struct {
	wave     int
	opened   time.Time // zero before
	state    tasker.ResultState
	late     bool
	forgiven bool
}

func (e *endpoint) overdue(now time.Time) bool {
	return e.state == "" && !e.opened.IsZero() && !now.Before(e.opened.Add(receiveTimeout))
}

// unfinished reports whether the endpoint has not ended, is not LOST and may
// still receive the task in time. It has been opened.
func (e *endpoint) unfinished(now time.Time) bool {
	switch e.state {
	case "":
		return !e.opened.IsZero() && !e.overdue(now)
	case tasker.Received, tasker.Running, tasker.Retrying:
		return true
	}
	return false
}

// bad judges by itself what [rollout.Counts] count.
func (e *endpoint) bad(s rollout.Settings, now time.Time) bool {
	switch e.state {
	case tasker.ResultFailed, tasker.TimedOut, tasker.Rejected, tasker.Expired, tasker.Lost:
		return !e.forgiven
	case "":
		if e.overdue(now) {
			return s.Unreached == "count" && !e.forgiven
		}
	}
	return e.late && e.unfinished(now)
}

func (e *endpoint) settled(now time.Time) bool {
	return !e.unfinished(now) && (e.state != "" || e.overdue(now))
}

// fleet plays the store, the endpoints and the clock of the database.
type fleet struct {
	t    testing.TB
	s    rollout.Settings
	p    rollout.Plan
	rec  rollout.Record
	now  time.Time
	rows []*endpoint
	log  []rollout.Action // applied
}

func settings(t testing.TB, object string) rollout.Settings {
	t.Helper()
	s, err := rollout.Decode([]byte(object))
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	return s
}

func plan(t testing.TB, s rollout.Settings, n int) rollout.Plan {
	t.Helper()
	p, err := s.Plan(n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newFleet(t testing.TB, object string, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, s: settings(t, object), now: start, rec: rollout.New(start)}
	f.p = plan(t, f.s, n)
	for i := range n {
		f.rows = append(f.rows, &endpoint{wave: f.p.WaveAt(i)})
	}
	return f
}

// view counts the rows.
func (f *fleet) view() rollout.View {
	v := rollout.View{Now: f.now, Waves: make([]rollout.Counts, len(f.p.Waves))}
	if f.p.Window > 0 {
		v.Waves = make([]rollout.Counts, 1)
	}
	for _, e := range f.rows {
		at := &v.Waves[0]
		if f.p.Window == 0 {
			at = &v.Waves[e.wave-1]
		}
		at.Add(rollout.Target{
			State: e.state, Opened: !e.opened.IsZero(), Overdue: e.overdue(f.now), Late: e.late, Forgiven: e.forgiven,
		})
		if by := e.opened.Add(receiveTimeout); e.state == "" && !e.opened.IsZero() && by.After(f.now) {
			if v.ReceiveBy.IsZero() || by.Before(v.ReceiveBy) {
				v.ReceiveBy = by
			}
		}
	}
	return v
}

func (f *fleet) decide() rollout.Decision { return rollout.Decide(f.p, f.s, f.rec, f.view()) }

// apply stores a decision, unless its guard fails.
func (f *fleet) apply(d rollout.Decision) bool {
	f.t.Helper()
	if d.Action == rollout.Wait || d.Next.Version-1 != f.rec.Version {
		return false
	}
	if d.Next.State != f.rec.State && !f.rec.State.CanMoveTo(d.Next.State) {
		f.t.Fatalf("%s: illegal move from %s to %s", d.Action, f.rec.State, d.Next.State)
	}
	if d.Next.Opened < f.rec.Opened || d.Next.Closed < f.rec.Closed || d.Next.Opened > f.p.Steps() {
		f.t.Fatalf("%s: from %+v to %+v", d.Action, f.rec, d.Next)
	}
	for _, e := range f.rows {
		switch {
		case d.Action == rollout.Open && e.wave >= d.First && e.wave <= d.Last:
			if !e.opened.IsZero() {
				f.t.Fatalf("wave %d is opened again: %+v", e.wave, d)
			}
			e.opened = f.now
		case d.Late && e.wave > f.rec.Closed && e.wave <= f.rec.Opened:
			e.late = e.unfinished(f.now)
		}
		if d.CancelRunning && (e.state == tasker.Running || e.state == tasker.Retrying) {
			e.state = tasker.ResultCanceled
		}
	}
	f.rec = d.Next
	f.log = append(f.log, d.Action)
	return true
}

// advance does what there is to do now, and returns the decision to wait.
func (f *fleet) advance() rollout.Decision {
	f.t.Helper()
	for range 4*len(f.rows) + 10 {
		d := f.decide()
		if d.Action == rollout.Wait {
			return d
		}
		if !f.apply(d) {
			f.t.Fatalf("a decision from the present record is not applied: %+v", d)
		}
	}
	f.t.Fatalf("decides for ever: %v", f.log)
	return rollout.Decision{}
}

// end has the rows from to to, counted from 1, end in a state.
func (f *fleet) end(state tasker.ResultState, from, to int) {
	f.t.Helper()
	for _, e := range f.rows[from-1 : to] {
		if e.opened.IsZero() {
			f.t.Fatalf("an endpoint of wave %d ended before it was opened", e.wave)
		}
		e.state = state
	}
}

// opened returns the number of endpoints that have been opened.
func (f *fleet) opened() int {
	n := 0
	for _, e := range f.rows {
		if !e.opened.IsZero() {
			n++
		}
	}
	return n
}

func (f *fleet) bad() int {
	n := 0
	for _, e := range f.rows {
		if e.bad(f.s, f.now) {
			n++
		}
	}
	return n
}

func (f *fleet) settled() bool {
	return !slices.ContainsFunc(f.rows, func(e *endpoint) bool { return !e.settled(f.now) })
}

func (f *fleet) act() rollout.Act { return rollout.Act{By: "alice", Reason: "looked", Now: f.now} }

// person stores what a person did.
func (f *fleet) person(next rollout.Record, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	if next == f.rec {
		return
	}
	if next.Version != f.rec.Version+1 || next.State != f.rec.State && !f.rec.State.CanMoveTo(next.State) {
		f.t.Fatalf("from %+v to %+v", f.rec, next)
	}
	f.rec = next
}

func (f *fleet) resume(all bool) {
	f.t.Helper()
	next, forgive, err := f.rec.Resume(f.act(), all)
	if forgive != (f.rec.State == rollout.Halted) {
		f.t.Fatalf("%s is resumed, and forgives: %v", f.rec.State, forgive)
	}
	f.person(next, err)
	if !forgive {
		return
	}
	for _, e := range f.rows {
		if e.bad(f.s, f.now) && e.settled(f.now) {
			e.forgiven = true
		}
		e.late = false
	}
}

// retry has a person retry an endpoint.
func (f *fleet) retry(i int) {
	e := f.rows[i-1]
	e.state, e.late, e.forgiven = tasker.Received, false, false
}

// want compares where the rollout is.
func (f *fleet) want(state rollout.State, opened int) {
	f.t.Helper()
	if f.rec.State != state || f.opened() != opened {
		f.t.Fatalf("%s with %d endpoints opened, want %s with %d: %+v", f.rec.State, f.opened(), state, opened, f.rec)
	}
}
