package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func retryCommand(r *run) *cobra.Command {
	var retry client.Retry
	var only string
	var dryRun bool
	var flags *apiFlags
	cmd := &cobra.Command{
		Use:   "retry TYPE/IDENTIFIER | -",
		Short: "Run a task again at some of its endpoints",
		Long: `Run a task again, in a new round of it: the task is open again, and ends anew. What
an endpoint did in earlier rounds stays in its attempts.

  failed      those that ended without success: FAILED, TIMED_OUT, REJECTED,
              EXPIRED and CANCELED
  missing     those that have not received it
  unfinished  both of them, and those that are LOST
  all         those that have ended, with success or without, and the missing ones;
              also those that a newer task of the topic superseded

Or name endpoints. What runs or waits is left alone, and so is what was named and
has succeeded: the output says which. The exit code is 1 if there is nothing to
retry, or the task cannot be retried now, or does not exist.`,
		Example: `  tasker retry app-update/upd-17 --only failed --dry-run
  tasker retry app-update/upd-17 --only failed --reason "disk replaced"
  tasker retry app-update/upd-17 -e web1 -e web2 --expires 1h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := r.taskOf(cmd, flags, args)
			if err != nil {
				return err
			}
			if err := whichRetried(&retry, only); err != nil {
				return err
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			call := c.Retry
			if dryRun {
				call = c.PlanRetry
			}
			retried, err := call(cmd.Context(), taskType, identifier, retry)
			if err != nil {
				return err
			}
			return r.print(retried, retriedText(taskType+"/"+identifier, retried, dryRun))
		},
	}
	flags = r.addAPIFlags(cmd)
	cmd.ValidArgsFunction = r.completeTasks(flags)
	r.completeEndpoints(cmd, flags)
	cmd.Flags().StringVar(&only, "only", "", "which endpoints: failed, missing, unfinished or all")
	complete(cmd, "only", retryClasses)
	cmd.Flags().StringArrayVarP(&retry.Endpoints, "endpoint", "e", nil, "run it again at this `endpoint`; may be repeated")
	cmd.Flags().StringVar(&retry.Reason, "reason", "", "why, for people; kept with the round")
	cmd.Flags().StringVar(&retry.Expires, "expires", "",
		"when it expires now: a time, or a duration from now such as 1h; needed if it has expired")
	cmd.Flags().StringVar(&retry.Key, "idempotency-key", "", "makes the command safe to repeat: the same key is the same round")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

// retryClasses returns the names of the classes of endpoints.
func retryClasses() (names []string) {
	for _, class := range tasker.RetryClasses() {
		names = append(names, string(class))
	}
	return names
}

// whichRetried sets and checks which endpoints run the task again.
func whichRetried(retry *client.Retry, only string) error {
	named := len(retry.Endpoints) > 0
	if retry.Class = tasker.RetryClass(only); named == (only != "") || only != "" && !retry.Class.Valid() {
		return usagef("missing or invalid endpoints: use either --only failed|missing|unfinished|all or --endpoint NAME")
	}
	for _, name := range retry.Endpoints {
		if err := tasker.ValidateEndpoint(name); err != nil {
			return usagef("%v", err)
		}
	}
	if !named {
		retry.Endpoints = nil
	}
	if err := tasker.ValidateReason(retry.Reason); err != nil {
		return usagef("%v", err)
	}
	return nil
}

// retriedText returns what a retry did, for people.
func retriedText(task string, retried client.Retried, dryRun bool) string {
	form := "%s is %s, round %d\n"
	if dryRun {
		form = "%s would be %s, round %d\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, form, oneLine(task), oneLine(string(retried.Status)), retried.Round)
	writeSet(&b, "retried", retried.Retried.Count, retried.Retried.Endpoints)
	for _, set := range retried.NotRetried {
		writeSet(&b, "not retried, "+set.Reason, set.Count, set.Endpoints)
	}
	return b.String()
}
