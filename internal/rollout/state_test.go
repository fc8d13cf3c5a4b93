package rollout_test

import (
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

func TestStates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		state           rollout.State
		final, mayStart bool
	}{
		{rollout.Running, false, true},
		{rollout.Soaking, false, true},
		{rollout.WaitingApproval, false, true},
		{rollout.Halted, false, false},
		{rollout.Paused, false, false},
		{rollout.Done, true, true},
		{rollout.Canceled, true, false},
	} {
		if test.state.Final() != test.final || test.state.MayStart() != test.mayStart || !test.state.Valid() {
			t.Errorf("%s: final %v, may start %v", test.state, test.state.Final(), test.state.MayStart())
		}
		// Whatever it does, a rollout can be canceled, and ends with its last endpoint.
		for _, end := range []rollout.State{rollout.Canceled, rollout.Done} {
			if test.state.CanMoveTo(end) == test.final {
				t.Errorf("from %s to %s: %v", test.state, end, !test.final)
			}
		}
	}
	if len(rollout.States()) != 7 || rollout.State("X").Valid() || rollout.State("X").Final() {
		t.Error(rollout.States())
	}
	if rollout.Halted.CanMoveTo(rollout.Soaking) || rollout.Halted.CanMoveTo(rollout.Paused) {
		t.Error("HALTED is left for RUNNING only")
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	type target = rollout.Target
	for _, test := range []struct {
		target target
		want   rollout.Counts
	}{
		{target{State: tasker.ResultDone, Forgiven: true, Late: true, Overdue: true}, rollout.Counts{OK: 1}},
		{target{State: tasker.ResultFailed, Late: true}, rollout.Counts{Bad: 1}},
		{target{State: tasker.TimedOut}, rollout.Counts{Bad: 1}},
		{target{State: tasker.Rejected}, rollout.Counts{Bad: 1}},
		{target{State: tasker.Expired}, rollout.Counts{Bad: 1}},
		{target{State: tasker.Lost}, rollout.Counts{Bad: 1}},
		{target{State: tasker.Lost, Forgiven: true}, rollout.Counts{Forgiven: 1}},
		{target{State: tasker.ResultCanceled, Forgiven: true}, rollout.Counts{Canceled: 1}},
		{target{State: "SUPERSEDED"}, rollout.Counts{Canceled: 1}},
		{target{State: tasker.Received, Opened: true, Forgiven: true}, rollout.Counts{Unfinished: 1}},
		{target{State: tasker.Running, Opened: true, Overdue: true}, rollout.Counts{Unfinished: 1}},
		{target{State: tasker.Retrying, Opened: true}, rollout.Counts{Unfinished: 1}},
		{target{State: tasker.Retrying, Opened: true, Late: true}, rollout.Counts{Late: 1}},
		{target{Opened: true}, rollout.Counts{Unfinished: 1}},
		{target{Opened: true, Late: true}, rollout.Counts{Late: 1}},
		{target{Opened: true, Late: true, Overdue: true}, rollout.Counts{Unreached: 1}},
		{target{Opened: true, Overdue: true, Forgiven: true}, rollout.Counts{Forgiven: 1}},
		{target{}, rollout.Counts{Unopened: 1}},
	} {
		var got rollout.Counts
		if got.Add(test.target); got != test.want {
			t.Errorf("%+v: %+v", test.target, got)
		}
	}
	// No state of a result is forgotten.
	for _, state := range tasker.ResultStates() {
		var c rollout.Counts
		c.Add(target{State: state, Opened: true})
		if (c.Unfinished == 1) == (state.Finished() || state == tasker.Lost) {
			t.Errorf("%s: %+v", state, c)
		}
	}
}
