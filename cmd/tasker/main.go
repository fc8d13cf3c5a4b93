// The tasker program: see "tasker --help".
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/taskerhq/tasker/cli"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// version is set by the build (-ldflags "-X main.version=1.2.3").
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Execute(ctx, cli.Program{
		Actions: cli.Actions{
			RunAPI: app.RunAPI, RunManager: app.RunManager, RunDev: app.RunDev,
			InitDatabase: app.InitDatabase, InitRabbitMQ: app.InitRabbitMQ, Doctor: app.Doctor,
			OpenDeadLetters: func(ctx context.Context, cfg config.Config, log *slog.Logger) (cli.DeadLetters, error) {
				return app.OpenDeadLetters(ctx, cfg, log)
			},
		},
		Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Version: buildVersion(),
	}))
}

// buildVersion gives the version of the build, or of the module where it was
// installed with go install, or that of a development build.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}
