package cli

import (
	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/liveview"
)

// exitCodesTopic is a page of the help.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes say",
		Long: `What the exit codes say. "tasker run", "tasker watch" and "tasker show --exit-status"
end with 3 to 6; if several apply, it is the highest.

  0    success: every endpoint has finished the task without an error; or, with
       --detach, the task was accepted
  1    failure: it could not be done or asked, or the API was out of reach for so
       long that the task was lost sight of. The task may go on
  2    the command line or the configuration is invalid, or the API refused the
       task: nothing was started
  3    some endpoints failed
  4    nobody knows of some endpoints: they have not received the task in time, or
       were lost while they ran it, or --wait ran out before they had finished
  5    the task waits for a person: it was paused, or nothing but paused task types
       and drained endpoints keeps it from going on
  6    the task was canceled, as a whole or for some endpoints, or a newer task of its
       topic superseded it at some
  130  interrupted with Ctrl-C: the task goes on
  143  ended by the signal TERM: the task goes on`,
	}
}

// waitsForPerson reports whether a status, of a newer API, or the state of a rollout says
// that a task waits for a person.
func waitsForPerson(status tasker.TaskStatus) bool {
	switch status {
	case "HALTED", "PAUSED", "WAITING_APPROVAL":
		return true
	}
	return false
}

// standing returns the status of a task, or the state of its rollout if that waits for a
// person.
func standing(task *client.TaskView) tasker.TaskStatus {
	if r := task.Rollout; r != nil && !task.Status.Final() && waitsForPerson(tasker.TaskStatus(r.State)) {
		return tasker.TaskStatus(r.State)
	}
	return task.Status
}

// exitOf returns the exit code that says how a task went, or stands.
func exitOf(task client.TaskView, s tasker.Summary) int {
	status := standing(&task)
	paused := !status.Final() && task.Hold != nil && task.Hold.Until == nil
	switch {
	case status == tasker.Canceled, status == tasker.Canceling, s.Canceled > 0:
		return ExitStopped
	case waitsForPerson(status), paused, liveview.Held(status, task.Hold, s):
		return ExitHeld
	case status == tasker.Failed && s.Finished == s.Expected:
		return ExitSomeFailed
	case status == tasker.Done:
		return ExitOK
	}
	return ExitUnaccounted
}
