package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/bodies"
)

const (
	// queuePerSlot is how many requests may wait for each slot. Waiting costs
	// less than being rejected and retrying.
	queuePerSlot = 16
	// maxWait is how long a request waits for a slot.
	maxWait = 5 * time.Second
	// maxRetryAfter is the largest Retry-After, in seconds, of a rejected request.
	maxRetryAfter = 3
	// maxReadBytes bounds the payloads, in bytes, that all requests of one kind
	// hold at once. A single response with more is read alone.
	maxReadBytes = 64 << 20
)

// limits are the limiters that requests share. Reads and writes have one each,
// so that neither starves the other.
type limits struct {
	reads, writes *limiter
	payloads      *byteLimiter // of what GETs read
	bodies        *bodies.Pool // of what POSTs send
}

func newLimits(cfg Config) *limits {
	return &limits{
		reads: newLimiter(cfg.MaxConcurrent), writes: newLimiter(cfg.MaxConcurrent),
		payloads: newByteLimiter(maxReadBytes), bodies: bodies.NewPool(cfg.MaxBodies),
	}
}

// overloadRetryAfter returns the Retry-After, in seconds, of a rejected request.
// It varies, so that the clients do not all return together.
func overloadRetryAfter() string { return strconv.Itoa(1 + rand.N(maxRetryAfter)) }

func errOverloaded() error {
	return tasker.Errorf(tasker.Overloaded, "too many requests at once: nothing was done; retry after the seconds in Retry-After")
}

// limiter bounds how many requests are served at once, so that those accepted
// are answered in time, however many come: some wait, first come, first served,
// and the rest are rejected. Without it all of them would wait for database
// connections, and most in vain.
//
// A slot is held while the broker is asked, too: if it hangs, unnoticed yet, few
// POSTs wait for it and the rest are rejected.
type limiter struct {
	slots chan struct{} // holds one element per running request
	queue chan struct{} // holds one element per waiting request
	wait  time.Duration
}

func newLimiter(slots int) *limiter {
	return &limiter{
		slots: make(chan struct{}, slots),
		queue: make(chan struct{}, queuePerSlot*slots),
		wait:  maxWait,
	}
}

// full reports whether acquire would reject a request now.
func (l *limiter) full() bool { return len(l.queue) == cap(l.queue) }

// acquire takes a slot, which release frees. It waits for one, but neither long
// nor behind too many; then it returns [tasker.Overloaded], or ctx's error if
// that ends first.
func (l *limiter) acquire(ctx context.Context) (release func(), err error) {
	release = func() { <-l.slots }
	select {
	case l.slots <- struct{}{}:
		return release, nil
	default:
	}
	select {
	case l.queue <- struct{}{}:
	default:
		return nil, errOverloaded()
	}
	defer func() { <-l.queue }()
	timer := time.NewTimer(l.wait)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, errOverloaded()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
}

// byteLimiter bounds the bytes that requests hold at once, as [limiter] bounds
// the requests: a number of rows says little about memory if a payload may have
// a megabyte.
type byteLimiter struct {
	limit int64
	free  *semaphore.Weighted
	wait  time.Duration
}

func newByteLimiter(limit int64) *byteLimiter {
	return &byteLimiter{limit: limit, free: semaphore.NewWeighted(limit), wait: maxWait}
}

// acquire takes n bytes, which release frees. It waits up to l.wait; then it
// returns [tasker.Overloaded], or ctx's error if that ends first.
func (l *byteLimiter) acquire(ctx context.Context, n int64) (release func(), err error) {
	n = min(n, l.limit)
	if n <= 0 {
		return func() {}, nil
	}
	limited, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	if err := l.free.Acquire(limited, n); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait for memory: %w", context.Cause(ctx))
		}
		return nil, errOverloaded()
	}
	return func() { l.free.Release(n) }, nil
}
