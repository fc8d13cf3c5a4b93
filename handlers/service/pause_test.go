package service

import (
	"errors"
	"math"
	"testing"
	"time"
)

// TestPauses: the pause before a restart grows up to a limit, even if the configured
// one is longer.
func TestPauses(t *testing.T) {
	t.Parallel()
	for _, first := range []time.Duration{time.Second, math.MaxInt64 / 2} {
		w := newWorker(first, nil)
		for n := range 70 {
			begun := time.Now()
			w.failed(errors.New("broken"))
			want := min(min(first, maxRestartPause)<<min(n, 10), maxRestartPause)
			if w.retryAt.Before(begun.Add(want)) {
				t.Fatalf("after %d failures, with %v: the pause is shorter than %v", n+1, first, want)
			}
		}
	}
}
