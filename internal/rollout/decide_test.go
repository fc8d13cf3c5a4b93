package rollout_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

const waves = `{"batch":[1,"10%","50%","100%"],"pause":"30s"`

func TestOneEndpoint(t *testing.T) {
	t.Parallel()
	for _, state := range []tasker.ResultState{tasker.ResultDone, tasker.ResultFailed, tasker.ResultCanceled, tasker.Lost} {
		f := newFleet(t, waves+`}`, 1)
		f.advance()
		f.want(rollout.Running, 1)
		f.end(state, 1, 1)
		f.advance()
		f.want(rollout.Done, 1)
	}
}

func TestNoEndpoint(t *testing.T) {
	t.Parallel()
	for _, object := range []string{waves + `}`, `{"max_concurrency":3}`} {
		f := newFleet(t, object, 0)
		f.advance()
		f.want(rollout.Done, 0)
	}
}

func TestFewerEndpointsThanWaves(t *testing.T) {
	t.Parallel()
	f := newFleet(t, waves+`}`, 2)
	f.advance()
	f.want(rollout.Running, 1)
	f.end(tasker.ResultDone, 1, 1)
	f.advance()
	f.want(rollout.Soaking, 1)
	f.now = f.now.Add(30 * time.Second)
	f.advance()
	f.want(rollout.Running, 2)
	f.end(tasker.ResultDone, 2, 2)
	f.advance()
	f.want(rollout.Done, 2)
}

// 10 % of 3 tolerates nobody; of 50 it tolerates five, and the sixth halts.
func TestTenPercent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ n, tolerated int }{{3, 0}, {9, 0}, {10, 1}, {50, 5}, {59, 5}} {
		f := newFleet(t, `{"batch":"100%","max_failures":"10%","wave_max_failures":"100%"}`, test.n)
		f.advance()
		if test.tolerated > 0 {
			f.end(tasker.ResultFailed, 1, test.tolerated)
		}
		f.advance()
		f.want(rollout.Running, test.n)
		f.end(tasker.ResultFailed, test.tolerated+1, test.tolerated+1)
		f.advance()
		f.want(rollout.Halted, test.n)
	}
}

func TestFirstWaveSilent(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[3,"100%"],"max_failures":1}`, 10)
	d := f.advance()
	f.want(rollout.Running, 3)
	if !d.Until.Equal(start.Add(receiveTimeout)) {
		t.Errorf("to be decided again at %v, not at the receive deadline", d.Until)
	}
	f.now = d.Until.Add(-time.Microsecond)
	f.advance()
	f.want(rollout.Running, 3)
	f.now = d.Until
	f.advance()
	f.want(rollout.Halted, 3)
	if want := "bad endpoints: 3 of 10 (unreached: 3); the rollout halts at 2"; f.rec.Reason != want {
		t.Error(f.rec.Reason)
	}

	ignored := newFleet(t, `{"batch":[3,"100%"],"max_failures":1,"unreached":"ignore"}`, 10)
	ignored.advance()
	ignored.now = d.Until
	ignored.advance()
	ignored.want(rollout.Running, 10)
}

// The last endpoint is the only one that fails: nothing is left to hold, and the
// task's status tells it.
func TestOnlyTheLastFails(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[1,"100%"]}`, 3)
	f.advance()
	f.end(tasker.ResultDone, 1, 1)
	f.advance()
	f.end(tasker.ResultDone, 2, 2)
	f.advance()
	f.want(rollout.Running, 3)
	f.end(tasker.ResultFailed, 3, 3)
	f.advance()
	f.want(rollout.Done, 3)

	// With another one still waiting it halts, and ends with that one.
	g := newFleet(t, `{"batch":[1,"100%"]}`, 3)
	g.advance()
	g.end(tasker.ResultDone, 1, 1)
	g.advance()
	g.end(tasker.Running, 2, 2)
	g.end(tasker.ResultFailed, 3, 3)
	g.advance()
	g.want(rollout.Halted, 3)
	g.end(tasker.ResultDone, 2, 2)
	g.advance()
	g.want(rollout.Done, 3)
}

func TestFailureDuringTheSoak(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[4,"100%"],"pause":"30s","proceed_at":"75%","wave_max_failures":0}`, 10)
	f.advance()
	f.end(tasker.Running, 4, 4)
	f.end(tasker.ResultDone, 1, 3)
	d := f.advance()
	f.want(rollout.Soaking, 4)
	if !f.rec.Until.Equal(start.Add(30*time.Second)) || !d.Until.Equal(f.rec.Until) {
		t.Errorf("soaks until %v, decides again at %v", f.rec.Until, d.Until)
	}
	f.now = f.now.Add(29 * time.Second)
	f.end(tasker.ResultFailed, 4, 4)
	f.advance()
	f.want(rollout.Halted, 4)
	if !f.rec.Since.Equal(f.now) || !f.rec.Until.IsZero() || f.rec.By != "" {
		t.Errorf("%+v", f.rec)
	}
}

// It counts no longer, but only a person resumes a rollout.
func TestLateLostComesBackDone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":["50%","100%"],"max_failures":1,"wave_max_failures":"100%"}`, 6)
	f.advance()
	f.end(tasker.ResultDone, 1, 1)
	f.end(tasker.Lost, 2, 2)
	f.end(tasker.ResultDone, 3, 3)
	f.advance()
	f.want(rollout.Running, 6)
	f.end(tasker.ResultDone, 2, 2) // before the second one is bad
	f.end(tasker.ResultFailed, 4, 4)
	f.advance()
	f.want(rollout.Running, 6)
	f.end(tasker.Lost, 5, 5)
	f.advance()
	f.want(rollout.Halted, 6)
	f.end(tasker.ResultDone, 5, 5)
	f.advance()
	f.want(rollout.Halted, 6)
	f.resume(false)
	f.advance()
	f.want(rollout.Running, 6)
}

func TestKilledBetweenCloseAndOpen(t *testing.T) {
	t.Parallel()
	for _, object := range []string{`{"batch":[1,"100%"]}`, `{"batch":[1,"100%"],"pause":"30s"}`} {
		f := newFleet(t, object, 3)
		f.advance()
		f.end(tasker.ResultDone, 1, 1)
		d := f.decide()
		if d.Action != rollout.Close || d.First != 1 || d.Last != 1 || !f.apply(d) {
			t.Fatalf("%+v", d)
		}
		// Another one goes on, from the rows alone.
		f.now = f.now.Add(time.Hour)
		d = f.decide()
		if d.Action != rollout.Open || d.First != 2 || d.Last != 2 || !f.apply(d) {
			t.Fatalf("%+v", d)
		}
		f.want(rollout.Running, 3)
	}
}

func TestTwoAdvanceAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":1}`, 3)
	for _, action := range []rollout.Action{rollout.Open, rollout.Close, rollout.Open} {
		a, b := f.decide(), f.decide()
		if a != b || a.Action != action {
			t.Fatalf("%+v and %+v, want %s", a, b, action)
		}
		if !f.apply(a) || f.apply(b) || f.apply(a) {
			t.Fatalf("%s is to be applied once", a.Action)
		}
		if f.rec.Opened == 1 && f.rec.Closed == 0 {
			f.end(tasker.ResultDone, 1, 1)
		}
	}
	f.want(rollout.Running, 2)

	// One that decided before a halt and a resume is too late.
	g := newFleet(t, `{"batch":"100%"}`, 3)
	g.advance()
	g.end(tasker.ResultFailed, 1, 1)
	late := g.decide()
	g.advance()
	g.want(rollout.Halted, 3)
	g.resume(false)
	if late.Action != rollout.Halt || g.apply(late) {
		t.Errorf("%+v is applied after the resume", late)
	}
	g.advance()
	g.want(rollout.Running, 3)
}

// What a manager finds RECEIVED when it starts does not start in a rollout that
// is held, and is not late for that.
func TestManagerRestartedWithReceivedTasks(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":["50%","100%"],"wave_timeout":"15m"}`, 10)
	f.advance()
	f.end(tasker.Received, 2, 5)
	f.end(tasker.ResultFailed, 1, 1)
	f.advance()
	f.want(rollout.Halted, 5)
	if f.rec.State.MayStart() {
		t.Fatal("those received may start")
	}
	f.now = f.now.Add(time.Hour)
	f.advance()
	f.want(rollout.Halted, 5)
	f.resume(false)
	d := f.advance()
	f.want(rollout.Running, 5)
	if !f.rec.State.MayStart() || !d.Until.Equal(f.now.Add(15*time.Minute)) {
		t.Errorf("resumed, and ends the wave at %v", d.Until)
	}
	f.end(tasker.ResultFailed, 2, 2) // counted from zero, not forgiven
	f.advance()
	f.want(rollout.Halted, 5)
}

func TestWaveTimeout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[4,"100%"],"wave_timeout":"15m","max_failures":1,"wave_max_failures":1,"pause":"30s"}`, 10)
	f.advance()
	f.end(tasker.Running, 1, 2)
	f.end(tasker.ResultDone, 3, 4)
	d := f.advance()
	if !d.Until.Equal(start.Add(15 * time.Minute)) {
		t.Fatalf("decides again at %v", d.Until)
	}
	f.now = d.Until.Add(-time.Microsecond)
	f.advance()
	f.want(rollout.Running, 4)
	f.end(tasker.ResultDone, 1, 1) // one slow one is tolerated
	f.now = d.Until
	f.advance()
	f.want(rollout.Soaking, 4)
	f.now = f.now.Add(30 * time.Second)
	f.advance()
	f.want(rollout.Running, 10)
	f.end(tasker.ResultDone, 6, 10)
	f.end(tasker.ResultFailed, 5, 5) // with the slow one, one too many
	f.advance()
	f.want(rollout.Halted, 10)
	if want := "bad endpoints: 2 of 10 (late: 1); the rollout halts at 2"; f.rec.Reason != want {
		t.Error(f.rec.Reason)
	}
	f.resume(false)
	f.now = f.now.Add(time.Hour)
	f.advance()
	f.want(rollout.Running, 10) // it waits for the slow one
	f.end(tasker.ResultDone, 2, 2)
	f.advance()
	f.want(rollout.Done, 10)
}

func TestProceedAt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[4,"100%"],"proceed_at":"51%","max_failures":3,"wave_max_failures":3}`, 10)
	f.advance()
	f.end(tasker.ResultDone, 1, 2)
	f.advance()
	f.want(rollout.Running, 4) // 2 of 4 are not 51 %
	f.end(tasker.ResultFailed, 3, 3)
	f.advance()
	f.want(rollout.Running, 10)
	f.end(tasker.ResultDone, 5, 10)
	f.advance()
	f.want(rollout.Running, 10) // one of the first wave is still to come
	f.end(tasker.ResultCanceled, 4, 4)
	f.advance()
	f.want(rollout.Done, 10)
}

// A wave that fails as a whole is like any other.
func TestWholeWaveFails(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":1,"max_failures":"100%","wave_max_failures":"100%"}`, 3)
	f.advance()
	for i := 1; i <= 3; i++ {
		f.want(rollout.Running, i)
		f.end(tasker.ResultFailed, i, i)
		f.advance()
	}
	f.want(rollout.Done, 3)
}

func TestWaveMaxFailures(t *testing.T) {
	t.Parallel()
	// By default the first wave tolerates none, whatever the rollout does.
	f := newFleet(t, `{"batch":[2,"100%"],"max_failures":5}`, 10)
	f.advance()
	f.end(tasker.ResultFailed, 1, 1)
	d := f.decide()
	f.advance()
	f.want(rollout.Halted, 2)
	if want := "bad endpoints in wave 1: 1 of 2; the wave halts at 1"; f.rec.Reason != want || d.Wave != 1 {
		t.Error(d.Wave, f.rec.Reason)
	}
	// Its own tolerance is for each wave, and those forgiven do not count.
	g := newFleet(t, `{"batch":5,"max_failures":"100%","wave_max_failures":"20%"}`, 10)
	g.advance()
	g.end(tasker.ResultDone, 2, 5)
	g.end(tasker.ResultFailed, 1, 1)
	g.advance()
	g.want(rollout.Running, 10)
	g.end(tasker.ResultFailed, 6, 6)
	g.advance()
	g.want(rollout.Running, 10)
	g.end(tasker.ResultFailed, 7, 7)
	g.advance()
	g.want(rollout.Halted, 10)
	g.resume(false)
	g.end(tasker.ResultFailed, 8, 8)
	g.advance()
	g.want(rollout.Running, 10)
	g.end(tasker.ResultFailed, 9, 9)
	g.advance()
	g.want(rollout.Halted, 10)
}

func TestViewOfAnotherPlan(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s := settings(t, `{"batch":1}`)
	rollout.Decide(plan(t, s, 3), s, rollout.New(start), rollout.View{Now: start, Waves: make([]rollout.Counts, 2)})
}
