package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func approveCommand(r *run) *cobra.Command {
	var approve client.Approve
	var flags *apiFlags
	cmd := &cobra.Command{
		Use:   "approve TYPE/IDENTIFIER",
		Short: "Approve a wave of a rollout",
		Long: `Approve the wave of a rollout that waits for it: it opens, and its endpoints get the
task. With --wave all waves up to that one are approved, also before they are reached.

The exit code is 1 if the task has no rollout, or this waits for no approval, has been
halted or has ended; the message says where it is.`,
		Example: `  tasker approve app-update/upd-17
  tasker approve app-update/upd-17 --wave 3 --reason "canary looks good"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := taskArgument(cmd, args)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("wave") && approve.Wave < 1 {
				return usagef("invalid wave %d: must be the number of a wave, from 1 up", approve.Wave)
			}
			if err := tasker.ValidateReason(approve.Reason); err != nil {
				return usagef("%v", err)
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			approved, err := c.Approve(cmd.Context(), taskType, identifier, approve)
			if err != nil {
				return err
			}
			text := "approved"
			if !approved.Changed {
				text = "approved already"
			}
			return r.print(approved, fmt.Sprintf("%s: %s\n%s", oneLine(args[0]), text, rolloutText(approved.Rollout)))
		},
	}
	flags = r.addAPIFlags(cmd)
	cmd.Flags().IntVar(&approve.Wave, "wave", 0, "approve all waves up to this `number`")
	cmd.Flags().StringVar(&approve.Reason, "reason", "", "why, for people")
	return cmd
}

// rolloutText returns where a rollout is, for people; empty if there is none.
func rolloutText(rollout *tasker.Rollout) string {
	if rollout == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rollout: %s", oneLine(rollout.State))
	switch {
	case rollout.MaxConcurrency > 0:
		fmt.Fprintf(&b, ", %d of %d endpoints are open", rollout.Wave, rollout.Endpoints)
	case len(rollout.Waves) > 0:
		fmt.Fprintf(&b, ", wave %d of %d is open", rollout.Wave, len(rollout.Waves))
	}
	if rollout.Reason != "" {
		fmt.Fprintf(&b, " (%s)", oneLine(rollout.Reason))
	}
	b.WriteString("\n")
	writeSet(&b, "bad", len(rollout.Bad), rollout.Bad)
	writeSet(&b, "forgiven", len(rollout.Forgiven), rollout.Forgiven)
	return b.String()
}
