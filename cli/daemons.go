package cli

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/x/sdnotify"
	"github.com/taskerhq/tasker/internal/x/text"
)

func apiCommand(r *run) *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:   "api",
		Short: "Serve the HTTP API",
		Long: `Serve the HTTP API, on the address of api.listen and api.port, until SIGINT or
SIGTERM; requests in progress then have api.shutdown_timeout to finish. A second
signal ends it at once.

The API process also runs the background loops: it sends the tasks that RabbitMQ
could not accept, detects late and lost endpoints, and computes the status of
tasks. With gateway.listen it serves the gateway, too, for managers without access
to the database. Several API processes may run at once.

SIGHUP, or a change of the file, reloads the configuration: task types and the
log level change at once.`,
		Example: `  tasker api
  tasker api --port 9000
  tasker api --mode production --config /etc/tasker`,
		Args:    noArguments,
		PreRunE: keepPrivate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := r.load(config.PartAdmin|config.PartManager, portFlag(cmd, port)...)
			if err != nil {
				return err
			}
			log := r.daemonLog(cmd, cfg)
			ready := r.readiness(cmd.Context(), log)
			opts := app.APIOptions{Version: r.Version, Ready: func(string) { ready() }, Reload: r.reload()}
			return r.Actions.RunAPI(cmd.Context(), cfg, opts, log)
		},
	}
	addPort(cmd, &port)
	return cmd
}

func gatewayCommand(r *run) *cobra.Command {
	return &cobra.Command{
		Use:   "gateway",
		Short: "Serve the gateway for managers without access to the database",
		Long: `Serve the gateway alone, on the address of gateway.listen, until SIGINT or SIGTERM;
requests in progress then have 15 s to finish. Managers whose mode is gateway
store at the gateway what they do, each with the token of its endpoint, which
"tasker endpoints add" prints. An API process serves the gateway as well if
gateway.listen is set. Several may run at once: managers have a list of addresses.

GET /healthz and /readyz on the same address are for probes.

The gateway's certificate is read again when its files change.`,
		Example: "  tasker gateway --mode production --config /etc/tasker",
		Args:    noArguments,
		PreRunE: keepPrivate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := r.load(config.PartAPI | config.PartAdmin | config.PartManager)
			if err != nil {
				return err
			}
			log := r.daemonLog(cmd, cfg)
			ready := r.readiness(cmd.Context(), log)
			opts := app.GatewayOptions{Version: r.Version, Ready: func(string) { ready() }, Reload: r.reload()}
			return r.Actions.RunGateway(cmd.Context(), cfg, opts, log)
		},
	}
}

func addPort(cmd *cobra.Command, port *int) {
	cmd.Flags().IntVar(port, "port", 8888, "port of the API; 0 picks a free one; overrides api.port")
}

// portFlag returns the port if the command line names one.
func portFlag(cmd *cobra.Command, port int) []config.Flag {
	if !cmd.Flags().Changed("port") {
		return nil
	}
	return []config.Flag{{Name: "--port", Key: "api.port", Value: strconv.Itoa(port)}}
}

// daemonLog returns the log of a daemon, after it has logged the configuration's
// warnings.
func (r *run) daemonLog(cmd *cobra.Command, cfg config.Config) *slog.Logger {
	log := r.logger(cfg.Log)
	for _, warning := range cfg.Warnings() {
		log.WarnContext(cmd.Context(), "configuration warning", "warning", warning)
	}
	return log
}

const managerLong = `Perform the tasks of one endpoint, until SIGINT or SIGTERM. Then it accepts no
more tasks, and running ones have manager.shutdown_timeout to finish; the next
manager of this endpoint runs the interrupted ones again. A second signal ends it
at once.

With manager.mode: gateway the manager needs no access to the database: it stores
what it does at the gateway of manager.gateway, with the token of its endpoint,
which "tasker endpoints add" prints.

An endpoint has one manager at a time: a second one with the same name is
rejected while the first one is alive. For development, one manager may serve
several endpoints.

Task types may require labels: a manager that lacks one skips those types.

An endpoint stays registered when its manager ends, so that tasks for all
endpoints include it and wait for it. With --forget, for machines that come and
go, the manager removes its endpoints when it ends on SIGINT or SIGTERM: neither
later tasks for all endpoints nor the open ones expect them any more. Tasks that
they have not begun, or that wait for another attempt, are canceled there. Their
queues are deleted, with all messages. An endpoint stays registered nevertheless
if one of its handlers was interrupted, awaits a reboot, or has a result that
could not be stored; the log says so. Do not use --forget for restarts.

SIGHUP, or a change of the file, reloads the configuration: task types, the
settings of handlers and the log level change at once.`

func managerCommand(r *run) *cobra.Command {
	var endpoints, taskTypes, labels []string
	var forget bool
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Perform tasks as an endpoint",
		Long:  managerLong,
		Example: `  tasker manager --endpoint console1
  tasker manager --endpoint console1 --label role=web --label zone=eu
  tasker manager --endpoint console1 --task-type worker --task-type backup
  tasker manager --endpoint "$(hostname -s)" --forget
  tasker manager --endpoint "$(hostname -s)" --mode production --config /etc/tasker`,
		Args:    noArguments,
		PreRunE: keepPrivate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkEndpoints(endpoints); err != nil {
				return err
			}
			var flags []config.Flag
			if len(labels) > 0 {
				flags = append(flags, config.Flag{Name: "--label", Key: "manager.labels", Value: strings.Join(labels, ",")})
			}
			cfg, err := r.load(config.PartAPI|config.PartGateway|config.PartAdmin, flags...)
			if err != nil {
				return err
			}
			if err := cfg.CheckEndpoints(endpoints); err != nil {
				return err
			}
			if err := checkTaskTypes(cfg, taskTypes); err != nil {
				return err
			}
			log := r.daemonLog(cmd, cfg)
			opts := app.ManagerOptions{
				Endpoints: endpoints, TaskTypes: taskTypes, Forget: forget, Version: r.Version,
				Ready: r.readiness(cmd.Context(), log), Reload: r.reload(),
			}
			return r.Actions.RunManager(cmd.Context(), cfg, opts, log)
		},
	}
	cmd.Flags().StringArrayVar(&endpoints, "endpoint", nil, "name of the endpoint to serve; may be repeated")
	cmd.Flags().StringArrayVar(&taskTypes, "task-type", nil, "task type to perform; may be repeated (default all configured types)")
	complete(cmd, "task-type", r.taskTypes)
	complete(cmd, "endpoint", func() []string { return nil })
	cmd.Flags().StringArrayVar(&labels, "label", nil, "label of the endpoint, such as role=web; may be repeated; overrides manager.labels")
	cmd.Flags().BoolVar(&forget, "forget", false,
		"remove the endpoints when the manager ends: no task expects them any more, and tasks that they have not begun are canceled")
	return cmd
}

// readiness returns a function that a daemon calls once it serves. It notifies the
// service manager, if there is one, then and when the daemon begins to stop.
func (r *run) readiness(ctx context.Context, log *slog.Logger) func() {
	notify := func(state string) {
		if r.Notify == nil {
			return
		}
		if err := r.Notify(state); err != nil {
			log.WarnContext(ctx, "notify service manager failed", "state", state, "err", err)
		}
	}
	context.AfterFunc(ctx, func() { notify(sdnotify.Stopping) })
	return func() { notify(sdnotify.Ready) }
}

func checkEndpoints(endpoints []string) error {
	if len(endpoints) == 0 {
		return usagef(`missing --endpoint: name the endpoint to serve, such as --endpoint console1 or --endpoint "$(hostname -s)"`)
	}
	for i, name := range endpoints {
		if err := tasker.ValidateEndpoint(name); err != nil {
			return usagef("--endpoint: %v", err)
		}
		if slices.Contains(endpoints[:i], name) {
			return usagef("duplicate --endpoint %s", name)
		}
	}
	return nil
}

func checkTaskTypes(cfg config.Config, names []string) error {
	if _, err := cfg.Choose(names); err != nil {
		return usagef("--task-type: %v", err)
	}
	return nil
}

// devWithout are the parts of the configuration that "tasker dev" does not use.
const devWithout = config.PartDatabase | config.PartBroker | config.PartAdmin | config.PartGateway | config.PartManager

func devCommand(r *run) *cobra.Command {
	var data string
	var ephemeral bool
	var port int
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run all of tasker in one process, with nothing to install",
		Long: `Run the API and the endpoints console1 and console2, which perform every
configured task type, in one process, with SQLite in place of MySQL and an
in-process broker in place of RabbitMQ. The rest is as in production.

The data is kept in the directory of --data; with --ephemeral it is deleted at
the end. Only one process at a time can use a directory.`,
		Example: `  tasker dev
  tasker dev --ephemeral --port 9000`,
		Args:    noArguments,
		PreRunE: keepPrivate,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ephemeral && cmd.Flags().Changed("data") {
				return usagef("--data and --ephemeral exclude each other")
			}
			if data == "" && !ephemeral {
				return usagef("empty --data: name a directory, or use --ephemeral")
			}
			cfg, err := r.load(devWithout, portFlag(cmd, port)...)
			if err != nil {
				return err
			}
			opts := app.DevOptions{
				DataDir: data, Ephemeral: ephemeral, Out: text.Lines(r.Stdout), Version: r.Version, Program: r.Name, Reload: r.reload(),
			}
			if ephemeral {
				opts.DataDir = ""
			}
			return r.Actions.RunDev(cmd.Context(), cfg, opts, r.daemonLog(cmd, cfg))
		},
	}
	cmd.Flags().StringVar(&data, "data", defaultData, "directory for the data")
	cmd.Flags().BoolVar(&ephemeral, "ephemeral", false, "keep no data")
	_ = cmd.MarkFlagDirname("data") // the flag exists
	addPort(cmd, &port)
	return cmd
}
