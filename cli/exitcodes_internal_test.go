package cli

import (
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// TestStanding: a rollout that waits for a person says more than the status.
func TestStanding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status  tasker.TaskStatus
		rollout string
		want    tasker.TaskStatus
	}{
		{tasker.Sent, "", tasker.Sent},
		{tasker.Sent, "HALTED", "HALTED"},
		{tasker.Incomplete, "WAITING_APPROVAL", "WAITING_APPROVAL"},
		{tasker.Sent, "RUNNING", tasker.Sent},
		{tasker.Failed, "PAUSED", tasker.Failed},
	} {
		task := client.TaskView{Status: test.status}
		if test.rollout != "" {
			task.Rollout = &tasker.Rollout{State: test.rollout}
		}
		if got := standing(&task); got != test.want {
			t.Errorf("%s, %s: %s, want %s", test.status, test.rollout, got, test.want)
		}
	}
}

func TestExitOf(t *testing.T) {
	t.Parallel()
	ok := tasker.Summary{Expected: 3, Received: 3, Finished: 3}
	some := tasker.Summary{Expected: 3, Received: 3, Finished: 3, Failed: 1}
	for _, test := range []struct {
		status tasker.TaskStatus
		s      tasker.Summary
		want   int
	}{
		{tasker.Done, ok, ExitOK},
		{tasker.Failed, some, ExitSomeFailed},
		{tasker.Failed, tasker.Summary{}, ExitSomeFailed}, // it could not start
		{tasker.Incomplete, tasker.Summary{Expected: 3, Received: 2, Finished: 2, Failed: 2}, ExitUnaccounted},
		{tasker.Incomplete, tasker.Summary{Expected: 3, Received: 3, Finished: 2, Lost: 1}, ExitUnaccounted},
		{tasker.Sent, tasker.Summary{Expected: 3, Received: 3, Finished: 1, Failed: 1}, ExitUnaccounted}, // the wait ran out
		{tasker.Scheduled, tasker.Summary{}, ExitUnaccounted},
		{"PAUSED", some, ExitHeld},
		{"HALTED", some, ExitHeld},
		{tasker.Sent, tasker.Summary{Expected: 3, Received: 3, Finished: 1, Held: 2}, ExitHeld},
		{tasker.Sent, tasker.Summary{Expected: 3, Received: 3, Finished: 1, Held: 1}, ExitUnaccounted},
		{tasker.Canceled, some, ExitStopped},
		{tasker.Canceling, ok, ExitStopped},
		{tasker.Failed, tasker.Summary{Expected: 3, Received: 3, Finished: 3, Failed: 1, Canceled: 1}, ExitStopped},
		{"NEW_STATUS", ok, ExitUnaccounted},
	} {
		if got := exitOf(client.TaskView{Status: test.status}, test.s); got != test.want {
			t.Errorf("%s, %+v: got %d, want %d", test.status, test.s, got, test.want)
		}
	}
	for status, want := range map[tasker.TaskStatus]int{tasker.Sent: ExitHeld, tasker.Scheduled: ExitHeld, tasker.Done: ExitOK} {
		paused := client.TaskView{Status: status, Hold: &tasker.Hold{By: "ann"}}
		if got := exitOf(paused, tasker.Summary{Expected: 1, Received: 1}); got != want {
			t.Errorf("%s, paused: got %d, want %d", status, got, want)
		}
	}
	for _, status := range tasker.TaskStatuses() {
		if code := exitOf(client.TaskView{Status: status}, some); code == ExitOK && status != tasker.Done || !slices.Contains([]int{0, 3, 4, 6}, code) {
			t.Errorf("%s: got %d", status, code)
		}
	}
}
