package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/text"
)

const initializeLong = `Prepare the database, RabbitMQ, or both. It may be repeated: what is there stays.

--database  makes the database of manager.db.uri, if it does not exist and its
            user may, and brings the schema up to date.
--rabbitmq  makes the virtual host and the user of manager.message_queue.uri,
            with permissions for tasker's own exchanges and queues only, and
            declares the exchanges. This takes RabbitMQ's management plugin and
            an administrator, named by rabbitmq.*.
--reset     drops first what is there: all tasks and results, all queues and
            their messages. Alone it drops nothing and says what it would drop;
            with --yes it does it. A database that managers or
            an API work with is not reset, unless --force is given, too.`

func (r *run) initializeCommand() *cobra.Command {
	var database, rabbitmq, reset, yes, force bool
	cmd := &cobra.Command{
		Use:   "initialize",
		Short: "Create or reset the database and RabbitMQ's virtual host",
		Long:  initializeLong,
		Example: `  tasker initialize --database --rabbitmq
  tasker initialize --database --reset        # what would be dropped?
  tasker initialize --database --reset --yes`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !database && !rabbitmq {
				return usagef("what shall be initialized? Give --database, --rabbitmq, or both")
			}
			if yes && !reset {
				return usagef("--yes agrees to a reset: give --reset, too, or neither")
			}
			if force && !yes {
				return usagef("--force is for a reset: give --reset --yes, too, or neither")
			}
			without := config.PartAPI
			if !database {
				without |= config.PartDatabase
			}
			if !rabbitmq {
				without |= config.PartBroker | config.PartAdmin
			}
			cfg, err := r.load(without)
			if err != nil {
				return err
			}
			opts := app.InitOptions{Reset: reset, Force: force, DryRun: reset && !yes, Out: text.Lines(r.Stdout)}
			var said bytes.Buffer
			if r.output == outputJSON {
				opts.Out = &said
			}
			err = r.initialize(cmd.Context(), cfg, opts, database, rabbitmq)
			if r.output == outputJSON {
				err = errors.Join(err, r.tell(initialized{OK: err == nil, DryRun: opts.DryRun, Done: lines(said.String())}, ""))
			}
			if err != nil {
				return err
			}
			if opts.DryRun {
				return usagef("nothing was dropped: add --yes to drop it")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&database, "database", false, "prepare the database")
	flags.BoolVar(&rabbitmq, "rabbitmq", false, "prepare RabbitMQ")
	flags.BoolVar(&reset, "reset", false, "drop first what is there; needs --yes")
	flags.BoolVar(&yes, "yes", false, "really drop it")
	flags.BoolVar(&force, "force", false, "drop it under managers and APIs that use it")
	return cmd
}

// initialized is what "initialize" tells: a line for each thing done, or that
// would be. Why it failed is told on stderr.
type initialized struct {
	OK     bool     `json:"ok"`
	DryRun bool     `json:"dry_run"`
	Done   []string `json:"done"`
}

func lines(text string) []string {
	if text = strings.TrimSuffix(text, "\n"); text == "" {
		return []string{}
	}
	return strings.Split(text, "\n")
}

// initialize does both, even if the first one fails: they do not depend on
// each other. But where the database is not reset RabbitMQ is not either.
func (r *run) initialize(ctx context.Context, cfg config.Config, opts app.InitOptions, database, rabbitmq bool) error {
	var errs []error
	if database {
		errs = append(errs, r.Actions.InitDatabase(ctx, cfg, opts))
	}
	notReset := opts.Reset && !opts.DryRun && errors.Join(errs...) != nil
	if rabbitmq && !notReset {
		errs = append(errs, r.Actions.InitRabbitMQ(ctx, cfg, opts))
	}
	return errors.Join(errs...)
}
