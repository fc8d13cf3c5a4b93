// Package fleetsize knows how many endpoints there are, so that what each of them
// does again and again does not cost more and more as the fleet grows.
package fleetsize

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// seenWithin is how long an endpoint counts after it was seen: those that return
	// after an outage count at once.
	seenWithin = 15 * time.Minute
	// small is the size of a fleet up to which nothing is stretched.
	small = 100
)

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

// Stretch returns how long a period is to be in a fleet of this size: as it is up to a
// hundred endpoints, and from there on it grows with the square root of their number,
// to three times for a thousand and ten times for ten thousand. So neither the load
// nor the time until something is noticed grows as much as the fleet.
func (c *Counter) Stretch(period time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(float64(period) * max(1, math.Sqrt(float64(c.size)/small)))
}
