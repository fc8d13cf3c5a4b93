// Command bench measures tasker on the real services beside what RabbitMQ and
// the database can do by themselves in the same run; make bench runs it. What
// the figures mean is in docs/performance.md.
package main

import (
	"context"
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

	"github.com/taskerhq/tasker/internal/testservices"
)

// options are what the command line says.
type options struct {
	endpoints  []int
	inFlight   int
	slots      int
	tasks      int           // bounds the throughput phase; 0 is no bound
	samples    int           // of latency
	duration   time.Duration // of the throughput phase; others are fractions of it
	payload    int
	output     string
	memory     bool
	cpuProfile string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
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
	flags.StringVar(&counts, "endpoints", "2,10,100", "numbers of endpoints, each a round of its own")
	flags.IntVar(&opts.inFlight, "inflight", 64, "tasks in flight while throughput is measured")
	flags.IntVar(&opts.slots, "slots", 4, "tasks that an endpoint runs at once; tasker's default is 4")
	flags.IntVar(&opts.tasks, "tasks", 20000, "most tasks of a throughput phase; 0 bounds it by -duration alone")
	flags.IntVar(&opts.samples, "samples", 300, "most tasks of a latency phase, which lasts for -duration at most")
	flags.DurationVar(&opts.duration, "duration", 8*time.Second, "length of a throughput phase; a ceiling gets half of it")
	flags.IntVar(&opts.payload, "payload", 1024, "bytes of a task's payload")
	flags.StringVar(&opts.output, "output", "text", "text or json")
	flags.BoolVar(&opts.memory, "memory", true, "measure an idle manager's memory, for which tasker is built")
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
			return opts, fmt.Errorf("%w: -endpoints takes numbers from 1 to 5000, such as 2,10,100", errUsage)
		}
		opts.endpoints = append(opts.endpoints, n)
	}
	switch {
	case flags.NArg() > 0:
		return opts, fmt.Errorf("%w: unexpected %q", errUsage, flags.Arg(0))
	case opts.inFlight < 1 || opts.slots < 1 || opts.samples < 1 || opts.tasks < 0 || opts.duration <= 0:
		return opts, fmt.Errorf("%w: -inflight, -slots, -samples and -duration must be positive", errUsage)
	case opts.payload < 16 || opts.payload > 1<<19:
		return opts, fmt.Errorf("%w: -payload takes 16 to %d bytes", errUsage, 1<<19)
	case opts.output != "text" && opts.output != "json":
		return opts, fmt.Errorf("%w: -output is text or json", errUsage)
	}
	return opts, nil
}

// run measures and prints one report. It removes what it made, also where it
// ends early.
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
	for _, n := range opts.endpoints {
		r, err := measure(ctx, opts, n, profile, progress)
		if err != nil {
			return fmt.Errorf("%d endpoints: %w", n, err)
		}
		rep.Rounds = append(rep.Rounds, r)
	}
	return rep.print(stdout, opts.output)
}

// services are a database and a virtual host of their own.
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

// drop removes both.
func (s *services) drop() error {
	var errs []error
	for _, drop := range s.drops {
		errs = append(errs, drop())
	}
	return errors.Join(errs...)
}

// withServices gives do services of its own.
func withServices(ctx context.Context, do func(*services) error) (err error) {
	s, err := newServices(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.drop()) }()
	return do(s)
}

// profile is a CPU profile. The runtime can write one stretch only, so it is
// that of the last throughput phase.
type profile struct{ file *os.File }

func newProfile(path string) (*profile, error) {
	if path == "" {
		return &profile{}, nil
	}
	f, err := os.Create(path) //nolint:gosec // the path is the caller's to choose
	if err != nil {
		return nil, fmt.Errorf("the CPU profile: %w", err)
	}
	return &profile{f}, nil
}

// during profiles do, and forgets what was profiled before.
func (p *profile) during(do func() error) error {
	if p.file == nil {
		return do()
	}
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("the CPU profile: %w", err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("the CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(p.file); err != nil {
		return fmt.Errorf("the CPU profile: %w", err)
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
