package manager

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// acquire registers the endpoints and takes their leases. Where another
// manager holds one, it waits until that lease ends, as it does when that
// manager has died; if it is renewed instead, that manager lives, and the
// error names it.
func (m *Manager) acquire(ctx context.Context) error {
	asked := time.Now()
	for i, endpoint := range m.cfg.Endpoints {
		if err := m.acquireOne(ctx, endpoint); err != nil {
			m.releaseSome(ctx, m.cfg.Endpoints[:i])
			return err
		}
	}
	m.lease.renewed(asked)
	return nil
}

func (m *Manager) acquireOne(ctx context.Context, endpoint string) error {
	var first *tasker.Endpoint
	for {
		var holder *tasker.Endpoint
		err := m.persist(ctx, "register the endpoint", func(ctx context.Context) (err error) {
			holder, err = m.store.AcquireEndpoint(ctx, m.registration(endpoint), m.cfg.Lease)
			return err
		})
		switch {
		case err != nil:
			return err
		case holder == nil:
			return nil
		case first == nil:
			first = holder
			m.log.InfoContext(ctx, "waiting for the endpoint: another manager has it, or died a moment ago",
				"endpoint", endpoint, "holder", holder.Manager, "host", holder.Host, "pid", holder.PID, "until", holder.LeaseUntil)
		case holder.Manager != first.Manager || holder.LastSeen.After(first.LastSeen):
			return tasker.Errorf(tasker.Conflict,
				"endpoint %q is served by another manager: %s on host %s, pid %d, since %s: stop that one, or choose another name",
				endpoint, holder.Manager, holder.Host, holder.PID, holder.StartTime.Format(time.RFC3339))
		}
		if err := clock.Sleep(ctx, min(m.cfg.Heartbeat, 250*time.Millisecond)); err != nil {
			return err
		}
	}
}

// heartbeats renews the leases until ctx ends; where another manager has taken
// one over, it ends the work.
func (m *Manager) heartbeats(ctx context.Context, fatal context.CancelCauseFunc) {
	last := time.Now()
	for {
		// Jittered, so that a fleet that started together does not beat together.
		pause := m.cfg.Heartbeat*9/10 + rand.N(m.cfg.Heartbeat/5+1)
		if clock.Sleep(ctx, pause) != nil {
			return
		}
		asked := time.Now()
		beat, cancel := context.WithTimeout(ctx, max(m.cfg.Lease, time.Second))
		held, err := m.store.Heartbeat(beat, m.id, m.cfg.Endpoints, m.cfg.Lease)
		cancel()
		m.away.Store(err != nil)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.log.WarnContext(ctx, "no heartbeat could be sent", "last", time.Since(last).Round(time.Second), "err", err)
			continue
		case !held:
			m.log.ErrorContext(ctx, "the endpoint was taken over or removed: stopping at once", "silent_for", time.Since(last).Round(time.Second))
			fatal(fmt.Errorf("%w (last heartbeat %v ago, lease %v)", ErrLeaseLost, time.Since(last).Round(time.Second), m.cfg.Lease))
			return
		}
		// After a silence, results may have been called lost that are not. How
		// long it lasted is told by when the last beat was sent, which is the
		// time that it stored. The process's own clock stands still while the
		// machine sleeps.
		if silent := max(asked.Sub(last), asked.Round(0).Sub(last.Round(0))); silent > m.cfg.Lease {
			m.log.InfoContext(ctx, "heard again", "silent_for", silent.Round(time.Second))
			for _, endpoint := range m.cfg.Endpoints {
				m.doubt(endpoint)
			}
		}
		m.lease.renewed(asked)
		m.heard.Store(&asked)
		last = asked
	}
}

// leaseWatch knows until when this manager's leases run at least, whatever
// the database says: they may have ended while the process was stopped, or the
// machine was asleep, and another manager may have the endpoints.
type leaseWatch struct {
	length  time.Duration
	mu      sync.Mutex
	since   time.Time     // when the renewal was asked for
	changed chan struct{} // closed at the next renewal
}

func newLeaseWatch(length time.Duration) *leaseWatch {
	return &leaseWatch{length: length, changed: make(chan struct{})}
}

// renewed says that the leases run from a time on.
func (l *leaseWatch) renewed(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = since
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits until the leases run, or gives the cause of ctx's end.
func (l *leaseWatch) await(ctx context.Context) error {
	for {
		l.mu.Lock()
		since, changed := l.since, l.changed
		l.mu.Unlock()
		// The process's own clock stands still while a machine sleeps; the
		// wall clock does not, but may be set.
		now := time.Now()
		if now.Sub(since) < l.length && now.Round(0).Sub(since.Round(0)) < l.length {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leaveLimit bounds how long the end of a manager waits for the database.
const leaveLimit = 5 * time.Second

// leave frees the endpoints' names. After a stop that was asked for it removes
// the endpoints, if the configuration says so.
func (m *Manager) leave(ctx context.Context, stopped bool) {
	staying := m.cfg.Endpoints
	if stopped && m.cfg.Forget {
		staying = m.forget(ctx)
	}
	m.releaseSome(ctx, staying)
}

// forget removes the endpoints, and returns those that stay registered.
func (m *Manager) forget(ctx context.Context) (staying []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	staying, err := m.store.ForgetEndpoints(ctx, m.id, m.cfg.Endpoints)
	switch {
	case err != nil:
		m.log.ErrorContext(ctx, "the endpoints were not removed, or not all: tasks for all expect them: remove them with tasker endpoints remove",
			"endpoints", m.cfg.Endpoints, "err", err)
		return m.cfg.Endpoints
	case len(staying) > 0:
		m.log.WarnContext(ctx, "endpoints stay registered, since attempts have not ended: start a manager of them again, or remove them with tasker endpoints remove",
			"endpoints", staying)
	}
	removed := slices.DeleteFunc(slices.Clone(m.cfg.Endpoints), func(name string) bool { return slices.Contains(staying, name) })
	if len(removed) > 0 {
		m.log.InfoContext(ctx, "the endpoints are removed: tasks do not expect them any more", "endpoints", removed)
	}
	return staying
}

func (m *Manager) releaseSome(ctx context.Context, endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	if err := m.store.ReleaseEndpoints(ctx, m.id, endpoints); err != nil {
		m.log.WarnContext(ctx, "the endpoints were not released: their names are free when the lease ends", "lease", m.cfg.Lease, "err", err)
	}
}

// persist does something with the database until it works, with growing
// pauses: for as long as the database is away or fails, or until ctx ends. It
// returns an error where the database refuses what it is given, which waiting
// does not mend. What may be too much for the database at once, or hold others
// up for ever, goes by [inParts].
func (m *Manager) persist(ctx context.Context, what string, do func(ctx context.Context) error) error {
	for p := m.pace(what); ; {
		err := p.try(ctx, do)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isRefusal(err):
			return err
		}
		if err := p.wait(ctx, err); err != nil {
			return err
		}
	}
}

// isRefusal tells whether an error is about what was given to the database,
// and not about the database.
func isRefusal(err error) bool {
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.Malformed, tasker.TooLarge, tasker.Conflict, tasker.NotFound:
		return true
	}
	return false
}

// tryLimit bounds one statement or transaction.
const tryLimit = 15 * time.Second

func try(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryLimit)
	defer cancel()
	return do(ctx)
}
