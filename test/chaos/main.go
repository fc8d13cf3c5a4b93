// The chaos command tests tasker under faults: it runs the real programs on
// real servers, injects faults while clients use them, and compares the outcome
// with the promises of docs/guarantees.md. "make chaos" runs it in its own
// directory, as it requires.
//
// Exit codes: 0 if every promise was kept, 1 if one was broken or a run could
// not be completed, 2 for a wrong command line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are the parsed flags.
type settings struct {
	length    time.Duration
	seed      uint64
	tasks     int
	seeds     int
	keepGoing bool
	json      bool
	keep      bool
	race      bool
}

// tasksPerSecond is the default load: with tasks for all, about 55 runs per
// second.
const tasksPerSecond = 8

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once, and its children with it.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	var output string
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&s.length, "duration", 3*time.Minute, "duration of load and faults, without the time to settle")
	flags.Uint64Var(&s.seed, "seed", 0, "seed of the faults and the tasks; 0 means random")
	flags.IntVar(&s.tasks, "tasks", 0, fmt.Sprintf("number of tasks; 0 means %d per second", tasksPerSecond))
	flags.IntVar(&s.seeds, "seeds", 1, "number of runs, with consecutive seeds")
	flags.BoolVar(&s.keepGoing, "keep-going", false, "continue after a run with a violation")
	flags.StringVar(&output, "output", "text", "text or json")
	flags.BoolVar(&s.keep, "keep", false, "keep logs, journals and the history even if no promise was broken")
	flags.BoolVar(&s.race, "race", false, "build the programs with the race detector")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.json = output == "json"
	wrong := ""
	switch {
	case flags.NArg() > 0:
		wrong = fmt.Sprintf("unexpected argument %q", flags.Arg(0))
	case output != "json" && output != "text":
		wrong = fmt.Sprintf("invalid -output %q: must be text or json", output)
	case s.length < 5*time.Second:
		wrong = fmt.Sprintf("invalid -duration %v: must be at least 5s", s.length)
	case s.tasks < 0 || s.seeds < 1:
		wrong = "invalid -tasks or -seeds: must be positive"
	}
	if wrong != "" {
		_, _ = fmt.Fprintln(stderr, "chaos:", wrong)
		return s, errors.New(wrong)
	}
	if s.seed == 0 {
		s.seed = rand.Uint64N(1_000_000_000) + 1
	}
	if s.tasks == 0 {
		s.tasks = int(s.length.Seconds() * tasksPerSecond)
	}
	return s, nil
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := runAll(ctx, s, stdout, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, "chaos:", err)
		return 1
	}
	return 0
}

var errViolated = errors.New("promise broken")

func runAll(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	bin, err := os.MkdirTemp("", "tasker-chaos-bin-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(bin) }()
	programs, err := build(ctx, bin, s.race)
	if err != nil {
		return err
	}
	var all error
	for i := range s.seeds {
		dir, err := os.MkdirTemp("", "tasker-chaos-")
		if err != nil {
			return err
		}
		o := options{seed: s.seed + uint64(i), length: s.length, tasks: s.tasks, dir: dir}
		err = runOne(ctx, s, o, programs, stdout, stderr)
		if err == nil && !s.keep {
			err = os.RemoveAll(dir)
		} else {
			_, _ = fmt.Fprintf(stderr, "chaos: seed %d: logs, journals and the history are in %s\n", o.seed, dir)
		}
		all = errors.Join(all, err)
		if err != nil && !s.keepGoing || ctx.Err() != nil {
			break
		}
	}
	return all
}

// runOne executes one run and prints its report.
func runOne(ctx context.Context, s settings, o options, p programs, stdout, stderr io.Writer) error {
	_, _ = fmt.Fprintf(stderr, "chaos: seed %d: %v with %d tasks\n", o.seed, o.length, o.tasks)
	rep, err := perform(ctx, o, p, stderr)
	if err != nil {
		err = fmt.Errorf("seed %d: run not completed: %w", o.seed, err)
		if rep.Seed == 0 {
			return err
		}
	}
	if s.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(rep))
	} else {
		err = errors.Join(err, rep.write(stdout))
	}
	if n := len(rep.Violations); n > 0 {
		err = errors.Join(err, fmt.Errorf("seed %d: %w: %d violations", o.seed, errViolated, n))
	}
	return err
}
