package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/test/promises"
)

// nemesis injects the faults of a plan, and restarts processes that end by
// themselves, like a supervisor.
type nemesis struct {
	*system
	logf func(format string, args ...any) // the run's log
	// Held during a fault of that server.
	brokerBusy, databaseBusy sync.Mutex
	linkBusy                 map[string]*sync.Mutex

	mu     sync.Mutex
	faults []promises.Fault
	doing  []string
	wrong  []promises.Violation // violations that the checker cannot see
	errs   []error              // faults that failed
	ended  int                  // processes that ended by themselves
}

func newNemesis(s *system, logf func(string, ...any)) *nemesis {
	n := &nemesis{system: s, logf: logf, linkBusy: map[string]*sync.Mutex{}}
	for name := range s.links.all {
		n.linkBusy[name] = new(sync.Mutex)
	}
	return n
}

// serverTimeout is how long a server may take to start.
const serverTimeout = 2 * time.Minute

// settleTimeout is how long two managers of one name may coexist until one
// ends, even while the database is down.
const settleTimeout = 45 * time.Second

// run executes the plan and returns when the last fault is over.
func (n *nemesis) run(ctx context.Context, plan []step) {
	begin := time.Now()
	var steps sync.WaitGroup
	defer steps.Wait()
	for _, s := range plan {
		if !sleep(ctx, time.Until(begin.Add(s.At))) {
			return
		}
		steps.Go(func() {
			n.note(s.String(), true)
			defer n.note(s.String(), false)
			if err := n.do(ctx, s); err != nil && ctx.Err() == nil {
				n.mu.Lock()
				n.errs = append(n.errs, fmt.Errorf("%v: %w", s, err))
				n.mu.Unlock()
			}
		})
	}
}

func (n *nemesis) note(what string, begins bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if begins {
		n.doing = append(n.doing, what)
		n.logf("start: %s", what)
	} else if i := slices.Index(n.doing, what); i >= 0 {
		n.doing = slices.Delete(n.doing, i, i+1)
		n.logf("end: %s", what)
	}
}

// record stores a fault that ends now.
func (n *nemesis) record(kind, target string, pid int, begin time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, promises.Fault{Kind: kind, Target: target, PID: pid, Time: begin, Until: time.Now()})
}

// violate stores a violation that neither journals nor answers show.
func (n *nemesis) violate(promise int, rule, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wrong = append(n.wrong, promises.Violation{Promise: promise, Rule: rule, Detail: fmt.Sprintf(format, args...)})
}

func (n *nemesis) do(ctx context.Context, s step) error {
	switch s.Do {
	case killAPI, killManager, stopAPI, stopManager:
		return n.end(ctx, s)
	case pauseAPI, pauseManager:
		return n.freeze(ctx, s)
	case killStranded, stopStranded:
		return n.endStranded(ctx, s)
	case powerCut:
		return n.powerCut(ctx, s)
	case secondManager:
		return n.second(ctx, s)
	case takeOver:
		return n.takeOver(ctx, s)
	case killBroker, stopBroker, wipeBroker, alarm:
		n.brokerBusy.Lock()
		defer n.brokerBusy.Unlock()
		return n.strikeBroker(ctx, s)
	case killDatabase, pauseDatabase:
		n.databaseBusy.Lock()
		defer n.databaseBusy.Unlock()
		return n.strikeDatabase(ctx, s)
	}
	return n.strikeLinks(ctx, s)
}

// supervise restarts processes that end by themselves, until ctx ends. A
// manager may do so when it loses its name; an API must not.
func (n *nemesis) supervise(ctx context.Context) {
	for sleep(ctx, 200*time.Millisecond) {
		for _, d := range n.daemons {
			if d.busy.TryLock() {
				n.restartEnded(d)
				d.busy.Unlock()
			}
		}
	}
}

func (n *nemesis) restartEnded(d *daemon) {
	p := d.current()
	if p.Alive() {
		return
	}
	n.logf("%s (pid %d) ended by itself with exit code %d", d.name, p.PID(), p.ExitCode())
	n.record(promises.FaultStop, d.name, p.PID(), time.Now())
	n.mu.Lock()
	n.ended++
	n.mu.Unlock()
	if !d.manager || p.ExitCode() != 1 {
		n.violate(4, "ended-by-itself", "%s (pid %d) ended by itself with exit code %d; its log is %s", d.name,
			p.PID(), p.ExitCode(), d.log)
	}
	if err := d.start(); err != nil {
		n.mu.Lock()
		n.errs = append(n.errs, err)
		n.mu.Unlock()
	}
}

// heal ends all remaining faults. run must have returned.
func (n *nemesis) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	errs := []error{n.database.Resume(), n.database.Start(ctx), n.broker.Start(ctx), n.links.heal(ctx)}
	for _, d := range n.daemons {
		errs = append(errs, d.current().Signal(syscall.SIGCONT))
	}
	return errors.Join(errs...)
}
