package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/promises"
)

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
	sleep(ctx, s.For)
	err := d.start()
	n.record(kind, d.name, p.PID(), begin)
	return err
}

// stopTimeout is longer than tasker's own limits for a clean stop.
const stopTimeout = 40 * time.Second

// startup is how long a process may take to handle signals.
const startup = 10 * time.Second

// stop stops a process, which must succeed.
func (n *nemesis) stop(d *daemon, p *testnodes.Process) {
	if !p.Alive() {
		return // it just ended by itself
	}
	young := p.Age() < startup
	code, err := p.Stop(stopTimeout)
	if young && err == nil && code == -1 {
		return // it did not handle signals yet
	}
	if err != nil || code != 0 {
		n.violate(4, "unclean-stop", "%s (pid %d) did not stop cleanly: %s, %v; its log is %s", d.name, p.PID(), p.Ending(), err, d.log)
	}
}

// endStranded ends a manager that has been without the database for a while,
// and starts its successor before the database is reachable again: results of
// that time exist only on its machine.
func (n *nemesis) endStranded(ctx context.Context, s step) error {
	d := n.daemon(s.Target)
	d.busy.Lock()
	defer d.busy.Unlock()
	cut := n.links.of(s.Target, s.Server)
	for _, l := range cut {
		n.linkBusy[l.proxy.Name].Lock()
		defer n.linkBusy[l.proxy.Name].Unlock()
	}
	begin := time.Now()
	for _, l := range cut {
		l.cut()
	}
	sleep(ctx, s.For/2)
	p, ended := d.current(), time.Now()
	if s.Do == killStranded {
		p.Kill()
	} else {
		n.stop(d, p)
	}
	err := d.start()
	n.record(kinds()[s.Do], d.name, p.PID(), ended)
	sleep(ctx, s.For/2)
	for _, l := range cut {
		err = errors.Join(err, l.restore())
	}
	n.record(promises.FaultCut, d.name, 0, begin)
	return err
}

// powerCut kills all processes and both servers, and starts them again.
func (n *nemesis) powerCut(ctx context.Context, s step) error {
	for _, d := range n.daemons {
		d.busy.Lock()
		defer d.busy.Unlock()
	}
	n.brokerBusy.Lock()
	defer n.brokerBusy.Unlock()
	n.databaseBusy.Lock()
	defer n.databaseBusy.Unlock()
	begin, killed := time.Now(), []*testnodes.Process{}
	var kills sync.WaitGroup
	for _, d := range n.daemons {
		killed = append(killed, d.current())
		kills.Go(d.current().Kill)
	}
	kills.Go(n.broker.Kill)
	kills.Go(n.database.Kill)
	kills.Wait()
	sleep(ctx, s.For)
	var errs []error
	for i, d := range n.daemons {
		errs = append(errs, d.start())
		n.record(promises.FaultKill, d.name, killed[i].PID(), begin)
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	errs = append(errs, n.database.Start(ctx))
	n.record(promises.FaultRestart, database, 0, begin)
	errs = append(errs, n.broker.Start(ctx))
	n.record(promises.FaultRestart, broker, 0, begin)
	return errors.Join(errs...)
}

func (n *nemesis) freeze(ctx context.Context, s step) error {
	d := n.daemon(s.Target)
	d.busy.Lock()
	defer d.busy.Unlock()
	p, begin := d.current(), time.Now()
	if err := p.Pause(); err != nil {
		return err
	}
	sleep(ctx, s.For)
	err := p.Resume()
	n.record(kinds()[s.Do], d.name, p.PID(), begin)
	return err
}

// second starts another manager with the same name. One of the two must end:
// the second, unless the first has lost its lease meanwhile.
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

// takeOver pauses a manager for longer than its lease and lets another take its
// name. After the first resumes, one of the two must end.
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
		sleep(ctx, s.For)
	}
	if err := errors.Join(err, first.Resume()); err != nil {
		return err
	}
	n.record(promises.FaultPause, d.name, first.PID(), begin)
	n.settle(ctx, d, first, other)
	return nil
}

// settle waits until one of two managers of a name has ended with exit code 1,
// and makes the other the current one.
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
		d.setCurrent(other)
		n.record(promises.FaultTakeover, d.name, first.PID(), begin)
	case <-time.After(settleTimeout):
		n.violate(2, "two-managers", "%s: pid %d and pid %d are both alive %v later; their log is %s",
			d.name, first.PID(), other.PID(), settleTimeout, d.log)
		other.Kill()
		n.record(promises.FaultKill, d.name, other.PID(), begin)
		return
	}
	n.logf("%s: of two managers pid %d ended and pid %d continues", d.name, loser.PID(), winner.PID())
	if code := loser.ExitCode(); code != 1 {
		n.violate(2, "wrong-exit-code", "%s: pid %d lost its name to pid %d and ended with exit code %d instead of 1; its log is %s",
			d.name, loser.PID(), winner.PID(), code, d.log)
	}
	n.record(promises.FaultStop, d.name, loser.PID(), begin)
}
