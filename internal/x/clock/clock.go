// Package clock waits, and reads durations.
package clock

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// Sleep waits for d. It returns early, with the cause, when ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Around returns a random duration from 3/4 to 5/4 of d, so that many machines
// with the same period do not act together.
func Around(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

// Parse returns the duration that a text says: a number of seconds, rounded to the
// nanosecond, or one such as "1m30s". ok is false for any other text, and for more
// seconds than [MaxSeconds].
func Parse(s string) (d time.Duration, ok bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		d, err = time.ParseDuration(s)
		return d, err == nil
	}
	if math.IsNaN(n) || math.Abs(n) > MaxSeconds {
		return 0, false
	}
	return time.Duration(math.Round(n * float64(time.Second))), true
}

// MaxSeconds is the largest number that [Seconds] converts as it is.
const MaxSeconds = math.MaxInt64 / float64(time.Second) / 2

// Seconds converts a number of seconds; more than [MaxSeconds] becomes the
// longest duration that two can be added of.
func Seconds(n float64) time.Duration {
	if n > MaxSeconds {
		return math.MaxInt64 / 2
	}
	return time.Duration(n * float64(time.Second))
}
