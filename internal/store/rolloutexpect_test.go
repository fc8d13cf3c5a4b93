package store_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
	"github.com/taskerhq/tasker/internal/store"
)

// refused wants that an act is a conflict, whose error says how the rollout is.
func (f *fleet) refused(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range append(texts, "rollout changed meanwhile: it is ", "nothing was done") {
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), text) {
			t.Fatalf("%v, want a conflict with %q", err, text)
		}
	}
}

// An act on a rollout that is not as somebody saw it does nothing, and says how it is.
func TestRolloutExpected(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 3, `{"batch":1,"approve":true}`)
		_, before := fl.found(t)
		f.clock.advance(time.Second)
		fl.end(t, tasker.ResultDone, "e01")
		fl.want(t, rollout.WaitingApproval, 1, 1)
		_, r := fl.found(t)
		act := fl.act(0, false)
		for what, expect := range map[string]tasker.RolloutExpect{
			"state":         {State: new("RUNNING")},
			"none":          {State: new("")},
			"since":         {State: new("WAITING_APPROVAL"), Since: before.Since},
			"wave":          {Wave: new(0)},
			"bad":           {BadDigest: new(tasker.EndpointsDigest([]string{"e01"}))},
			"what was seen": *before.Expect(),
		} {
			act.Expect = &expect
			_, err := f.Rollouts.Approve(t.Context(), act, waveWait)
			if tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("%s: %v", what, err)
			}
			fl.refused(t, err, "WAITING_APPROVAL, wave 1 of 3 is open, since 20", "Z, bad endpoints: 0")
			act.All = true
			_, err = f.Rollouts.ResumeRollout(t.Context(), act, waveWait)
			fl.refused(t, err)
		}
		fl.want(t, rollout.WaitingApproval, 1, 1)
		act.Expect = r.Expect()
		act.Expect.Wave, act.Expect.BadDigest = new(1), new(tasker.EndpointsDigest(nil))
		a, err := f.Rollouts.Approve(t.Context(), act, waveWait)
		if err != nil || !a.Changed {
			t.Fatalf("%+v, %v", a, err)
		}
		_, err = f.Rollouts.Approve(t.Context(), act, waveWait)
		fl.refused(t, err, "RUNNING, wave 2 of 3 is open", "by ann")
		plain := f.send(t, "plain")
		act.Type, act.Identifier = plain.Type, plain.Identifier
		_, err = f.Rollouts.Approve(t.Context(), act, waveWait)
		wantCode(t, err, tasker.Conflict)
	})
}

// Of several people who approve what they all see, at the same moment, one is heard.
func TestRolloutApprovedOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 2, `{"batch":1,"approve":true}`)
		fl.end(t, tasker.ResultDone, "e01")
		_, r := fl.found(t)
		act := fl.act(0, false)
		act.Expect = r.Expect()
		var group sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			group.Go(func() { _, errs[i] = f.Rollouts.Approve(t.Context(), act, waveWait) })
		}
		group.Wait()
		heard := 0
		for _, err := range errs {
			if err == nil {
				heard++
			} else {
				fl.refused(t, err, "RUNNING, wave 2 of 2 is open")
			}
		}
		if heard != 1 {
			t.Errorf("%d were heard: %v", heard, errs)
		}
	})
}

// Who resumes a halted rollout forgives those whom it counted as bad then, and nobody else.
func TestRolloutForgivesWhomSomebodySaw(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		fl := f.roll(t, 3, `{"batch":"100%"}`)
		fl.get(t, tasker.Running, "e02")
		fl.end(t, tasker.ResultFailed, "e01")
		fl.want(t, rollout.Halted, 1, 3)
		_, r := fl.found(t)
		act := fl.act(0, false)
		act.Expect = r.Expect()
		fl.ends(t, tasker.ResultFailed, "e02")
		_, err := f.Rollouts.ResumeRollout(t.Context(), act, waveWait)
		fl.refused(t, err, "HALTED", "bad endpoints: 2")
		if _, r = fl.found(t); len(r.Forgiven) > 0 || len(r.Bad) != 2 {
			t.Fatalf("%+v", r)
		}
		act.Expect = r.Expect()
		if a, err := f.Rollouts.ResumeRollout(t.Context(), act, waveWait); err != nil || !a.Changed {
			t.Fatalf("%+v, %v", a, err)
		}
		if _, r = fl.found(t); len(r.Forgiven) != 2 || len(r.Bad) > 0 {
			t.Errorf("%+v", r)
		}
	})
}

// An endpoint that becomes bad after those were compared, before they are forgiven, is not.
func TestRolloutForgivesNobodyUnseen(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if strings.HasPrefix(f.uri, "sqlite") {
			return // nobody writes between two statements of a transaction
		}
		fl := f.roll(t, 3, `{"batch":"100%"}`)
		fl.get(t, tasker.Running, "e02")
		fl.end(t, tasker.ResultFailed, "e01")
		_, r := fl.found(t)
		act := fl.act(0, false)
		act.Expect = r.Expect()
		other := open(t, f.uri)
		var failing sync.Once
		err := store.AfterQueries(f.Store, func(statement string) {
			if strings.Contains(statement, "g.late") {
				failing.Do(func() {
					err := store.Exec(other.Store, "UPDATE task_results SET state = ? WHERE task_id = ? AND endpoint = ?",
						tasker.ResultFailed, fl.task.ID, "e02")
					if err != nil {
						t.Error(err)
					}
				})
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Rollouts.ResumeRollout(t.Context(), act, waveWait); err != nil {
			t.Fatal(err)
		}
		failing.Do(func() { t.Error("no statement compares who is bad") })
		if _, r = fl.found(t); len(r.Forgiven) != 1 || len(r.Bad) != 1 || r.Bad[0] != "e02" {
			t.Errorf("%+v", r)
		}
	})
}

// A schedule that is not as somebody saw it is neither paused nor resumed.
func TestPauseScheduleExpected(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		seen := f.put(t, hourly("backup"))
		pause := func(expect tasker.ScheduleExpect, by string) (tasker.Schedule, error) {
			return f.Schedules.PauseSchedule(t.Context(), "backup", expect, &tasker.SchedulePause{By: by})
		}
		for _, expect := range []tasker.ScheduleExpect{{Version: new(int64(2))}, {Pause: new(f.Now())}} {
			_, err := pause(expect, "ann")
			wantCode(t, err, tasker.Conflict)
		}
		paused, err := pause(seen.Expect(), "ann")
		if err != nil || paused.Pause == nil {
			t.Fatalf("%+v, %v", paused, err)
		}
		_, err = pause(seen.Expect(), "bob")
		if wantCode(t, err, tasker.Conflict); !strings.Contains(err.Error(), "ann paused it at 20") {
			t.Errorf("%v", err)
		}
		f.clock.advance(time.Second)
		resume := func(expect tasker.ScheduleExpect) error {
			_, err := f.Schedules.PauseSchedule(t.Context(), "backup", expect, nil)
			return err
		}
		if err := resume(paused.Expect()); err != nil {
			t.Fatal(err)
		}
		err = resume(paused.Expect())
		if wantCode(t, err, tasker.Conflict); !strings.Contains(err.Error(), "no longer paused") {
			t.Errorf("%v", err)
		}
		// Somebody paused it for another reason: that is not the pause that was seen.
		if _, err := pause(tasker.ScheduleExpect{}, "bob"); err != nil {
			t.Fatal(err)
		}
		wantCode(t, resume(paused.Expect()), tasker.Conflict)
	})
}
