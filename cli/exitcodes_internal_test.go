package cli

import (
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
)

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
		{tasker.Canceled, some, ExitStopped},
		{tasker.Canceling, ok, ExitStopped},
		{tasker.Failed, tasker.Summary{Expected: 3, Received: 3, Finished: 3, Failed: 1, Canceled: 1}, ExitStopped},
		{"NEW_STATUS", ok, ExitUnaccounted},
	} {
		if got := exitOf(test.status, test.s); got != test.want {
			t.Errorf("%s, %+v: got %d, want %d", test.status, test.s, got, test.want)
		}
	}
	for _, status := range tasker.TaskStatuses() {
		if code := exitOf(status, some); code == ExitOK && status != tasker.Done || !slices.Contains([]int{0, 3, 4, 6}, code) {
			t.Errorf("%s: got %d", status, code)
		}
	}
}
