package api

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// refusalPeriod is the time in which the refused requests of one address make
	// one line of the log.
	refusalPeriod = time.Second
	// maxRefusers bounds the addresses that are counted apart; what comes from
	// others meanwhile is counted together.
	maxRefusers = 1024
)

// refusals counts requests without valid credentials, so that nobody without
// them can fill the log: the first of an address is logged whole, those of the
// second that follows are one more line with their number.
type refusals struct {
	log   *slog.Logger
	after func(time.Duration, func()) // time.AfterFunc, but for tests

	mu      sync.Mutex
	counted map[string]int // by address, for a period from its first one
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{
		log: log, counted: map[string]int{},
		after: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
	}
}

// count counts a refused request and reports whether it is the first one of its
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
	c.after(refusalPeriod, func() { c.tell(address) })
	return address != "others"
}

// tell logs how many more there were.
func (c *refusals) tell(address string) {
	c.mu.Lock()
	n := c.counted[address]
	delete(c.counted, address)
	c.mu.Unlock()
	if n > 0 {
		c.log.WarnContext(context.Background(), "more requests without valid credentials", "remote", address, "requests", n)
	}
}
