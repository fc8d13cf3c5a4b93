// Command fleet runs tasker at the size of a fleet: real API processes, RabbitMQ and
// MariaDB, and thousands of endpoints, which a few processes simulate with the real
// manager, beside some real manager processes. "make fleet" runs it;
// docs/performance.md explains the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// options are the parsed flags.
type options struct {
	endpoints    int
	mode         string
	apis         int
	real         int // manager processes; -1 means one endpoint in a hundred
	perManager   int // endpoints of a simulated manager; 0 means that it depends on the number of endpoints
	perSimulator int // endpoints of a process
	tasks        int
	inFlight     int
	load         time.Duration
	slots        int
	payload      int
	idle         time.Duration
	late         time.Duration
	ready        time.Duration
	limit        time.Duration
	restart      bool
	dir          string
	profile      bool
	output       string
}

func main() {
	noop.Program()
	simulator()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	opts, err := parse(os.Args[1:], os.Stderr)
	if err == nil {
		err = run(ctx, opts, os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(2)
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "fleet: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("bad command line")

func parse(args []string, stderr io.Writer) (options, error) {
	opts, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return opts, err
	case err == nil:
		err = opts.complete()
	}
	if err == nil {
		err = opts.check()
	}
	if err != nil {
		return opts, fmt.Errorf("%w: %w", errUsage, err)
	}
	return opts, nil
}

func parseFlags(args []string, stderr io.Writer) (opts options, err error) {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&opts.endpoints, "endpoints", 1000, "number of endpoints")
	flags.StringVar(&opts.mode, "mode", config.ModeDatabase, "mode of the managers: database or gateway")
	flags.IntVar(&opts.apis, "apis", 1, "number of API processes")
	flags.IntVar(&opts.real, "real", -1, "endpoints with a manager process of their own; -1 means one in a hundred, 20 at most")
	flags.IntVar(&opts.perManager, "per-manager", 0,
		"endpoints of each simulated manager; 0 means so many that there are 200 managers at most, over the gateway 2000")
	flags.IntVar(&opts.perSimulator, "per-simulator", 2000, "endpoints of each simulating process")
	flags.IntVar(&opts.tasks, "tasks", 10, "tasks to all endpoints, one after another")
	flags.IntVar(&opts.inFlight, "inflight", 8, "tasks in flight in the load phase")
	flags.DurationVar(&opts.load, "load", 0, "length of a load phase with many tasks at once; 0 means none")
	flags.IntVar(&opts.slots, "slots", 4, "tasks that an endpoint runs at once")
	flags.IntVar(&opts.payload, "payload", 1024, "bytes of a task's payload")
	flags.DurationVar(&opts.idle, "idle", 20*time.Second, "how long the idle fleet is measured")
	flags.DurationVar(&opts.late, "late", time.Minute, "a task is late if its results are not all stored after so long")
	flags.DurationVar(&opts.ready, "ready", 5*time.Minute, "the endpoints are late if not all consume after so long")
	flags.DurationVar(&opts.limit, "limit", 10*time.Minute, "limit of the whole run")
	flags.BoolVar(&opts.restart, "restart", false, "restart RabbitMQ, and measure how long the endpoints take to return")
	flags.StringVar(&opts.dir, "dir", "", "keep the files of all processes, with their logs, in this new directory")
	flags.BoolVar(&opts.profile, "profile", false, "write a CPU profile of each process into the directory")
	flags.StringVar(&opts.output, "output", "text", "text or json")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if flags.NArg() > 0 {
		return opts, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return opts, nil
}

// complete sets what depends on other options.
func (o *options) complete() error {
	if o.dir != "" {
		dir, err := filepath.Abs(o.dir)
		if err != nil {
			return fmt.Errorf("invalid -dir: %w", err)
		}
		o.dir = dir
	}
	if o.real < 0 {
		o.real = min((o.endpoints+99)/100, 20)
	}
	if o.perManager == 0 {
		most := 200
		if o.mode == config.ModeGateway {
			most = 2000
		}
		o.perManager = (o.endpoints + most - 1) / most
	}
	return nil
}

// check returns what is wrong with the options.
func (o *options) check() error {
	switch least := min(o.apis, o.perManager, o.perSimulator, o.tasks, o.slots, o.inFlight); {
	case o.endpoints < 1 || o.endpoints > 20_000:
		return errors.New("invalid -endpoints: must be 1 to 20000")
	case o.profile && o.dir == "":
		return errors.New("-profile needs -dir")
	case o.real > o.endpoints:
		return fmt.Errorf("invalid -real: there are only %d endpoints", o.endpoints)
	case least < 1:
		return errors.New("-apis, -per-manager, -per-simulator, -tasks, -slots and -inflight must be positive")
	case min(o.idle, o.load) < 0 || min(o.late, o.ready, o.limit) <= 0:
		return errors.New("-late, -ready and -limit must be positive, -idle and -load not negative")
	case o.payload < 16 || o.payload > 1<<19:
		return fmt.Errorf("invalid -payload: must be 16 to %d bytes", 1<<19)
	case o.output != "text" && o.output != "json":
		return errors.New("invalid -output: must be text or json")
	}
	return daemons.CheckMode(o.mode)
}
