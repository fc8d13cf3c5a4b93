package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/taskerhq/tasker/test/chaos/work"
	"github.com/taskerhq/tasker/test/promises"
)

// options configure one run.
type options struct {
	seed   uint64
	length time.Duration // duration of load and faults
	tasks  int
	dir    string // for all files of the run
}

const (
	startTimeout = 2 * time.Minute
	restTimeout  = 90 * time.Second
)

// run is a run in progress.
type run struct {
	options
	system  *system
	nemesis *nemesis
	clients *clients
	log     io.Writer // events, with times
	logBusy sync.Mutex
	say     io.Writer // progress
}

// perform executes one run and returns its report. On an error the run was not
// completed and proves nothing.
func perform(ctx context.Context, o options, p programs, say io.Writer) (rep report, err error) {
	r := &run{options: o, say: say}
	log, err := os.Create(filepath.Join(o.dir, "chaos.log"))
	if err != nil {
		return report{}, err
	}
	defer func() { _ = log.Close() }()
	r.log = log
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r.system, err = newSystem(starting, o.dir, p)
	defer r.system.close()
	if err != nil {
		return report{}, fmt.Errorf("start the system: %w", err)
	}
	r.nemesis = newNemesis(r.system, r.logf)
	r.clients = &clients{bases: r.system.bases}
	return r.perform(ctx)
}

func (r *run) perform(ctx context.Context) (report, error) {
	orders, err := newOrders(r.seed, r.tasks, r.length, managers())
	if err != nil {
		return report{}, err
	}
	plan := newPlan(r.seed, r.length, apis(), managers())
	first := takeSamples(ctx, r.system.daemons)
	h := promises.History{Seed: r.seed, Begin: time.Now(), Types: work.Promises(), Endpoints: managers()}

	background, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()
	watchers.Go(func() { r.progress(background) })
	watchers.Go(func() { r.nemesis.supervise(background) })
	watchers.Go(func() { r.clients.watch(background) })

	var load sync.WaitGroup
	load.Go(func() { r.clients.post(ctx, orders) })
	load.Go(func() { r.clients.schedule(ctx, newSchedules(r.seed, r.length, h.Begin)) })
	release := r.hold(ctx)
	defer release()
	r.nemesis.run(ctx, plan)
	r.logf("the faults are over")
	if err := r.nemesis.heal(ctx); err != nil {
		return report{}, fmt.Errorf("heal: %w", err)
	}
	load.Wait()
	release()
	r.logf("the load and all faults are over")
	resting, cancel := context.WithTimeout(ctx, restTimeout)
	var all bool
	h.Final, all = r.clients.atRest(resting, func(open int) { r.logf("%d tasks have not ended", open) })
	cancel()
	if all {
		r.clients.wrong = append(r.clients.wrong, r.clients.afterEnd(ctx)...)
	}
	// Wait for late effects.
	sleep(ctx, 2*time.Second)
	last := takeSamples(ctx, r.system.daemons)
	stop()
	watchers.Wait()
	if ctx.Err() != nil {
		return report{}, ctx.Err()
	}
	r.stopAll(ctx)

	h.End = time.Now()
	h.Posts, h.Seen, h.Faults = r.clients.posts, r.clients.seen, r.nemesis.faults
	h.Cancels, h.Holds, h.Retries, h.Schedules = r.clients.cancels, r.clients.holds, r.clients.retries, r.clients.schedules
	if h.Runs, err = work.ReadJournals(filepath.Join(r.dir, "journal")); err != nil {
		return report{}, err
	}
	if err := r.keep(h); err != nil {
		return report{}, err
	}
	rep := r.report(h, plan, first, last)
	if rep.Accepted < rep.Posted/2 || rep.Started == 0 {
		err := fmt.Errorf("only %d of %d tasks accepted and %d runs started: this proves nothing", rep.Accepted, rep.Posted, rep.Started)
		r.nemesis.errs = append(r.nemesis.errs, err)
	}
	return rep, errors.Join(r.nemesis.errs...)
}

// hold pauses and drains until release is called, which returns when all is resumed.
func (r *run) hold(ctx context.Context) (release func()) {
	holding, end := context.WithCancel(ctx)
	var held sync.WaitGroup
	held.Go(func() { r.clients.holdThings(holding, managers()) })
	return func() {
		end()
		held.Wait()
	}
}

// stopAll stops all processes, which must succeed, and leave nothing behind.
func (r *run) stopAll(ctx context.Context) {
	var stopped sync.WaitGroup
	for _, d := range r.system.daemons {
		stopped.Go(func() { r.nemesis.stop(d, d.current()) })
	}
	stopped.Wait()
	r.clients.wrong = append(r.clients.wrong, programsLeft(ctx, filepath.Join(r.dir, "journal"))...)
}

// keep writes the history to a file.
func (r *run) keep(h promises.History) error {
	data, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "history.json"), data, 0o600)
}

// logf writes to the run's log.
func (r *run) logf(format string, args ...any) {
	r.logBusy.Lock()
	defer r.logBusy.Unlock()
	_, _ = fmt.Fprintf(r.log, "%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// progress prints the state of the run every few seconds.
func (r *run) progress(ctx context.Context) {
	begin := time.Now()
	for sleep(ctx, 5*time.Second) {
		r.clients.mu.Lock()
		accepted, started := 0, r.clients.started
		for _, p := range r.clients.posts {
			if !p.Accepted.IsZero() {
				accepted++
			}
		}
		r.clients.mu.Unlock()
		r.nemesis.mu.Lock()
		faults, doing := len(r.nemesis.faults), strings.Join(r.nemesis.doing, ", ")
		r.nemesis.mu.Unlock()
		_, _ = fmt.Fprintf(r.say, "%4.0fs  %d of %d tasks accepted, %d runs, %d faults over; now: %s\n", time.Since(begin).Seconds(),
			accepted, started, work.CountRuns(filepath.Join(r.dir, "journal")), faults, or(doing, "none"))
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
