package manager

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// lease holds the endpoints of a manager: it acquires their names, renews them
// by heartbeats and releases them in the end.
type lease struct {
	store     Endpoints
	db        *database
	log       *slog.Logger
	manager   string
	endpoints []string
	heartbeat time.Duration
	length    time.Duration
	pacer     Pacer // nil if heartbeat and length are not changed
	term      *leaseTerm
	beaten    signal.Signal // raised after each successful heartbeat
	// registration returns an endpoint as it is to be registered now.
	registration func(endpoint string) tasker.Endpoint
}

// acquire registers the endpoints and takes their leases. If another manager
// holds one, acquire waits until that lease expires, as it does if that manager
// has died. If it is renewed instead, that manager is alive, and the error names
// it.
func (l *lease) acquire(ctx context.Context) error {
	asked := time.Now()
	for i, endpoint := range l.endpoints {
		if err := l.acquireOne(ctx, endpoint); err != nil {
			l.release(ctx, l.endpoints[:i])
			return err
		}
	}
	_, length := l.pace()
	l.term.renew(asked, length)
	return nil
}

func (l *lease) acquireOne(ctx context.Context, endpoint string) error {
	var first *tasker.Endpoint
	for {
		holder, err := l.register(ctx, endpoint)
		switch {
		case err != nil:
			return err
		case holder == nil:
			return nil
		case first == nil:
			first = holder
			l.log.InfoContext(ctx, "waiting for the endpoint: another manager has its lease",
				"endpoint", endpoint, "holder", holder.Manager, "host", holder.Host, "pid", holder.PID, "until", holder.LeaseUntil)
		case holder.Manager != first.Manager || holder.LastSeen.After(first.LastSeen):
			return tasker.Errorf(tasker.Conflict,
				"endpoint %q is served by another manager: %s on host %s, pid %d, since %s: stop that one, or choose another name",
				endpoint, holder.Manager, holder.Host, holder.PID, holder.StartTime.Format(time.RFC3339))
		}
		if err := clock.Sleep(ctx, min(l.heartbeat, 250*time.Millisecond)); err != nil {
			return err
		}
	}
}

// register stores the registration of an endpoint and takes its lease. It returns
// the holder if another manager has the lease.
func (l *lease) register(ctx context.Context, endpoint string) (holder *tasker.Endpoint, err error) {
	err = l.db.retry(ctx, "register the endpoint", func(ctx context.Context) (err error) {
		holder, err = l.store.AcquireEndpoint(ctx, l.registration(endpoint), l.length)
		return err
	})
	return holder, err
}

// pace returns the time between two heartbeats and the length of the leases, as the
// store granted them last.
func (l *lease) pace() (heartbeat, length time.Duration) {
	if l.pacer != nil {
		if heartbeat, length, ok := l.pacer.Pace(); ok {
			return min(max(heartbeat, l.heartbeat), length/2), length
		}
	}
	return l.heartbeat, l.length
}

// stretch returns how long a period lasts if it grows like the time between two
// heartbeats.
func (l *lease) stretch(period time.Duration) time.Duration {
	heartbeat, _ := l.pace()
	return time.Duration(float64(period) * max(1, float64(heartbeat)/float64(l.heartbeat)))
}

// pause returns the time until the next heartbeat. It is jittered, so that a fleet
// that started together does not stay in step: fully so at first and when the
// interval has changed. After a failure it is shorter, if heartbeats are rare.
func (l *lease) pause(interval, previous time.Duration, failed bool) time.Duration {
	switch {
	case failed:
		interval = min(interval, max(l.heartbeat, interval/4))
	case interval != previous:
		return rand.N(interval + 1)
	}
	return interval*9/10 + rand.N(interval/5+1)
}

// run renews the leases until ctx ends. It calls lost if another manager has
// taken one over, and silent after a time without heartbeats that was longer than
// the lease: results may have been declared lost meanwhile.
func (l *lease) run(ctx context.Context, lost context.CancelCauseFunc, silent func()) {
	last := time.Now()
	var previous time.Duration
	failed := false
	for {
		interval, length := l.pace()
		if clock.Sleep(ctx, l.pause(interval, previous, failed)) != nil {
			return
		}
		previous = interval
		asked := time.Now()
		// One that is under way when the manager stops is answered before the
		// release is sent, so that it cannot come after it.
		beat, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(length, time.Second))
		stop := context.AfterFunc(ctx, func() { time.AfterFunc(leaveTimeout, cancel) })
		held, err := l.store.Heartbeat(beat, l.manager, l.endpoints, l.length)
		stop()
		cancel()
		l.db.down.Store(err != nil)
		failed = err != nil
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.log.WarnContext(ctx, "heartbeat failed", "last", time.Since(last).Round(time.Second), "err", err)
			continue
		case !held:
			l.log.ErrorContext(ctx, "lease lost: stopping", "silent_for", time.Since(last).Round(time.Second))
			lost(fmt.Errorf("%w (last heartbeat %v ago, lease %v)", ErrLeaseLost, time.Since(last).Round(time.Second), length))
			return
		}
		// The silence counts from when the last beat was sent, the time that it
		// stored. The monotonic clock stands still while the machine sleeps.
		if silence := max(asked.Sub(last), asked.Round(0).Sub(last.Round(0))); silence > length {
			l.log.InfoContext(ctx, "heartbeats resumed", "silent_for", silence.Round(time.Second))
			silent()
		}
		_, length = l.pace()
		l.term.renew(asked, length)
		l.db.beat.Store(&asked)
		l.beaten.Raise()
		last = asked
	}
}

// leaseTerm knows how long this manager's leases are valid at least, without
// asking the database. They may have expired while the process was stopped or
// the machine was asleep, and another manager may hold the endpoints.
type leaseTerm struct {
	mu      sync.Mutex
	since   time.Time     // when the last renewal was requested
	length  time.Duration // from then on
	renewed chan struct{} // closed at the next renewal
}

func newLeaseTerm() *leaseTerm { return &leaseTerm{renewed: make(chan struct{})} }

// renew records that the leases were renewed at a time, for a length.
func (t *leaseTerm) renew(at time.Time, length time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since, t.length = at, length
	close(t.renewed)
	t.renewed = make(chan struct{})
}

// await waits until the leases are valid. It returns the cause if ctx ends.
func (t *leaseTerm) await(ctx context.Context) error {
	for {
		t.mu.Lock()
		since, length, renewed := t.since, t.length, t.renewed
		t.mu.Unlock()
		// The monotonic clock stands still while the machine sleeps; the wall
		// clock does not, but may be set.
		now := time.Now()
		if now.Sub(since) < length && now.Round(0).Sub(since.Round(0)) < length {
			return nil
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leaveTimeout bounds how long the end of a manager waits for the database.
const leaveTimeout = 5 * time.Second

// leave releases the endpoints or, if forget is true, removes them.
func (l *lease) leave(ctx context.Context, forget bool) {
	staying := l.endpoints
	if forget {
		staying = l.forget(ctx)
	}
	l.release(ctx, staying)
}

// forget removes the endpoints and returns those that stay registered.
func (l *lease) forget(ctx context.Context) (staying []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	staying, err := l.store.ForgetEndpoints(ctx, l.manager, l.endpoints)
	switch {
	case err != nil:
		l.log.ErrorContext(ctx, "could not remove the endpoints: use tasker endpoints remove", "endpoints", l.endpoints, "err", err)
		return l.endpoints
	case len(staying) > 0:
		l.log.WarnContext(ctx,
			"endpoints with unfinished attempts stay registered: start their manager again or use tasker endpoints remove",
			"endpoints", staying)
	}
	removed := slices.DeleteFunc(slices.Clone(l.endpoints), func(name string) bool { return slices.Contains(staying, name) })
	if len(removed) > 0 {
		l.log.InfoContext(ctx, "endpoints removed", "endpoints", removed)
	}
	return staying
}

func (l *lease) release(ctx context.Context, endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := l.store.ReleaseEndpoints(ctx, l.manager, endpoints); err != nil {
		l.log.WarnContext(ctx, "could not release the endpoints: their leases expire", "lease", l.length, "err", err)
	}
}
