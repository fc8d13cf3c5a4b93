package cli

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/endpointcheck"
	"github.com/taskerhq/tasker/internal/x/sdnotify"
)

// Main is the whole tasker program, with the handlers of a catalog: those that the
// task types of a configuration can use. It takes the arguments of the process and
// ends it. An empty version means that of the build.
//
// To build a daemon with your own handlers, fill a catalog and call Main.
func Main(catalog *handlers.Catalog, version string) {
	if code, ok := asInit(); ok {
		os.Exit(code)
	}
	systemd := sdnotify.FromEnvironment()
	ctx, stop := untilSignal(signalsTogether)
	os.Exit(Execute(ctx, Program{
		Actions: Actions{
			RunAPI: app.RunAPI, RunManager: app.RunManager, RunGateway: app.RunGateway, RunDev: app.RunDev,
			InitDatabase: app.InitDatabase, InitRabbitMQ: app.InitRabbitMQ, Doctor: app.Doctor, CheckEndpoint: endpointcheck.Run,
		},
		Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Version: buildVersion(version), Handlers: catalog, Name: filepath.Base(os.Args[0]),
		Daemon: func() <-chan os.Signal {
			surviveBrokenPipes()
			return hangups(stop)
		},
		Notify: systemd.Notify,
	}))
}

// surviveBrokenPipes keeps the process alive if the reader of its log disappears: a
// daemon must not end, and interrupt handlers, because its log cannot be written.
// The signal is caught and not ignored, so that the programs of handlers start with
// its default.
func surviveBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// hangups returns a channel of SIGHUPs, for as long as the process lives. If one
// comes because the terminal of the process was closed, it calls end, as for any
// other program.
func hangups(end func()) <-chan os.Signal {
	signals, asked := make(chan os.Signal, 1), make(chan os.Signal, 1)
	terminal := isTerminal(os.Stdin)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for s := range signals {
			if terminal && !isTerminal(os.Stdin) {
				end()
			}
			select {
			case asked <- s:
			default: // one is pending
			}
		}
	}()
	return asked
}

// buildVersion returns the version, or that of the module if it was installed with
// go install, or "development".
func buildVersion(version string) string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}
