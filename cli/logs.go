package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/text"
)

// followEvery is how often --follow asks for more lines.
const followEvery = time.Second

// logsFlags are the flags of "tasker logs".
type logsFlags struct {
	endpoint    string
	attempt     int
	follow, raw bool
}

func logsCommand(r *run) *cobra.Command {
	f := &logsFlags{}
	var api *apiFlags
	cmd := &cobra.Command{
		Use:   "logs TYPE/IDENTIFIER | -",
		Short: "Print the log of a task at one endpoint",
		Long: `Print what the handler of a task logged at one endpoint, and what its program wrote:
that of the latest attempt, or of --attempt. With --follow, lines are printed as they
come until the endpoint has finished the task. "-" is the last task that you have
run.

Control characters are escaped: a program must not be able to write to your
terminal. --raw prints the lines as they are, but not to a terminal.`,
		Example: `  tasker logs app-update/upd-17 -e web07
  tasker logs - -e console1 --follow
  tasker logs app-update/upd-17 -e web07 --attempt 1 --output jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			taskType, identifier, err := r.taskOf(cmd, api, args)
			switch {
			case err != nil:
				return err
			case f.endpoint == "":
				return usagef("missing --endpoint: name the endpoint whose log to print")
			case f.attempt < 0:
				return usagef("invalid --attempt %d: must be 1 or more", f.attempt)
			}
			if err := tasker.ValidateEndpoint(f.endpoint); err != nil {
				return usagef("--endpoint: %v", err)
			}
			if f.raw && isTerminal(r.Stdout) {
				return usagef("--raw writes control characters as they are, which could control the terminal: " +
					"redirect them (--raw > log), or omit --raw")
			}
			c, err := api.client(cmd)
			if err != nil {
				return err
			}
			if f.follow {
				return f.print(cmd.Context(), r, c, taskType, identifier)
			}
			return r.paged(func() error { return f.print(cmd.Context(), r, c, taskType, identifier) })
		},
	}
	api = r.addAPIFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.endpoint, "endpoint", "e", "", "the `endpoint`")
	flags.IntVar(&f.attempt, "attempt", 0, "the number of the attempt (default the latest)")
	flags.BoolVar(&f.follow, "follow", false, "print lines as they come, until the endpoint has finished")
	r.addPager(cmd)
	flags.BoolVar(&f.raw, "raw", false, "do not escape control characters")
	cmd.ValidArgsFunction = r.completeTasks(api)
	r.completeEndpoints(cmd, api)
	return withOutputs(cmd, outputText, outputLines)
}

// print prints the log, part by part.
func (f *logsFlags) print(ctx context.Context, r *run, c *client.Client, taskType, identifier string) error {
	attempt, offset := f.attempt, int64(0)
	for {
		part, err := c.LogPart(ctx, taskType, identifier, f.endpoint, attempt, offset)
		if err != nil {
			return err
		}
		if part.Attempt > 0 {
			attempt, offset = part.Attempt, part.Next // even if another one begins meanwhile
		}
		if err := f.printPart(r, part); err != nil {
			return err
		}
		if len(part.Lines) > 0 {
			continue
		}
		if !f.follow {
			return nil
		}
		if part.Totals.Complete {
			answer, err := c.Result(ctx, taskType, identifier, f.endpoint)
			if err != nil {
				return err
			}
			if f.attempt > 0 || answer.Result.State.Finished() && answer.Result.Attempt <= attempt {
				return nil
			}
			if answer.Result.Attempt > attempt {
				attempt, offset = answer.Result.Attempt, 0
				continue
			}
		}
		if err := clock.Sleep(ctx, followEvery); err != nil {
			return followEnd(ctx, err)
		}
	}
}

// followEnd returns the error of a command that was interrupted while it waited.
func followEnd(ctx context.Context, err error) error {
	if i := interruption(ctx); i != nil {
		return endWith(i.code())
	}
	return err
}

func (f *logsFlags) printPart(r *run, part client.LogAnswer) error {
	for i := range part.Lines {
		line := &part.Lines[i]
		if r.output == outputLines {
			members := map[string]any{"line": line, "endpoint": f.endpoint, "attempt": part.Attempt}
			if err := r.printLine("log", members); err != nil {
				return err
			}
			continue
		}
		out := text.Visible(line.Text)
		switch {
		case line.LeftOut > 0:
			out = fmt.Sprintf("... %d lines left out", line.LeftOut)
		case f.raw:
			out = line.Text
		}
		if err := r.write([]byte(out + "\n")); err != nil {
			return err
		}
	}
	return nil
}
