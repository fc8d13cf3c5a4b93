package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// errFound ends a command that has already printed, to stdout, what is wrong.
var errFound = errors.New("problems were found")

const doctorLong = `Check the configuration, the database, RabbitMQ, the endpoints and the tasks, as
an operator would, and print what is wrong and what to do about it. It changes
nothing. Each check has its own time limit, so that a dead service does not block
the others.

RabbitMQ shows alarms, permissions, bindings and the arguments of queues only in
its management API: without a user in rabbitmq.* these are not checked, and a
note says so.

On a machine whose manager.mode is gateway it needs no database: it checks the
gateway as a manager sees it and, with --endpoint, the token of this machine.

With --dev it checks the data of "tasker dev", but not its in-process broker.

The exit code is 0 without problems, 1 with some, and 2 if the configuration is
invalid. Warnings count as problems only with --strict.`

func doctorCommand(r *run) *cobra.Command {
	var strict bool
	var data devData
	var endpoints []string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find problems, and what to do about them",
		Long:  doctorLong,
		Example: `  tasker doctor
  tasker doctor --dev
  tasker doctor --endpoint console1
  tasker doctor --strict --output json
  TASKER_RABBITMQ_USER=admin TASKER_RABBITMQ_PASSWORD=... tasker doctor --mode production --config /etc/tasker`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := app.DoctorOptions{Endpoints: endpoints}
			cfg, err := data.load(r, cmd)
			if wrong, ok := errors.AsType[*config.Error](err); ok && !data.dev {
				// A machine that only runs managers need not have the other
				// secrets.
				opts.ConfigError = wrong
				var without error
				if cfg, without = r.load(config.PartAPI | config.PartGateway | config.PartAdmin); without != nil {
					return err
				}
			} else if err != nil {
				return err
			}
			report, err := r.Actions.Doctor(cmd.Context(), cfg, opts)
			if err != nil {
				return err
			}
			if r.output == outputJSON {
				err = r.print(report, "")
			} else {
				err = report.WriteText(r.Stdout, isTerminal(r.Stdout) && r.variable("NO_COLOR", "") == "")
			}
			if err != nil {
				return err
			}
			if report.Problems() > 0 || strict && report.Warnings() > 0 {
				return errFound
			}
			return nil
		},
	}
	data.add(cmd, "check \"tasker dev\", in the directory of --data")
	cmd.Flags().StringArrayVar(&endpoints, "endpoint", nil, "endpoint of this machine, to check its token at the gateway; may be repeated")
	cmd.Flags().BoolVar(&strict, "strict", false, "count warnings as problems")
	return cmd
}
