package cli

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker/internal/endpointcheck"
	"github.com/taskerhq/tasker/internal/x/text"
)

const endpointCheckLong = `Check an endpoint, in whatever language it is written, against docs/protocol.md.
The command plays tasker's side: a gateway on loopback, with a database in a
temporary file, and messages over RabbitMQ, in a virtual host that nobody else
uses. It disturbs the endpoint in every way that the protocol allows for, and
prints a line for each check: what was expected, and what was seen.

COMMAND starts the endpoint. In its arguments {endpoint}, {task_type}, {gateway},
{token_file} and {rabbitmq} are replaced. It is killed and started again, always
in the same directory. Without a command, start the endpoint yourself: what needs
a kill is left out.

The endpoint performs the task type of --task-type like this, at least two at
once: it adds a line to the file that the payload names as "file", waits as many
milliseconds as "ms" says, and returns the payload, unchanged, as its result.

The exit code is 0 if no check failed, 1 if one did.`

func endpointCheckCommand(r *run) *cobra.Command {
	const envRabbitMQ = "ENDPOINT_CHECK_RABBITMQ"
	var cfg endpointcheck.Config
	var verbose bool
	cmd := &cobra.Command{
		Use:   "endpoint-check [flags] [-- COMMAND [ARG...]]",
		Short: "Check an endpoint in any language against the protocol",
		Long:  endpointCheckLong,
		Example: `  tasker endpoint-check --rabbitmq amqp://tasker:secret@localhost/check -- \
    env TASKER_ENDPOINT={endpoint} TASKER_GATEWAY={gateway} TASKER_TOKEN_FILE={token_file} \
    TASKER_RABBITMQ={rabbitmq} node $PWD/endpoint.js $PWD/handlers.js
  tasker endpoint-check --endpoint mine --listen 127.0.0.1:8889 --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.RabbitMQ == "" {
				return usagef("no RabbitMQ: name a virtual host that nobody else uses with --rabbitmq or %s", envRabbitMQ)
			}
			cfg.Command, cfg.Environ, cfg.Log = args, r.Environ, io.Discard
			if verbose {
				cfg.Log = text.Lines(r.Stderr)
			}
			cfg.Started = func(s endpointcheck.Setup) {
				if len(args) == 0 {
					_, _ = fmt.Fprintf(text.Lines(r.Stderr), "start the endpoint %s for the task type %s: gateway %s, token in %s\n",
						s.Endpoint, s.TaskType, s.Gateway, s.TokenFile)
				}
			}
			if r.output == outputText {
				cfg.Report = func(c endpointcheck.Result) { _ = r.print(nil, checkLine(c)) }
			}
			results, err := r.Actions.CheckEndpoint(cmd.Context(), cfg)
			if r.output == outputJSON && (err == nil || len(results) > 0) {
				if err := r.print(map[string]any{"checks": results}, ""); err != nil {
					return err
				}
			}
			failed := func(c endpointcheck.Result) bool { return c.Outcome == endpointcheck.Failed }
			if err == nil && slices.ContainsFunc(results, failed) {
				err = errFound
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.RabbitMQ, "rabbitmq", r.variable(envRabbitMQ, ""),
		"address of an unused virtual host of RabbitMQ ("+envRabbitMQ+")")
	flags.StringVar(&cfg.Endpoint, "endpoint", "check1", "name of the endpoint")
	flags.StringVar(&cfg.TaskType, "task-type", "check", "task type that the endpoint performs")
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "loopback address of the gateway")
	flags.DurationVar(&cfg.Patience, "patience", 30*time.Second, "how long the endpoint may take for each step")
	flags.BoolVar(&verbose, "verbose", false, "print the output of the endpoint, to standard error")
	return cmd
}

// checkLine returns the result of a check as a line.
func checkLine(c endpointcheck.Result) string {
	return fmt.Sprintf("%-7s %s: expected %s; seen: %s\n", c.Outcome, c.Check, c.Expected, c.Seen)
}
