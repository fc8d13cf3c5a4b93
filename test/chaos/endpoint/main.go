// The endpoint program of the chaos command: tasker, with the handlers of
// package work. It is also the program that one of them runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/test/chaos/work"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == work.ProgramArgument {
		if err := work.RunProgram(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Execute(ctx, cli.Program{
		Actions: cli.Actions{RunManager: runManager},
		Args:    os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Version: "chaos",
	}))
}

func runManager(ctx context.Context, cfg config.Config, opts app.ManagerOptions, log *slog.Logger) error {
	dir := os.Getenv(work.JournalVariable)
	if dir == "" {
		return errors.New(work.JournalVariable + " is not set")
	}
	registry, err := work.Registry(dir)
	if err != nil {
		return err
	}
	return app.RunManagerWith(ctx, cfg, registry, opts, log)
}
