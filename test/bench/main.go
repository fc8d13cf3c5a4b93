// Command bench measures tasker on real servers, and what RabbitMQ and the
// database can do by themselves in the same run. "make bench" runs it;
// docs/performance.md explains the results.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// options are the parsed flags.
type options struct {
	endpoints  []int
	inFlight   int
	slots      int
	tasks      int           // limit of the throughput phase; 0 means none
	samples    int           // of the latency phase
	duration   time.Duration // of the throughput phase; other phases take fractions of it
	payload    int
	output     string
	memory     bool
	runs       int
	processes  bool
	mode       string
	persistent bool
	any        bool
	fields     map[string]any // further members of each POST
	cpuProfile string
}

// results returns how many results a task has.
func (o *options) results(endpoints int) int {
	if o.any {
		return 1
	}
	return endpoints
}

func main() {
	noop.Program()
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
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("bad command line")

func parse(args []string, stderr io.Writer) (options, error) {
	var opts options
	var counts string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&counts, "endpoints", "2,10,100", "numbers of endpoints, one round each")
	flags.IntVar(&opts.runs, "runs", 3, "runs of each round: tasker, the prototype and the naive daemon take turns")
	flags.BoolVar(
		&opts.processes,
		"processes",
		false,
		"run tasker as a fleet does: an API process, and a manager process for each endpoint",
	)
	flags.StringVar(&opts.mode, "mode", config.ModeDatabase, "mode of the managers with -processes: database or gateway")
	flags.BoolVar(&opts.persistent, "persistent", false,
		"persistent messages: tasker's, as with manager.message_queue.persistent, and all others'")
	flags.BoolVar(&opts.any, "any", false, "each task is for any one of the endpoints; the others share a queue, as workers do")
	flags.Func("fields", `further members of each POST as a JSON object, such as {"priority":5}`, func(text string) error {
		return json.Unmarshal([]byte(text), &opts.fields)
	})
	flags.IntVar(&opts.inFlight, "inflight", 64, "tasks in flight in the throughput phase")
	flags.IntVar(&opts.slots, "slots", 4, "tasks that an endpoint runs at once")
	flags.IntVar(&opts.tasks, "tasks", 20000, "maximum number of tasks in a throughput phase; 0 means only -duration limits it")
	flags.IntVar(&opts.samples, "samples", 300, "maximum number of tasks in a latency phase")
	flags.DurationVar(&opts.duration, "duration", 3*time.Second, "length of a throughput phase; other phases take fractions of it")
	flags.IntVar(&opts.payload, "payload", 1024, "bytes of a task's payload")
	flags.StringVar(&opts.output, "output", "text", "text or json")
	flags.BoolVar(&opts.memory, "memory", true, "build tasker and measure an idle manager's memory")
	flags.StringVar(&opts.cpuProfile, "cpuprofile", "", "write a CPU profile of the last throughput phase to this file")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return opts, err
		}
		return opts, fmt.Errorf("%w: %w", errUsage, err)
	}
	for part := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > 5000 {
			return opts, fmt.Errorf("%w: invalid -endpoints: must be numbers from 1 to 5000, such as 2,10,100", errUsage)
		}
		opts.endpoints = append(opts.endpoints, n)
	}
	if flags.NArg() > 0 {
		return opts, fmt.Errorf("%w: unexpected argument %q", errUsage, flags.Arg(0))
	}
	if err := opts.check(); err != nil {
		return opts, fmt.Errorf("%w: %w", errUsage, err)
	}
	return opts, nil
}

// check returns what is wrong with the options.
func (o *options) check() error {
	switch least := min(o.runs, o.inFlight, o.slots, o.samples); {
	case least < 1 || o.tasks < 0 || o.duration <= 0:
		return errors.New("-runs, -inflight, -slots, -samples and -duration must be positive")
	case o.payload < 16 || o.payload > 1<<19:
		return fmt.Errorf("invalid -payload: must be 16 to %d bytes", 1<<19)
	case o.mode == config.ModeGateway && !o.processes:
		return errors.New("-mode gateway needs -processes")
	case o.output != "text" && o.output != "json":
		return errors.New("invalid -output: must be text or json")
	}
	return daemons.CheckMode(o.mode)
}

// run measures and prints one report. It removes the databases and virtual
// hosts it created, also on errors.
func run(ctx context.Context, opts options, stdout, stderr io.Writer) (err error) {
	progress := func(format string, args ...any) {
		_, _ = fmt.Fprintf(stderr, "bench: "+format+"\n", args...)
	}
	profile, err := newProfile(opts.cpuProfile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profile.close()) }()

	rep := newReport(opts)
	if opts.memory {
		progress("memory of an idle manager")
		if rep.Idle, err = idleManager(ctx); err != nil {
			return fmt.Errorf("idle manager: %w", err)
		}
	}
	b := &bench{opts, profile, progress}
	for _, n := range opts.endpoints {
		r, err := b.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("%d endpoints: %w", n, err)
		}
		rep.Rounds = append(rep.Rounds, r)
	}
	return rep.print(stdout, opts.output)
}

// services is a temporary database and virtual host.
type services struct {
	mysql  string // mysql:// address
	rabbit string // amqp:// address
	drops  []func() error
}

func newServices(ctx context.Context) (*services, error) {
	s := &services{}
	uri, drop, err := testservices.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	s.mysql, s.drops = uri, append(s.drops, drop)
	if uri, drop, err = testservices.CreateVirtualHost(ctx); err != nil {
		return nil, errors.Join(err, s.drop())
	}
	s.rabbit, s.drops = uri, append(s.drops, drop)
	return s, nil
}

// drop deletes both.
func (s *services) drop() error {
	var errs []error
	for _, drop := range s.drops {
		errs = append(errs, drop())
	}
	return errors.Join(errs...)
}

// withServices calls do with a temporary database and virtual host.
func withServices(ctx context.Context, do func(*services) error) (err error) {
	s, err := newServices(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.drop()) }()
	return do(s)
}

// profile is a CPU profile of the last throughput phase: the runtime can write
// only one period to a file.
type profile struct{ file *os.File }

func newProfile(path string) (*profile, error) {
	if path == "" {
		return &profile{}, nil
	}
	f, err := os.Create(path) //nolint:gosec // the path is the caller's to choose
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	return &profile{f}, nil
}

// during profiles do, and discards earlier profiles.
func (p *profile) during(do func() error) error {
	if p.file == nil {
		return do()
	}
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("CPU profile: %w", err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(p.file); err != nil {
		return fmt.Errorf("CPU profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return do()
}

func (p *profile) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}
