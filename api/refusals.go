package api

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// refusalPeriod is the time in which the rejected requests of one address become
	// one line of the log.
	refusalPeriod = time.Second
	// maxRefusers bounds the addresses that are counted separately; the others are
	// counted together.
	maxRefusers = 1024
)

// refusals counts requests without valid credentials, so that nobody without them
// can fill the log: the first of an address is logged, those of the following
// second become one more line with their number.
type refusals struct {
	log   *slog.Logger
	after func(time.Duration, func()) // time.AfterFunc; tests replace it

	mu      sync.Mutex
	counted map[string]int // by address, for a period from its first one
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{
		log: log, counted: map[string]int{},
		after: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
	}
}

// count counts a rejected request and reports whether it is the first one of its
// address, which is to be logged.
func (c *refusals) count(address string) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, known := c.counted[address]
	if !known && len(c.counted) >= maxRefusers {
		address = "others"
		n, known = c.counted[address]
	}
	if known {
		c.counted[address] = n + 1
		return false
	}
	c.counted[address] = 0
	c.after(refusalPeriod, func() { c.report(address) })
	return address != "others"
}

// flush reports all that is counted, at the end of a server: what a timer reports later
// is nothing.
func (c *refusals) flush() {
	c.mu.Lock()
	addresses := slices.Sorted(maps.Keys(c.counted))
	c.mu.Unlock()
	for _, address := range addresses {
		c.report(address)
	}
}

// report logs how many more there were.
func (c *refusals) report(address string) {
	c.mu.Lock()
	n := c.counted[address]
	delete(c.counted, address)
	c.mu.Unlock()
	if n > 0 {
		c.log.WarnContext(context.Background(), "more requests without valid credentials", "remote", address, "requests", n)
	}
}
