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

const initializeLong = `Prepare the database, RabbitMQ, or both. It can be repeated: it keeps what exists.

--database  creates the database of manager.db.uri, if it does not exist and the
            user is allowed to, and migrates the schema.
--rabbitmq  creates the virtual host and the user of manager.message_queue.uri,
            with permissions for tasker's own exchanges and queues only, and
            declares the exchanges. This needs RabbitMQ's management plugin and
            an administrator in rabbitmq.*.
--reset     first drops what exists: all tasks and results, all queues and
            their messages. Alone it only prints what it would drop; add --yes
            to confirm. A database in use by managers or an API is not reset
            without --force.`

func initializeCommand(r *run) *cobra.Command {
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
				return usagef("nothing to initialize: give --database, --rabbitmq, or both")
			}
			if yes && !reset {
				return usagef("--yes confirms --reset: give both, or neither")
			}
			if force && !yes {
				return usagef("--force needs --reset --yes")
			}
			without := config.PartAPI | config.PartGateway | config.PartManager
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
				err = errors.Join(err, r.print(initialized{OK: err == nil, DryRun: opts.DryRun, Done: lines(said.String())}, ""))
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
	flags.BoolVar(&reset, "reset", false, "first drop what exists; needs --yes")
	flags.BoolVar(&yes, "yes", false, "confirm --reset")
	flags.BoolVar(&force, "force", false, "reset a database that is in use")
	return cmd
}

// initialized is the output of "initialize": a line for each thing done, or that
// would be. Errors go to stderr.
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

// initialize prepares both, even if the first fails: they do not depend on each
// other. But if the database is not reset, neither is RabbitMQ.
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
