package rollout_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

func TestCancelWhileWaitingForApproval(t *testing.T) {
	t.Parallel()
	f := newFleet(t, waves+`,"approve":true}`, 10)
	f.advance()
	f.end(tasker.ResultDone, 1, 1)
	f.advance()
	f.now = f.now.Add(time.Minute)
	opening := f.decide()
	f.advance()
	f.want(rollout.WaitingApproval, 1)
	f.person(f.rec.Cancel(f.act()), nil)
	f.want(rollout.Canceled, 1)
	if f.apply(opening) || f.rec.Cancel(f.act()) != f.rec {
		t.Error("it is not the end")
	}
	if _, err := f.rec.Approve(f.p, 2, f.act()); tasker.CodeOf(err) != tasker.Conflict {
		t.Errorf("approve: %v", err)
	}
	f.advance()
	f.want(rollout.Canceled, 1)
}

// A wave that was halted by its timeout has ended: it does not halt a second
// time for the same endpoint.
func TestResumeAfterWaveTimeout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":["50%","100%"],"wave_timeout":"15m"}`, 4)
	f.advance()
	f.end(tasker.Running, 1, 1)
	f.end(tasker.ResultDone, 2, 2)
	f.now = f.now.Add(15 * time.Minute)
	d := f.decide()
	if d.Action != rollout.Halt || !d.Late || d.Wave != 1 || !f.apply(d) {
		t.Fatalf("%+v", d)
	}
	f.now = f.now.Add(time.Hour)
	f.resume(false)
	f.advance()
	f.want(rollout.Running, 4)
	f.end(tasker.ResultFailed, 1, 1) // late was forgiven, this is not
	f.advance()
	f.want(rollout.Halted, 4)
}

func TestResumeForgives(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[3,"100%"],"max_failures":1,"wave_max_failures":"100%"}`, 10)
	f.advance()
	f.end(tasker.ResultFailed, 1, 2)
	f.end(tasker.Running, 3, 3)
	f.advance()
	f.want(rollout.Halted, 3)
	f.end(tasker.ResultFailed, 3, 3) // what ran is forgiven, too
	f.advance()
	f.resume(false)
	f.advance()
	f.want(rollout.Running, 10)
	f.end(tasker.ResultFailed, 4, 4)
	f.advance()
	f.want(rollout.Running, 10) // tolerated: from zero
	f.retry(1)
	f.end(tasker.ResultFailed, 1, 1) // a retry that fails again is not forgiven
	f.advance()
	f.want(rollout.Halted, 10)
}

func TestRetryWhileHalted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[2,"100%"]}`, 10)
	f.advance()
	f.end(tasker.ResultFailed, 1, 1)
	f.end(tasker.ResultDone, 2, 2)
	f.advance()
	f.retry(1)
	f.advance()
	f.want(rollout.Halted, 2)
	f.resume(false)
	f.advance()
	f.want(rollout.Running, 2) // its wave waits for the retry
	f.end(tasker.ResultDone, 1, 1)
	f.advance()
	f.want(rollout.Running, 10)
}

func TestPause(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[2,"100%"],"pause":"30s","wave_max_failures":1}`, 10)
	f.advance()
	f.person(f.rec.Pause(f.act()))
	if f.rec.By != "alice" || f.rec.Reason != "looked" {
		t.Errorf("%+v", f.rec)
	}
	f.end(tasker.ResultDone, 1, 2)
	f.advance()
	f.want(rollout.Paused, 2)
	f.person(f.rec.Pause(f.act())) // twice
	f.resume(false)
	f.advance()
	f.want(rollout.Soaking, 2)
	f.person(f.rec.Pause(f.act()))
	f.now = f.now.Add(20 * time.Second)
	f.resume(false)
	d := f.advance()
	f.want(rollout.Soaking, 2) // the same soak as before
	if !f.rec.Until.Equal(start.Add(30*time.Second)) || !d.Until.Equal(f.rec.Until) {
		t.Errorf("%+v", f.rec)
	}
	// What a person holds is halted all the same, and is told apart.
	f.person(f.rec.Pause(f.act()))
	f.end(tasker.ResultFailed, 2, 2)
	f.advance()
	f.want(rollout.Halted, 2)
	f.person(f.rec.Pause(f.act()))
	f.want(rollout.Halted, 2)
}

// Those that a pause keeps from starting are not late, and it forgives nobody.
func TestPauseAndWaveTimeout(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[3,"100%"],"wave_timeout":"15m","max_failures":1,"wave_max_failures":1}`, 10)
	f.advance()
	f.end(tasker.Received, 1, 2)
	f.end(tasker.ResultFailed, 3, 3)
	f.person(f.rec.Pause(f.act()))
	f.now = f.now.Add(time.Hour)
	f.advance()
	f.want(rollout.Paused, 3)
	f.resume(false)
	f.advance()
	f.want(rollout.Running, 3)
	f.end(tasker.ResultFailed, 1, 1)
	f.advance()
	f.want(rollout.Halted, 3)
}

func TestApprove(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[1,2,3,"100%"],"approve":[1,2,4]}`, 10)
	f.advance()
	f.want(rollout.WaitingApproval, 0)
	if _, _, err := f.rec.Resume(f.act(), false); tasker.CodeOf(err) != tasker.Conflict {
		t.Errorf("resume: %v", err)
	}
	for _, wave := range []int{0, 5} {
		if _, err := f.rec.Approve(f.p, wave, f.act()); tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("wave %d: %v", wave, err)
		}
	}
	f.person(f.rec.Approve(f.p, 2, f.act())) // two at once
	f.want(rollout.Running, 0)
	f.person(f.rec.Approve(f.p, 1, f.act())) // a second click
	f.advance()
	f.person(f.rec.Approve(f.p, 1, f.act()))
	f.end(tasker.ResultDone, 1, 1)
	f.advance()
	f.end(tasker.ResultDone, 2, 2)
	f.advance()
	f.want(rollout.Running, 3)
	f.end(tasker.ResultDone, 3, 3)
	f.advance()
	f.want(rollout.WaitingApproval, 3)
	f.end(tasker.ResultFailed, 3, 3) // say, LOST and back: what is bad by now halts
	f.advance()
	f.want(rollout.Halted, 3)
	f.person(f.rec.Approve(f.p, 4, f.act()))
	f.advance()
	f.want(rollout.Halted, 3)
	f.resume(false)
	f.advance()
	f.want(rollout.Running, 10)
}

// Promoting skips waves and soaks, not limits and not approvals.
func TestPromote(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":[1,2,3,5,"100%"],"approve":[4],"pause":"30s"}`, 10)
	f.advance()
	f.end(tasker.Running, 1, 1)
	f.resume(true)
	promoted := f.rec
	f.resume(true)
	f.resume(false)
	if f.rec != promoted {
		t.Errorf("promoted twice: %+v", f.rec)
	}
	f.advance()
	f.want(rollout.WaitingApproval, 3)
	f.person(f.rec.Approve(f.p, 4, f.act()))
	f.advance()
	f.want(rollout.Running, 10)
	f.end(tasker.ResultFailed, 7, 7)
	f.advance()
	f.want(rollout.Halted, 10)

	// From a soak; and resumed after a halt without all, there are waves again.
	g := newFleet(t, `{"batch":2,"pause":"30s"}`, 10)
	g.advance()
	g.end(tasker.ResultDone, 1, 2)
	g.advance()
	g.want(rollout.Soaking, 2)
	g.resume(true)
	if d := g.decide(); d.Action != rollout.Open || d.First != 2 || d.Last != 5 {
		t.Fatalf("%+v", d)
	}
	g.person(g.rec.Pause(g.act()))
	g.resume(false)
	g.advance()
	g.want(rollout.Soaking, 2)
	g.resume(true)
	g.advance()
	g.want(rollout.Running, 10)
	g.person(g.rec.Cancel(g.act()), nil)
	g.want(rollout.Canceled, 10)
}

func TestOnHaltCancel(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]tasker.ResultState{
		`{"batch":[2,"100%"],"on_halt":"cancel"}`: tasker.ResultCanceled,
		`{"batch":[2,"100%"],"on_halt":"finish"}`: tasker.Running,
	} {
		f := newFleet(t, object, 10)
		f.advance()
		f.end(tasker.Running, 1, 1)
		f.end(tasker.ResultFailed, 2, 2)
		f.advance()
		f.want(rollout.Halted, 2)
		if got := f.rows[0].state; got != want {
			t.Errorf("%s: %s", object, got)
		}
	}
}

func TestActsAfterTheEnd(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"batch":"100%"}`, 1)
	f.advance()
	f.end(tasker.ResultDone, 1, 1)
	f.advance()
	f.want(rollout.Done, 1)
	_, pause := f.rec.Pause(f.act())
	_, _, resume := f.rec.Resume(f.act(), true)
	_, approve := f.rec.Approve(f.p, 1, f.act())
	for _, err := range []error{pause, resume, approve} {
		if tasker.CodeOf(err) != tasker.Conflict {
			t.Error(err)
		}
	}
	if f.rec.Cancel(f.act()) != f.rec {
		t.Error("canceled after the end")
	}
	f.retry(1) // by a person: the rollout stays DONE
	f.advance()
	f.want(rollout.Done, 1)
}
