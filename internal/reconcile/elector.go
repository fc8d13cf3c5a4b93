package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	leaseName   = "reconciler"
	leaseLength = 5 * time.Second
	// leasePause is the pause between two attempts to take or renew the lease.
	leasePause = time.Second
)

var errLeaseLost = errors.New("the lease of the reconciler's loops was lost")

// Leases are the leases in the database.
type Leases interface {
	// TakeLease takes a lease for holder, or renews it, for length from now. held
	// is false if another holder's lease runs.
	TakeLease(ctx context.Context, name, holder string, length time.Duration) (held bool, err error)
	// ReleaseLease ends a lease of holder, so that others need not wait.
	ReleaseLease(ctx context.Context, name, holder string) error
}

// elector elects the process that runs the loops which go through all tasks: the
// one that holds the lease. If it dies, another one takes over when the lease has
// ended. This only saves work: nothing goes wrong if two processes run the loops
// for a moment.
type elector struct {
	leases Leases
	holder string // identifies this process
	// observe is called with the result of every attempt to take the lease.
	observe func(err error)
	log     *slog.Logger
	failing bool
}

// run calls lead whenever this process has taken the lease, until ctx ends. The
// context of lead ends if the lease is lost. The lease is renewed meanwhile,
// however long a step of a loop takes.
func (e *elector) run(ctx context.Context, lead func(context.Context)) {
	for ctx.Err() == nil {
		taking, cancel := context.WithTimeout(ctx, leaseLength)
		until, held, _ := e.take(taking)
		cancel()
		if held {
			e.hold(ctx, until, lead)
		}
		_ = clock.Sleep(ctx, leasePause)
	}
}

// hold calls lead with a context that ends with the lease, and returns when lead
// has returned.
func (e *elector) hold(ctx context.Context, until time.Time, lead func(context.Context)) {
	leading, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lead(leading)
	}()
	for held := true; held; {
		current, cancel := context.WithDeadline(ctx, until)
		until, held = e.renew(current)
		cancel()
	}
	stop(errLeaseLost)
	<-ended
	if ctx.Err() == nil {
		e.log.WarnContext(ctx, "lease lost", "lease", leaseName)
		return
	}
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := e.leases.ReleaseLease(releasing, leaseName, e.holder); err != nil {
		e.log.DebugContext(ctx, "lease not released: others wait until it ends", "lease", leaseName, "err", err)
	}
}

// renew renews the lease after a pause, trying until ctx ends with the lease.
func (e *elector) renew(ctx context.Context) (until time.Time, held bool) {
	for clock.Sleep(ctx, leasePause) == nil {
		if until, held, err := e.take(ctx); err == nil {
			return until, held
		}
	}
	return time.Time{}, false
}

// take takes or renews the lease. until is its end, not after the one in the
// database.
func (e *elector) take(ctx context.Context) (until time.Time, held bool, err error) {
	until = time.Now().Add(leaseLength)
	held, err = e.leases.TakeLease(ctx, leaseName, e.holder, leaseLength)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return until, false, err // this process stops
	}
	e.observe(err)
	switch {
	case err != nil && !e.failing:
		e.log.WarnContext(ctx, "cannot take the lease", "lease", leaseName, "err", err)
	case err == nil && e.failing:
		e.log.InfoContext(ctx, "lease is taken again", "lease", leaseName)
	}
	e.failing = err != nil
	return until, held && err == nil, err
}
