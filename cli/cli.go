// Package cli is tasker's command line. Only this package knows cobra.
//
// A command loads the configuration, creates the log and calls one of the
// [Actions], or the API; output goes to stdout, errors and logs to stderr.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/doctor"
	"github.com/taskerhq/tasker/internal/endpointcheck"
	"github.com/taskerhq/tasker/internal/x/text"
)

// The exit codes.
const (
	ExitOK      = 0
	ExitFailure = 1 // the command failed
	ExitUsage   = 2 // the command line or the configuration is invalid, or the task was refused: nothing was started
	// The others are of commands that watch a task. If several apply, it is the highest.
	ExitSomeFailed  = 3 // it failed at some endpoints
	ExitUnaccounted = 4 // nobody knows of some endpoints: missing, lost, or the wait ran out
	ExitHeld        = 5 // it waits for a person
	ExitStopped     = 6 // it was canceled
)

// Actions are what the commands do. They return nil when ctx ends.
type Actions struct {
	RunAPI       func(ctx context.Context, cfg config.Config, opts app.APIOptions, log *slog.Logger) error
	RunManager   func(ctx context.Context, cfg config.Config, opts app.ManagerOptions, log *slog.Logger) error
	RunGateway   func(ctx context.Context, cfg config.Config, opts app.GatewayOptions, log *slog.Logger) error
	RunDev       func(ctx context.Context, cfg config.Config, opts app.DevOptions, log *slog.Logger) error
	InitDatabase func(ctx context.Context, cfg config.Config, opts app.InitOptions) error
	InitRabbitMQ func(ctx context.Context, cfg config.Config, opts app.InitOptions) error
	Doctor       func(ctx context.Context, cfg config.Config, opts app.DoctorOptions) (doctor.Report, error)
	// CheckEndpoint needs no configuration.
	CheckEndpoint func(ctx context.Context, cfg endpointcheck.Config) ([]endpointcheck.Result, error)
}

// Program is the program as it was started.
type Program struct {
	Actions Actions
	Args    []string // without the program's name
	Environ []string // as from os.Environ
	// Stdin is what the user types, or pipes in; nil means nothing.
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Version string
	// Name is the program's name in help and messages; empty means tasker.
	Name string
	// Handlers are those that task types can use; nil means the built-in ones.
	Handlers *handlers.Catalog
	// Daemon, if set, prepares the process for a command that runs until a signal,
	// and returns the requests to reload the configuration.
	Daemon func() <-chan os.Signal
	// Notify, if set, notifies the service manager that a daemon serves or stops;
	// see package sdnotify.
	Notify func(state string) error
}

// Execute runs the command that the arguments name, until it is done or ctx ends,
// and returns the exit code. Errors are printed to stderr.
func Execute(ctx context.Context, p Program) int {
	p.Name = cmp.Or(p.Name, defaultName)
	r := &run{Program: p}
	root := rootCommand(r) //nolint:contextcheck // the commands get ctx from ExecuteContext
	root.SetArgs(p.Args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var ended *endedError
	if !errors.Is(err, errFound) && !errors.Is(err, errMistakes) && !errors.As(err, &ended) {
		_, _ = fmt.Fprintf(text.Lines(p.Stderr), "%s: %v\n", p.Name, err)
	}
	return exitCode(err)
}

// usageError is a wrong command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// errMistakes ends a command that has already printed, to stdout, what is wrong
// with the configuration.
var errMistakes = errors.New("invalid configuration")

// endedError ends a command with an exit code, without a message.
type endedError struct{ code int }

func (e *endedError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// endWith returns the error that ends a command with an exit code.
func endWith(code int) error {
	if code == ExitOK {
		return nil
	}
	return &endedError{code}
}

func exitCode(err error) int {
	var usage *usageError
	var wrong *config.Error
	if ended, ok := errors.AsType[*endedError](err); ok {
		return ended.code
	}
	if i, ok := errors.AsType[*Interrupted](err); ok {
		return i.code()
	}
	if errors.Is(err, errMistakes) || errors.As(err, &usage) || errors.As(err, &wrong) || tasker.CodeOf(err) == tasker.Invalid {
		return ExitUsage
	}
	return ExitFailure
}

// run is one execution: the program, and the flags that all commands have.
type run struct {
	Program
	mode, dir, output, logLevel, color string
	noPager                            bool

	level slog.LevelVar // of the log

	typing sync.Once     // sets lines
	lines  <-chan string // see [run.typed]
}

// defaultName is the default of Program.Name.
const defaultName = "tasker"

// suggestionDistance is by how many letters a mistyped command may differ.
const suggestionDistance = 2

const rootLong = `tasker distributes tasks: you POST a task, every subscribed endpoint runs it and
records its own result, and one GET returns the results of all of them.

Start with "tasker dev": an API and two endpoints in one process, with nothing to
install. In production RabbitMQ and MySQL connect "tasker api" with a "tasker
manager" on each endpoint.

Run a task with "tasker run", and follow it with "tasker watch" and "tasker show".

Exit codes:
  0    success
  1    failure
  2    invalid command line or configuration, or refused; nothing was started
  3-6  of commands that watch a task: see "tasker help exit-codes"

Environment:
  TASKER_MODE, TASKER_CONFIG  defaults of --mode and --config
  TASKER_...                  overrides a key of the configuration, such as
                              TASKER_API_PORT for api.port`

func rootCommand(r *run) *cobra.Command {
	root := &cobra.Command{
		Use:           r.Name,
		Short:         "A RabbitMQ fan-out task distributor",
		Long:          rootLong,
		Version:       r.Version,
		Example:       "  tasker dev\n  tasker api --mode production --config /etc/tasker",
		SilenceErrors: true, // Execute prints them
		SilenceUsage:  true,
		Args:          r.noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return r.checkOutput(cmd)
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = suggestionDistance
	flags := root.PersistentFlags()
	flags.StringVar(&r.mode, "mode", r.variable(config.EnvMode, config.DefaultMode),
		"run mode, development or production: selects the file <mode>.config.yaml ("+config.EnvMode+")")
	flags.StringVar(&r.dir, "config", r.variable(config.EnvDir, ""),
		"directory of the configuration files (default ./config; "+config.EnvDir+")")
	flags.StringVar(&r.output, "output", outputText, "output format: text or json; some commands have more")
	flags.StringVar(&r.color, "color", colorAuto, "auto, always or never; NO_COLOR and CLICOLOR_FORCE are respected")
	flags.StringVar(&r.logLevel, "log-level", "", "debug, info, warn or error; overrides log.level")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v%s (see %s --help)", err, nearestFlag(cmd, err), cmd.CommandPath())
	})
	root.AddCommand(
		apiCommand(r), managerCommand(r), gatewayCommand(r), initializeCommand(r), devCommand(r), doctorCommand(r),
		runCommand(r), signCommand(r), watchCommand(r), showCommand(r), logsCommand(r), listCommand(r), typesCommand(r), exitCodesTopic(),
		cancelCommand(r), retryCommand(r), pauseCommand(r), resumeCommand(r), approveCommand(r), schedulesCommand(r),
		endpointsCommand(r), endpointCheckCommand(r), deadLettersCommand(r), loginCommand(r), contextCommand(r), configCommand(r),
		authCommand(r), versionCommand(r),
	)
	r.completeRoot(root)
	r.rename(root)
	return root
}

// noSuchCommand rejects arguments of a command that has subcommands.
func (r *run) noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += fmt.Sprintf("; did you mean %s?", near[0])
	}
	return usagef("%s (see %s --help)", message, cmd.CommandPath())
}

// noArguments rejects arguments of a command that takes none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q: %s takes none (see %s --help)", args[0], cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}
