package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// latency summarizes durations, in milliseconds.
type latency struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

func latencyOf(durations []time.Duration) latency {
	sorted := slices.Sorted(slices.Values(durations))
	ms := func(p float64) float64 { return float64(percentile(sorted, p).Microseconds()) / 1000 }
	return latency{len(sorted), ms(50), ms(99)}
}

// percentile returns the nearest-rank percentile of sorted durations, or 0 if
// there are none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// rate returns n per second.
func rate(n int64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

// ratio returns part / whole, or 0 if whole is 0.
func ratio(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}

// counter is a counter on which goroutines can wait for a number.
type counter struct {
	mu     sync.Mutex
	n      int64
	last   time.Time // when n last grew
	err    error
	change chan struct{} // if somebody waits: closed when n grows or err is set
}

func (c *counter) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	c.last = time.Now()
	c.wake()
}

// fail makes all waiters return err.
func (c *counter) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.wake()
}

func (c *counter) wake() {
	if c.change != nil {
		close(c.change)
		c.change = nil
	}
}

// wait waits until n reaches target, and returns when that happened.
func (c *counter) wait(ctx context.Context, target int64) (last time.Time, err error) {
	for {
		c.mu.Lock()
		if c.err != nil || c.n >= target {
			defer c.mu.Unlock()
			return c.last, c.err
		}
		if c.change == nil {
			c.change = make(chan struct{})
		}
		change := c.change
		c.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}

// spread is the median of several runs, with the extremes.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + median) / 2
	}
	return spread{median, sorted[0], sorted[len(sorted)-1]}
}
