package manager

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/handlers"
)

var (
	// errEndsUnstored ends a stop that cannot store the ends of attempts.
	errEndsUnstored = errors.New("results of ended handlers could not be stored in time")
	// errEndsSpooled ends a stop that leaves the ends of attempts in the spool.
	errEndsSpooled = errors.New("the manager has stopped")
)

// spooledWait is how long a stop waits for an unavailable database once the ends
// are in the spool.
const spooledWait = 2 * time.Second

// control stops the pools.
type control struct {
	pools *pools
	// unsaved counts what would be lost if the process ended: ends of attempts
	// that are neither stored nor in the spool, and attempts that are about to
	// await a reboot.
	unsaved  atomic.Int64
	spooling bool // there is a spool
	// shutdownTimeout and abandonAfter are those of [Config].
	shutdownTimeout, abandonAfter time.Duration
	log                           *slog.Logger
}

// idle returns a channel that is closed when all pools have been idle.
func (c *control) idle() <-chan struct{} {
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		for _, p := range c.pools.all() {
			<-p.live.none()
		}
	}()
	return idle
}

// busy returns the number of slots that are taken.
func (c *control) busy() (n int) {
	for _, p := range c.pools.all() {
		n += p.busy()
	}
	return n
}

// stop waits until all attempts have ended and their ends are stored or in the
// spool: for the shutdown timeout, and then with the handlers canceled. No task
// comes in any more. If that fails, or the database is unavailable, it ends work.
func (c *control) stop(work context.Context, end context.CancelCauseFunc) {
	idle := c.idle()
	if n := c.busy(); n > 0 {
		c.log.InfoContext(work, "stopping: waiting for handlers", "running", n, "timeout", c.shutdownTimeout)
	}
	if c.await(work, idle, end, c.shutdownTimeout) {
		return
	}
	if n := c.busy(); n > 0 {
		c.log.WarnContext(work, "stopping: canceling handlers", "running", n)
	}
	for _, p := range c.pools.all() {
		p.cancelAll(handlers.ErrShutdown)
	}
	// A handler that does not return is abandoned before that.
	if !c.await(work, idle, end, c.abandonAfter+5*time.Second) {
		end(errEndsUnstored)
		<-idle
	}
}

// await reports whether the pools became idle within a time. Once all handlers have
// ended and their ends are in the spool, it does not wait for the database.
func (c *control) await(work context.Context, idle <-chan struct{}, end context.CancelCauseFunc, timeout time.Duration) bool {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	ticker := time.NewTicker(spooledWait / 20)
	defer ticker.Stop()
	var spooled time.Time // since when only the spool has the ends
	for {
		select {
		case <-idle:
			return true
		case <-limit.C:
			return false
		case <-work.Done():
			return false
		case now := <-ticker.C:
			switch {
			case !c.spooling || c.busy() > 0 || c.unsaved.Load() > 0:
				spooled = time.Time{}
			case spooled.IsZero():
				spooled = now
			case now.Sub(spooled) > spooledWait:
				end(errEndsSpooled)
			}
		}
	}
}
