package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func cancelCommand(r *run) *cobra.Command {
	var cancel client.Cancel
	var flags *apiFlags
	cmd := &cobra.Command{
		Use:   "cancel TYPE/IDENTIFIER | -",
		Short: "Cancel a task, or stop it at some of its endpoints",
		Long: `Cancel a task. Where it has not begun, it never will. Where it runs, the run is
told to stop and its programs are killed, within a moment if the endpoint is alive,
otherwise when it is back. What has finished stays as it is. With --endpoint only
the named endpoints stop.

The output says at how many endpoints the task was stopped, is stopping, had
finished before, or cannot be stopped now since the endpoint is away. The same
command again says what has become of them since. The exit code is 1 if the task
has ended, or does not exist.`,
		Example: `  tasker cancel app-update/upd-17
  tasker cancel app-update/upd-17 -e web1 -e web2 --reason "wrong version"
  tasker cancel app-update/upd-17 --output json --api https://tasker.example.com --token-file ~/.tasker-token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := r.taskOf(cmd, flags, args)
			if err != nil {
				return err
			}
			for _, name := range cancel.Endpoints {
				if err := tasker.ValidateEndpoint(name); err != nil {
					return usagef("%v", err)
				}
			}
			if err := tasker.ValidateReason(cancel.Reason); err != nil {
				return usagef("%v", err)
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			if len(cancel.Endpoints) == 0 {
				cancel.Endpoints = nil
			}
			canceled, err := c.Cancel(cmd.Context(), taskType, identifier, cancel)
			if err != nil {
				return err
			}
			return r.print(canceled, canceledText(taskType+"/"+identifier, canceled))
		},
	}
	flags = r.addAPIFlags(cmd)
	cmd.ValidArgsFunction = r.completeTasks(flags)
	r.completeEndpoints(cmd, flags)
	cmd.Flags().StringArrayVarP(&cancel.Endpoints, "endpoint", "e", nil, "stop only this `endpoint`; may be repeated")
	cmd.Flags().StringVar(&cancel.Reason, "reason", "", "why, for people; kept with the task")
	return cmd
}

// taskArgument returns the task that the only argument names.
func taskArgument(cmd *cobra.Command, args []string) (taskType, identifier string, err error) {
	if len(args) != 1 {
		return "", "", usagef("missing or extra argument: %s takes one task, as TYPE/IDENTIFIER (see %s --help)",
			cmd.CommandPath(), cmd.CommandPath())
	}
	taskType, identifier, found := strings.Cut(args[0], "/")
	if !found {
		return "", "", usagef("invalid task %q: must be TYPE/IDENTIFIER", args[0])
	}
	if err := tasker.ValidateTaskType(taskType); err != nil {
		return "", "", usagef("%v", err)
	}
	if err := tasker.ValidateIdentifier(identifier); err != nil {
		return "", "", usagef("%v", err)
	}
	return taskType, identifier, nil
}

// canceledText returns what a cancellation found, for people.
func canceledText(task string, c client.Canceled) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s\n", oneLine(task), oneLine(string(c.Status)))
	for _, set := range []struct {
		name string
		at   client.EndpointNames
	}{
		{"stopped", c.Stopped}, {"stopping", c.Stopping}, {"finished before", c.FinishedBefore}, {"unreachable", c.Unreachable},
	} {
		writeSet(&b, set.name, set.at.Count, set.at.Endpoints)
	}
	return b.String()
}

// writeSet writes how many there are of a set that is not empty, and some of their names.
func writeSet(b *strings.Builder, set string, count int, names []string) {
	if count == 0 {
		return
	}
	const most = 10 // names in a line
	first := names[:min(len(names), most)]
	more := ""
	if count > len(first) {
		more = ", ..."
	}
	fmt.Fprintf(b, "%s: %d (%s%s)\n", oneLine(set), count, oneLine(strings.Join(first, ", ")), more)
}
