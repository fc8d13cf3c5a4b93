// Package noop is the work of the bench and fleet commands: a task type whose
// handler does nothing and returns a result of its own.
package noop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strconv"
	"syscall"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/app"
)

// Type is the task type.
const Type = "noop"

// Types returns the variable that configures the type with a number of slots. The
// configuration requires an existing handler; [Registry] replaces it.
func Types(slots int) string {
	return fmt.Sprintf("TASKER_TASK_TYPES=[{name: %s, handler: worker, concurrency: %d}]", Type, slots)
}

// Result returns the payload of a result. It differs for each, as those of real
// handlers do: equal ones would be stored by a cheaper statement.
func Result(taskID int64, endpoint string) json.RawMessage {
	sum := sha256.Sum256([]byte(endpoint + strconv.FormatInt(taskID, 10)))
	return json.RawMessage(`{"endpoint":"` + endpoint + `","task":` + strconv.FormatInt(taskID, 10) +
		`,"sum":"` + hex.EncodeToString(sum[:]) + `"}`)
}

// Registry returns the handler.
func Registry() (*handlers.Registry, error) {
	registry := handlers.NewRegistry()
	err := registry.Register(Type, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		return handlers.Result(Result(req.TaskID, req.Endpoint)), nil
	}))
	return registry, err
}

// Command is the first argument with which a program that calls [Program] is
// tasker.
const Command = "tasker"

// Program makes this process the tasker program, with the handler of this package,
// and ends it, if the first argument is [Command].
func Program() {
	if len(os.Args) < 2 || os.Args[1] != Command {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	profiled := Profile()
	code := cli.Execute(ctx, cli.Program{
		Actions: cli.Actions{RunAPI: app.RunAPI, RunManager: runManager, InitDatabase: app.InitDatabase},
		Args:    os.Args[2:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Version: "noop",
	})
	profiled()
	os.Exit(code)
}

// EnvProfile is the file for a CPU profile of this process.
const EnvProfile = "NOOP_PROFILE"

// Profile starts a CPU profile if the environment asks for one, and returns a function
// that ends it.
func Profile() (end func()) {
	path := os.Getenv(EnvProfile)
	if path == "" {
		return func() {}
	}
	f, err := os.Create(path) //nolint:gosec // whoever starts the process chooses it
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "CPU profile:", err)
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}
}

func runManager(ctx context.Context, cfg config.Config, opts app.ManagerOptions, log *slog.Logger) error {
	registry, err := Registry()
	if err != nil {
		return err
	}
	return app.RunManagerWith(ctx, cfg, registry, opts, log)
}
