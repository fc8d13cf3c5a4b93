package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/rollout"
)

func (f *fleet) act(wave int, all bool) tasker.RolloutAct {
	return tasker.RolloutAct{Type: f.task.Type, Identifier: f.task.Identifier, By: "ann", Reason: "looked", Wave: wave, All: all}
}

// resume resumes the rollout, and wants that this changed something, or nothing.
func (f *fleet) resume(t *testing.T, all, changed bool) {
	t.Helper()
	a, err := f.Rollouts.ResumeRollout(t.Context(), f.act(0, all), waveWait)
	if err != nil || a.Changed != changed {
		t.Fatalf("resumed: %+v, %v", a, err)
	}
	f.follow(t, a)
	f.advance(t)
}

func (f *fleet) approve(t *testing.T, wave int, changed bool) {
	t.Helper()
	a, err := f.Rollouts.Approve(t.Context(), f.act(wave, false), waveWait)
	if err != nil || a.Changed != changed {
		t.Fatalf("approved: %+v, %v", a, err)
	}
	f.follow(t, a)
	f.advance(t)
}

// Resuming a halted rollout forgives those that are bad by name, and counts from zero. What
// was received and waits starts then.
func TestRolloutResumes(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 10, `{"batch":["50%","100%"],"max_failures":1,"wave_max_failures":"100%"}`)
		fl.get(t, tasker.Received, "e04")
		fl.end(t, tasker.ResultFailed, "e01")
		fl.end(t, tasker.ResultFailed, "e02")
		fl.want(t, rollout.Halted, 1, 5)
		if _, err := f.Rollouts.Approve(t.Context(), fl.act(0, false), waveWait); tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("approved: %v", err)
		}
		fl.resume(t, false, true)
		fl.want(t, rollout.Running, 1, 5)
		_, r := fl.found(t)
		if !slices.Equal(r.Forgiven, []string{"e01", "e02"}) || len(r.Bad) > 0 || r.By != "ann" || r.Reason != "looked" {
			t.Errorf("%+v", r)
		}
		if !f.attempt(t, fl.task, "e04", 0) {
			t.Error("what waited does not start")
		}
		fl.resume(t, false, false) // nothing to do
		fl.ends(t, tasker.ResultFailed, "e04")
		fl.want(t, rollout.Running, 1, 5) // tolerated
		fl.end(t, tasker.ResultFailed, "e03")
		fl.want(t, rollout.Halted, 1, 5)
		fl.resume(t, false, true)
		fl.end(t, tasker.ResultDone, "e05")
		fl.want(t, rollout.Running, 2, 10)
		fl.end(t, tasker.ResultDone, fl.names[5:]...)
		fl.want(t, rollout.Done, 2, 10)
		if _, r := fl.found(t); !slices.Equal(r.Forgiven, fl.names[:4]) {
			t.Errorf("forgiven: %v", r.Forgiven)
		}
		if _, err := f.Rollouts.ResumeRollout(t.Context(), fl.act(0, false), waveWait); tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("resumed after its end: %v", err)
		}
	})
}

// Whoever is unreached and ignored is not bad, and so not forgiven: its failure counts when
// it comes.
func TestRolloutForgivesNobodyElse(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":[3,"100%"],"unreached":"ignore"}`)
		fl.end(t, tasker.ResultFailed, "e01")
		fl.after(t, waveWait)
		fl.want(t, rollout.Halted, 1, 3)
		fl.resume(t, false, true)
		if _, r := fl.found(t); !slices.Equal(r.Forgiven, []string{"e01"}) {
			t.Errorf("forgiven: %v", r.Forgiven)
		}
		fl.end(t, tasker.ResultFailed, "e02")
		if _, r := fl.found(t); r.State != string(rollout.Halted) || !slices.Equal(r.Bad, []string{"e02"}) {
			t.Errorf("%+v", r)
		}
	})
}

// What is retried in a halted rollout counts by its latest attempt, waits until it is
// resumed, and is no longer forgiven.
func TestRolloutRetry(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":2}`)
		fl.end(t, tasker.ResultFailed, "e01")
		fl.want(t, rollout.Halted, 1, 2)
		fl.after(t, waveWait) // e02 does not come
		if _, r := fl.found(t); !slices.Equal(r.Bad, []string{"e01", "e02"}) {
			t.Errorf("bad: %v", r.Bad)
		}
		retried := f.retry(t, retryOf(fl.task, tasker.RetryUnfinished))
		if !slices.Equal(retried.Retried, []string{"e01", "e02"}) {
			t.Errorf("retried: %+v", retried)
		}
		if _, r := fl.found(t); len(r.Bad) > 0 || r.State != "HALTED" {
			t.Errorf("%+v", r)
		}
		if f.attempt(t, fl.task, "e01", 1) {
			t.Error("it starts while the rollout is halted")
		}
		fl.resume(t, false, true)
		fl.want(t, rollout.Running, 1, 2)
		if _, r := fl.found(t); len(r.Forgiven) > 0 {
			t.Errorf("forgiven: %v", r.Forgiven)
		}
		if !f.attempt(t, fl.task, "e01", 1) {
			t.Error("it does not start")
		}
		f.finish(t, finish(fl.task, "e01", 2, tasker.ResultDone))
		fl.end(t, tasker.ResultDone, "e02")
		fl.want(t, rollout.Running, 2, 4)
		fl.end(t, tasker.ResultDone, "e03", "e04")
		fl.want(t, rollout.Done, 2, 4)
		if status := fl.status(t, fl.task); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
		// One that was forgiven and is retried counts again, in a new rollout.
		other := f.rollAgain(t, 4, `{"batch":2,"max_failures":0}`)
		other.end(t, tasker.ResultFailed, "e01")
		other.resume(t, false, true)
		f.retry(t, retryOf(other.task, tasker.RetryFailed))
		f.attempt(t, other.task, "e01", 1)
		f.finish(t, finish(other.task, "e01", 2, tasker.ResultFailed))
		other.advance(t)
		other.want(t, rollout.Halted, 1, 2)
	})
}

// A person pauses and resumes a rollout: no wave opens meanwhile, nobody is forgiven, and a
// pause that ends by itself lets it go on. A halted one cannot be paused: the end of the
// pause would let it start.
func TestRolloutPauses(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":1,"max_failures":1,"wave_max_failures":"100%"}`)
		subject := taskSubject(fl.task)
		f.hold(t, subject, tasker.Expiry{})
		fl.want(t, rollout.Paused, 1, 1)
		if _, r := fl.found(t); r.By != "ann" || r.Reason != "new disk" {
			t.Errorf("%+v", r)
		}
		wantOutcomes(t, f.receive(t, managerA, incoming(fl.task, "e01", tasker.Running)), ledger.Duplicate)
		fl.advance(t)
		fl.resume(t, false, true)
		f.attempt(t, fl.task, "e01", 0)
		fl.ends(t, tasker.ResultFailed, "e01")
		fl.want(t, rollout.Running, 2, 2)
		f.hold(t, subject, tasker.Expiry{After: time.Hour})
		wantOutcomes(t, f.receive(t, managerA, incoming(fl.task, "e02", tasker.Running)), ledger.Duplicate)
		fl.after(t, time.Hour-time.Second)
		fl.want(t, rollout.Paused, 2, 2)
		f.clock.advance(time.Second)
		f.acquire(t, managerA, fl.names...)
		if ended, err := f.Holds.EndHolds(t.Context(), 10); err != nil || len(ended) != 1 {
			t.Fatalf("%v, %v", ended, err)
		}
		fl.advance(t)
		fl.want(t, rollout.Running, 2, 2)
		f.attempt(t, fl.task, "e02", 0)
		fl.ends(t, tasker.ResultFailed, "e02")
		fl.want(t, rollout.Halted, 2, 2)
		_, err := f.Holds.Hold(t.Context(), tasker.HoldRequest{HoldSubject: subject, By: "ann", Until: tasker.Expiry{After: time.Second}})
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "HALTED") {
			t.Errorf("paused: %v", err)
		}
		// If somebody takes the hold away all the same, it is stored again.
		f.unhold(t, subject, true)
		fl.advance(t)
		fl.want(t, rollout.Halted, 2, 2)
		fl.resume(t, false, true)
		fl.want(t, rollout.Running, 3, 3)
		// Whom a pause keeps from receiving it is unreached all the same, and counts.
		f.hold(t, subject, tasker.Expiry{})
		fl.after(t, waveWait)
		fl.want(t, rollout.Paused, 3, 3)
		if _, r := fl.found(t); !slices.Equal(r.Bad, []string{"e03"}) || !slices.Equal(r.Forgiven, []string{"e01", "e02"}) {
			t.Errorf("%+v", r)
		}
	})
}

// A hold that an older program stored pauses the rollout at the next look.
func TestRolloutFindsHold(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":1}`)
		f.exec(t, fmt.Sprintf("INSERT INTO holds (task_id, requested_by, reason, hold_time) VALUES (%d, 'bob', '', '2026-05-06 01:00:00.000000')",
			fl.task.ID))
		fl.advance(t)
		fl.want(t, rollout.Paused, 1, 1)
	})
}

// Waves wait for approval, also the first one; a later one may be approved ahead.
func TestRolloutApproval(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 6, `{"batch":[1,2,4,"100%"],"approve":[1,3,4]}`)
		fl.want(t, rollout.WaitingApproval, 0, 0)
		if status := fl.status(t, fl.task); status != tasker.Created {
			t.Errorf("it is %s", status)
		}
		if _, err := f.Rollouts.ResumeRollout(t.Context(), fl.act(0, false), waveWait); tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("resumed: %v", err)
		}
		for wave, field := range map[int]string{-1: "/wave", 5: "/wave"} {
			_, err := f.Rollouts.Approve(t.Context(), fl.act(wave, false), waveWait)
			if tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "4 waves") {
				t.Errorf("wave %d: %v (%s)", wave, err, field)
			}
		}
		fl.approve(t, 0, true)
		fl.want(t, rollout.Running, 1, 1)
		if status := fl.status(t, fl.task); status != tasker.Sent {
			t.Errorf("it is %s", status)
		}
		_, err := f.Rollouts.Approve(t.Context(), fl.act(0, false), waveWait)
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "it is RUNNING, wave 1 of 4 is open") {
			t.Errorf("approved: %v", err)
		}
		fl.approve(t, 3, true) // ahead
		fl.approve(t, 3, false)
		fl.end(t, tasker.ResultDone, "e01")
		fl.end(t, tasker.ResultDone, "e02")
		fl.want(t, rollout.Running, 3, 4)
		fl.end(t, tasker.ResultDone, "e03", "e04")
		fl.want(t, rollout.WaitingApproval, 3, 4)

		// Cancel while it waits: the others never get it.
		f.cancel(t, fl.task)
		fl.want(t, rollout.Canceled, 3, 4)
		if states := f.states(t, fl.task); states["e06"] != tasker.ResultCanceled || states["e01"] != tasker.ResultDone || len(states) != 6 {
			t.Errorf("%v", states)
		}
		if status := fl.status(t, fl.task); status != tasker.Canceled {
			t.Errorf("it is %s", status)
		}
		fl.advance(t)
		fl.want(t, rollout.Canceled, 3, 4)
		if _, err := f.Rollouts.Approve(t.Context(), fl.act(0, false), waveWait); tasker.CodeOf(err) != tasker.Conflict ||
			!strings.Contains(err.Error(), "has ended") {
			t.Errorf("approved: %v", err)
		}
	})
}

// Promoting skips waves and soaks; a task without a rollout has nothing to promote.
func TestRolloutPromotes(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 6, `{"batch":1,"pause":"1h"}`)
		fl.resume(t, true, true)
		fl.want(t, rollout.Running, 6, 6)
		fl.resume(t, true, false)
		plain := f.send(t, "plain", "e01")
		act := tasker.RolloutAct{Type: plain.Type, Identifier: plain.Identifier, All: true}
		_, err := f.Rollouts.ResumeRollout(t.Context(), act, waveWait)
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "has no rollout") {
			t.Errorf("resumed: %v", err)
		}
		act.Identifier = "none"
		if _, err := f.Rollouts.ResumeRollout(t.Context(), act, waveWait); tasker.CodeOf(err) != tasker.NotFound {
			t.Errorf("resumed: %v", err)
		}
	})
}

// on_halt "cancel" stops what has begun, and what waits stays.
func TestRolloutCancelsWhatRuns(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 8, `{"batch":["50%","100%"],"on_halt":"cancel"}`)
		fl.get(t, tasker.Running, "e02")
		fl.get(t, tasker.Received, "e03")
		fl.end(t, tasker.ResultFailed, "e01")
		fl.want(t, rollout.Halted, 1, 4)
		if r := f.result(t, fl.task, "e02"); !r.CancelRequested || r.State != tasker.Running {
			t.Errorf("%+v", r)
		}
		if r := f.result(t, fl.task, "e03"); r.CancelRequested || r.State != tasker.Received {
			t.Errorf("%+v", r)
		}
		fl.ends(t, tasker.ResultCanceled, "e02")
		fl.want(t, rollout.Halted, 1, 4)
		fl.resume(t, false, true)
		f.attempt(t, fl.task, "e03", 0)
		fl.ends(t, tasker.ResultDone, "e03")
		fl.end(t, tasker.ResultDone, "e04")
		fl.want(t, rollout.Running, 2, 8)
	})
}

// A cancellation of named endpoints takes them out of waves to come.
func TestRolloutCancelNamed(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":2}`)
		f.cancel(t, fl.task, "e02", "e03")
		if states := f.states(t, fl.task); fmt.Sprint(states) != "map[e02:CANCELED e03:CANCELED]" {
			t.Errorf("%v", states)
		}
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.Running, 2, 3)
		if slices.Contains(fl.sent, "e03") {
			t.Errorf("sent to %v", fl.sent)
		}
		fl.end(t, tasker.ResultDone, "e04")
		fl.want(t, rollout.Done, 2, 3)
	})
}

// A task that expires ends, with all waves that were to come.
func TestRolloutExpires(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, numbered(4)...)
		task := rolloutOf(t, `{"batch":1,"order":"name"}`, numbered(4)...)
		task.Expiry = tasker.Expiry{After: time.Hour}
		created, _, err := f.Tasks.CreateTask(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		fl := &fleet{fixture: f, task: created, names: numbered(4)}
		fl.deliver(t, ledger.WaveClaim{TaskID: created.ID, Attempt: 1})
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.Running, 2, 2)
		f.clock.advance(time.Hour)
		f.expire(t)
		if states := f.states(t, created); len(states) != 4 || states["e04"] != tasker.Expired || states["e01"] != tasker.ResultDone {
			t.Errorf("%v", states)
		}
		fl.advance(t)
		if task, r := fl.found(t); task.Status != tasker.Failed || r.State != "DONE" {
			t.Errorf("%s, %+v", task.Status, r)
		}
	})
}

// An endpoint that is removed leaves its wave, also one that is to come.
func TestRolloutRemovedEndpoint(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 4, `{"batch":2}`)
		f.clock.advance(2 * lease)
		for _, name := range []string{"e02", "e04"} {
			removal, err := f.Removals.RemoveEndpoint(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := f.Removals.DetachEndpoint(t.Context(), removal); err != nil {
					t.Fatal(err)
				}
			}
		}
		fl.names = []string{"e01", "e03"}
		f.acquire(t, managerA, fl.names...)
		if task := f.find(t, fl.task); !slices.Equal(task.RemovedEndpoints, []string{"e02", "e04"}) || task.Unopened != 1 {
			t.Errorf("%+v", task)
		}
		fl.end(t, tasker.ResultDone, "e01")
		fl.end(t, tasker.ResultDone, "e03")
		fl.want(t, rollout.Done, 2, 3)
		if status := fl.status(t, fl.task); status != tasker.Done {
			t.Errorf("it ended %s", status)
		}
	})
}

// What is deleted leaves nothing of its rollout.
func TestRolloutPurged(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 3, `{"batch":1}`)
		fl.end(t, tasker.ResultDone, "e01")
		f.cancel(t, fl.task)
		f.clock.advance(month)
		if n, _, err := f.Retention.PurgeTasks(t.Context(), "worker", f.Now(), nil, 10); err != nil || n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
		f.clock.advance(time.Hour)
		if _, _, err := f.Retention.PurgeResults(t.Context(), f.Now(), 100); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"rollouts", "rollout_targets", "task_targets", "task_results"} {
			if n := f.rows(t, table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	})
}
