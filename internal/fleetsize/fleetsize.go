// Package fleetsize knows how many endpoints there are, so that what each of them
// does again and again does not cost more and more as the fleet grows.
package fleetsize

import (
	"context"
	"math"
	"sync"
	"time"
)

// seenWithin is how long an endpoint counts after it was seen: those that return after
// an outage count at once.
const seenWithin = 15 * time.Minute

// Endpoints counts endpoints.
type Endpoints interface {
	// CountSeen returns how many endpoints were seen since a time.
	CountSeen(ctx context.Context, since time.Time) (n int, err error)
}

// Counter counts the endpoints, and remembers the number. It is safe for concurrent
// use.
type Counter struct {
	endpoints Endpoints
	now       func() time.Time // by the database's clock

	mu      sync.Mutex
	size    int
	counted time.Time // by this machine's clock
}

// New returns a counter that has not counted yet.
func New(endpoints Endpoints, now func() time.Time) *Counter {
	return &Counter{endpoints: endpoints, now: now}
}

// Count counts the endpoints, unless that was done within a time. After an error the
// number stays as it was, and so it does for others while one counts.
func (c *Counter) Count(ctx context.Context, within time.Duration) error {
	c.mu.Lock()
	if !c.counted.IsZero() && time.Since(c.counted) < within {
		c.mu.Unlock()
		return nil
	}
	c.counted = time.Now()
	c.mu.Unlock()
	n, err := c.endpoints.CountSeen(ctx, c.now().Add(-seenWithin))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// After an outage few were seen, but many are about to return.
	if n < c.size/2 {
		n = c.size - c.size/8
	}
	c.size = n
	return nil
}

// Factor returns the square root of the size of the fleet, in hundreds of endpoints: 1
// for a hundred, 10 for ten thousand. If what each endpoint does takes turns that are
// longer by it, neither the load nor the time until something is noticed grows as
// much as the fleet.
func (c *Counter) Factor() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return math.Sqrt(float64(c.size) / 100)
}

// Stretch returns a period that is longer by [Counter.Factor], but never shorter.
func (c *Counter) Stretch(period time.Duration) time.Duration {
	return time.Duration(float64(period) * max(1, c.Factor()))
}
