package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

func (n *nemesis) strikeBroker(ctx context.Context, s step) error {
	pid, begin := n.broker.PID(), time.Now()
	defer func() { n.record(kinds()[s.Do], broker, pid, begin) }()
	if s.Do == alarm {
		if err := n.broker.Alarm(ctx, true); err != nil {
			return err
		}
		sleep(ctx, s.For)
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
	sleep(ctx, s.For)
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
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
		sleep(ctx, s.For)
		return n.database.Resume()
	}
	n.database.Kill()
	sleep(ctx, s.For)
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	return n.database.Start(ctx)
}

// strikeLinks injects a fault into a link, or all links of a server, waiting
// for other faults of a link to end.
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
		sleep(ctx, s.For)
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
	if err := l.addToxic(toxic, attributes); err != nil {
		return err
	}
	sleep(ctx, s.For)
	l.heal(context.WithoutCancel(ctx))
	return nil
}
