package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/promises"
)

// nemesis does the faults of a plan to a system, and keeps processes running
// that nobody struck, as a supervisor does.
type nemesis struct {
	*system
	tell func(format string, args ...any) // the run's log
	// Held by whoever does something to a server.
	brokerBusy, databaseBusy sync.Mutex
	linkBusy                 map[string]*sync.Mutex

	mu     sync.Mutex
	faults []promises.Fault
	doing  []string
	wrong  []promises.Violation // what no checker sees: see violate
	errs   []error              // faults that could not be done
	ended  int                  // processes that ended by themselves
}

func newNemesis(s *system, tell func(string, ...any)) *nemesis {
	n := &nemesis{system: s, tell: tell, linkBusy: map[string]*sync.Mutex{}}
	for name := range s.links.all {
		n.linkBusy[name] = new(sync.Mutex)
	}
	return n
}

// serverPatience is how long a server may take to come back.
const serverPatience = 2 * time.Minute

// settlePatience is how long two managers of one name may take until one of
// them gives up, also while the database is away.
const settlePatience = 45 * time.Second

// run does the plan and returns when the last fault is over.
func (n *nemesis) run(ctx context.Context, plan []step) {
	begin := time.Now()
	var steps sync.WaitGroup
	defer steps.Wait()
	for _, s := range plan {
		if !pause(ctx, time.Until(begin.Add(s.At))) {
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
		n.tell("begins: %s", what)
	} else if i := slices.Index(n.doing, what); i >= 0 {
		n.doing = slices.Delete(n.doing, i, i+1)
		n.tell("over: %s", what)
	}
}

// record says what was done; the fault is over now.
func (n *nemesis) record(kind, target string, pid int, begin time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, promises.Fault{Kind: kind, Target: target, PID: pid, Time: begin, Until: time.Now()})
}

// violate says that something happened which must not, and which neither
// journals nor answers show.
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

// end ends a process and starts its successor.
func (n *nemesis) end(ctx context.Context, s step) error {
	d := n.daemon(s.Target)
	d.busy.Lock()
	defer d.busy.Unlock()
	p, begin := d.current(), time.Now()
	kind := kinds()[s.Do]
	if s.Do == killAPI || s.Do == killManager {
		p.Kill()
	} else {
		n.stop(d, p)
	}
	pause(ctx, s.For)
	err := d.start()
	n.record(kind, d.name, p.PID(), begin)
	return err
}

// stopPatience is more than tasker's own limits of an orderly end.
const stopPatience = 40 * time.Second

// stop asks a process to end, which must go well.
func (n *nemesis) stop(d *daemon, p *testnodes.Process) {
	if !p.Alive() {
		return // by itself, a moment ago
	}
	if code, err := p.Stop(stopPatience); err != nil || code != 0 {
		n.violate(4, "disorderly-end", "%s (pid %d) was asked to end: exit code %d, %v; its log is %s", d.name, p.PID(), code, err, d.log)
	}
}

func (n *nemesis) freeze(ctx context.Context, s step) error {
	d := n.daemon(s.Target)
	d.busy.Lock()
	defer d.busy.Unlock()
	p, begin := d.current(), time.Now()
	if err := p.Pause(); err != nil {
		return err
	}
	pause(ctx, s.For)
	err := p.Resume()
	n.record(kinds()[s.Do], d.name, p.PID(), begin)
	return err
}

// second starts another manager for a name that is taken. One of the two ends
// by itself: the second, unless the first one lost its name meanwhile.
func (n *nemesis) second(ctx context.Context, s step) error {
	d := n.daemon(s.Target)
	d.busy.Lock()
	defer d.busy.Unlock()
	first := d.current()
	other, err := d.spawn()
	if err != nil {
		return err
	}
	n.settle(ctx, d, first, other)
	return nil
}

// takeOver pauses a manager for longer than its lease and lets another take
// its name. When the first one goes on, one of the two ends by itself.
func (n *nemesis) takeOver(ctx context.Context, s step) error {
	d := n.daemon(s.Target)
	d.busy.Lock()
	defer d.busy.Unlock()
	first, begin := d.current(), time.Now()
	if err := first.Pause(); err != nil {
		return err
	}
	other, err := d.spawn()
	if err == nil {
		pause(ctx, s.For)
	}
	if err := errors.Join(err, first.Resume()); err != nil {
		return err
	}
	n.record(promises.FaultPause, d.name, first.PID(), begin)
	n.settle(ctx, d, first, other)
	return nil
}

// settle waits until one of two managers of a name has ended by itself, with
// exit code 1, and gives the other one the place.
func (n *nemesis) settle(ctx context.Context, d *daemon, first, other *testnodes.Process) {
	begin := time.Now()
	loser, winner := other, first
	select {
	case <-ctx.Done():
		other.Kill()
		return
	case <-other.Exited():
	case <-first.Exited():
		loser, winner = first, other
		d.play(other)
	case <-time.After(settlePatience):
		n.violate(2, "two-managers", "%s: both pid %d and pid %d live %v after they met; their log is %s",
			d.name, first.PID(), other.PID(), settlePatience, d.log)
		other.Kill()
		n.record(promises.FaultKill, d.name, other.PID(), begin)
		return
	}
	n.tell("%s: of two managers pid %d ended and pid %d goes on", d.name, loser.PID(), winner.PID())
	if code := loser.ExitCode(); code != 1 {
		n.violate(2, "refused-otherwise", "%s: pid %d lost its name to pid %d and ended with exit code %d instead of 1; its log is %s",
			d.name, loser.PID(), winner.PID(), code, d.log)
	}
	n.record(promises.FaultStop, d.name, loser.PID(), begin)
}

func (n *nemesis) strikeBroker(ctx context.Context, s step) error {
	pid, begin := n.broker.PID(), time.Now()
	defer func() { n.record(kinds()[s.Do], broker, pid, begin) }()
	if s.Do == alarm {
		if err := n.broker.Alarm(ctx, true); err != nil {
			return err
		}
		pause(ctx, s.For)
		return n.broker.Alarm(ctx, false)
	}
	if s.Do == stopBroker {
		if err := n.broker.Stop(); err != nil {
			return err
		}
	}
	n.broker.Kill()
	if s.Do == wipeBroker {
		if err := n.broker.Wipe(); err != nil {
			return err
		}
	}
	pause(ctx, s.For)
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	return n.broker.Start(ctx)
}

func (n *nemesis) strikeDatabase(ctx context.Context, s step) error {
	pid, begin := n.database.PID(), time.Now()
	defer func() { n.record(kinds()[s.Do], database, pid, begin) }()
	if s.Do == pauseDatabase {
		if err := n.database.Pause(); err != nil {
			return err
		}
		pause(ctx, s.For)
		return n.database.Resume()
	}
	n.database.Kill()
	pause(ctx, s.For)
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	return n.database.Start(ctx)
}

// strikeLinks does something to a link, or to all links of a server, each in
// its turn where another fault has it.
func (n *nemesis) strikeLinks(ctx context.Context, s step) error {
	var struck sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	begin := time.Now()
	for _, l := range n.links.of(s.Target, s.Server) {
		struck.Go(func() {
			busy := n.linkBusy[l.proxy.Name]
			busy.Lock()
			defer busy.Unlock()
			if err := strike(ctx, s, l); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	struck.Wait()
	target := s.Target
	if target == "" {
		target = s.Server
	}
	n.record(kinds()[s.Do], target, 0, begin)
	return errors.Join(errs...)
}

func strike(ctx context.Context, s step, l *link) error {
	if s.Do == cutLink || s.Do == cutAll {
		l.cut()
		pause(ctx, s.For)
		return l.restore()
	}
	toxic, attributes := "latency", map[string]any{"latency": 150, "jitter": 100} // ms
	switch s.Do {
	case hangLink:
		toxic, attributes = "timeout", map[string]any{"timeout": 0}
	case narrowLink:
		toxic, attributes = "bandwidth", map[string]any{"rate": 4} // kB/s
	case resetLink:
		toxic, attributes = "reset_peer", map[string]any{"timeout": 0}
	}
	if err := l.hurt(toxic, attributes); err != nil {
		return err
	}
	pause(ctx, s.For)
	l.heal(context.WithoutCancel(ctx))
	return nil
}

// supervise starts anew what ended by itself, until ctx ends. A manager may do
// that when it loses its name; an API never.
func (n *nemesis) supervise(ctx context.Context) {
	for pause(ctx, 200*time.Millisecond) {
		for _, d := range n.daemons {
			if d.busy.TryLock() {
				n.reviveOne(d)
				d.busy.Unlock()
			}
		}
	}
}

func (n *nemesis) reviveOne(d *daemon) {
	p := d.current()
	if p.Alive() {
		return
	}
	n.tell("%s (pid %d) ended by itself with exit code %d", d.name, p.PID(), p.ExitCode())
	n.record(promises.FaultStop, d.name, p.PID(), time.Now())
	n.mu.Lock()
	n.ended++
	n.mu.Unlock()
	if !d.manager || p.ExitCode() != 1 {
		n.violate(4, "ended-by-itself", "%s (pid %d) ended by itself with exit code %d; its log is %s", d.name, p.PID(), p.ExitCode(), d.log)
	}
	if err := d.start(); err != nil {
		n.mu.Lock()
		n.errs = append(n.errs, err)
		n.mu.Unlock()
	}
}

// heal ends whatever may still last. It wants the nemesis at rest.
func (n *nemesis) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	errs := []error{n.database.Resume(), n.database.Start(ctx), n.broker.Start(ctx), n.links.heal(ctx)}
	for _, d := range n.daemons {
		errs = append(errs, d.current().Signal(syscall.SIGCONT))
	}
	return errors.Join(errs...)
}
