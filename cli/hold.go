package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// addPauseFlags gives a command the flags of a pause or a drain.
func addPauseFlags(cmd *cobra.Command) *client.Pause {
	var pause client.Pause
	cmd.Flags().StringVar(&pause.Reason, "reason", "", "why, for people")
	cmd.Flags().StringVar(&pause.Until, "until", "",
		"when it ends by itself: a `time` such as 2026-05-06T03:14:24+02:00, or a duration such as 2h")
	return &pause
}

func validPause(pause *client.Pause) error {
	if err := tasker.ValidateReason(pause.Reason); err != nil {
		return usagef("%v", err)
	}
	return nil
}

func pauseCommand(r *run) *cobra.Command {
	var flags *apiFlags
	var pause *client.Pause
	cmd := &cobra.Command{
		Use:   "pause TYPE[/IDENTIFIER]",
		Short: "Pause a task, or all tasks of a type",
		Long: `Pause a task, or all tasks of a type: from the moment at which the command returns no
endpoint starts one of them, or tries it again, until "tasker resume" or the time
given with --until. What runs goes on, and the output names the endpoints. Tasks are
accepted, sent and received as before, and wait. Of what is paused already the reason
and the end are replaced.

The exit code is 1 if the task has ended, or does not exist.`,
		Example: `  tasker pause app-update/upd-17 --reason "wrong version?"
  tasker pause backup --until 2h
  tasker pause backup --until 2026-05-06T06:00:00+02:00 --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := holdArgument(cmd, args)
			if err != nil {
				return err
			}
			if err := validPause(pause); err != nil {
				return err
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			var paused client.Paused
			if identifier == "" {
				paused, err = c.PauseType(cmd.Context(), taskType, *pause)
			} else {
				paused, err = c.Pause(cmd.Context(), taskType, identifier, *pause)
			}
			if err != nil {
				return err
			}
			return r.print(paused, pausedText(args[0], paused))
		},
	}
	flags, pause = r.addAPIFlags(cmd), addPauseFlags(cmd)
	return cmd
}

func resumeCommand(r *run) *cobra.Command {
	var flags *apiFlags
	var resume client.ResumeRollout
	cmd := &cobra.Command{
		Use:   "resume TYPE[/IDENTIFIER]",
		Short: "End the pause of a task or of a type, or continue a rollout",
		Long: `End the pause of a task or of a type: what waited starts. A task whose type is
paused, or whose endpoint is drained, waits for that, too. It is no error if nothing
is paused.

A rollout that is halted or paused goes on. If it was halted, the endpoints that are
bad are forgiven: the output names them, and the rollout counts from zero. With --all
it is promoted: it waits for no wave to end and no soak any more.`,
		Example: `  tasker resume app-update/upd-17
  tasker resume app-update/upd-17 --all --reason "fixed by hand"
  tasker resume backup`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := holdArgument(cmd, args)
			if err != nil {
				return err
			}
			if identifier == "" && resume != (client.ResumeRollout{}) {
				return usagef("invalid flag: --all and --reason are for the rollout of a task: name it as TYPE/IDENTIFIER")
			}
			if err := tasker.ValidateReason(resume.Reason); err != nil {
				return usagef("%v", err)
			}
			c, err := flags.client(cmd)
			if err != nil {
				return err
			}
			var resumed client.Resumed
			if identifier == "" {
				resumed, err = c.ResumeType(cmd.Context(), taskType)
			} else {
				resumed, err = c.ResumeRollout(cmd.Context(), taskType, identifier, resume)
			}
			if err != nil {
				return err
			}
			return r.print(resumed, resumedText(args[0], resumed))
		},
	}
	flags = r.addAPIFlags(cmd)
	cmd.Flags().BoolVar(&resume.All, "all", false, "promote the rollout: it waits for no wave and no soak any more")
	cmd.Flags().StringVar(&resume.Reason, "reason", "", "why, for people")
	return cmd
}

// resumedText returns what has ended, for people.
func resumedText(what string, resumed client.Resumed) string {
	text := oneLine(what) + " is not paused any more\n"
	if !resumed.Changed {
		text = oneLine(what) + " was not paused\n"
	}
	return text + rolloutText(resumed.Rollout)
}

// holdArgument returns the task or, with an empty identifier, the type that the only
// argument names.
func holdArgument(cmd *cobra.Command, args []string) (taskType, identifier string, err error) {
	if len(args) == 1 && !strings.Contains(args[0], "/") {
		if err := tasker.ValidateTaskType(args[0]); err != nil {
			return "", "", usagef("%v", err)
		}
		return args[0], "", nil
	}
	return taskArgument(cmd, args)
}

// pausedText returns what a pause found, for people.
func pausedText(what string, p client.Paused) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is paused%s\n", oneLine(what), untilText(p.Hold))
	if p.Held > 0 {
		fmt.Fprintf(&b, "held: %d\n", p.Held)
	}
	writeSet(&b, "still running", p.Running.Count, p.Running.Endpoints)
	writeSet(&b, "not obeyed by managers of an older release", p.Unaware.Count, p.Unaware.Endpoints)
	return b.String()
}

func untilText(h tasker.Hold) string {
	if h.Until == nil {
		return ""
	}
	return " until " + h.Until.Format(time.RFC3339)
}

func drainEndpointsCommand(r *run, flags *apiFlags) *cobra.Command {
	var pause *client.Pause
	cmd := &cobra.Command{
		Use:   "drain NAME...",
		Short: "Have endpoints finish what they run, and start nothing",
		Long: `Drain endpoints: from the moment at which the command returns they start nothing,
until "tasker endpoints resume" or the time given with --until. What they run goes
on, and the output names it: repeat the command to see what is left. They receive
tasks as before, which wait, and the drain is kept if their managers restart.

If some of several endpoints cannot be drained, the others still are, and the exit
code is 1.`,
		Example: `  tasker endpoints drain web1 --reason "new disk"
  tasker endpoints drain web1 web2 --until 2h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validPause(pause); err != nil {
				return err
			}
			return r.eachEndpoint(cmd, args, flags, "drained", func(
				ctx context.Context, c *client.Client, name string,
			) (any, string, error) {
				drained, err := c.Drain(ctx, name, *pause)
				return drained, drainedText(name, drained), err
			})
		},
	}
	pause = addPauseFlags(cmd)
	return cmd
}

func resumeEndpointsCommand(r *run, flags *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "resume NAME...",
		Short:   "Have endpoints that are drained start tasks again",
		Long:    `End the drain of endpoints: what waited there starts. It is no error if one is not drained.`,
		Example: `  tasker endpoints resume web1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.eachEndpoint(cmd, args, flags, "resumed", func(
				ctx context.Context, c *client.Client, name string,
			) (any, string, error) {
				resumed, err := c.ResumeEndpoint(ctx, name)
				text := name + " is not drained any more\n"
				if !resumed.Changed {
					text = name + " was not drained\n"
				}
				return resumed, text, err
			})
		},
	}
}

// drainedText returns what a drain found, for people.
func drainedText(name string, d client.Drained) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is drained%s\n", name, untilText(d.Hold))
	if d.Held > 0 {
		fmt.Fprintf(&b, "held: %d\n", d.Held)
	}
	writeSet(&b, "still running", d.Running.Count, d.Running.Tasks)
	if d.Unaware {
		b.WriteString("not obeyed: its manager is of an older release, and starts tasks all the same\n")
	}
	return b.String()
}

// eachEndpoint does something to each of the endpoints that a command names, and prints
// what that returned: an answer and a text. done is the name of the list of answers.
func (r *run) eachEndpoint(
	cmd *cobra.Command, names []string, flags *apiFlags, done string,
	do func(ctx context.Context, c *client.Client, name string) (answer any, text string, err error),
) error {
	if len(names) == 0 {
		return usagef("missing endpoint: name at least one; tasker endpoints list shows them")
	}
	for _, name := range names {
		if err := tasker.ValidateEndpoint(name); err != nil {
			return usagef("%v", err)
		}
	}
	c, err := flags.client(cmd)
	if err != nil {
		return err
	}
	answers := map[string]any{}
	var output strings.Builder
	var failed []string
	for _, name := range names {
		answer, text, err := do(cmd.Context(), c, name)
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		answers[name] = answer
		output.WriteString(text)
	}
	if err := r.print(map[string]any{done: answers}, output.String()); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("not %s: %s", done, strings.Join(failed, "; "))
	}
	return nil
}
