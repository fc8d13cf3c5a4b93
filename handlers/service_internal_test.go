package handlers

import (
	"errors"
	"math"
	"testing"
	"time"
)

// TestServicePauses: the pause before a process is started again grows up to
// a limit, and stays there, however long the configured one is.
func TestServicePauses(t *testing.T) {
	t.Parallel()
	for _, first := range []time.Duration{time.Second, math.MaxInt64 / 2} {
		w := &serviceWorker{service: &service{conf: serviceSettings{RestartPause: Duration(first)}}}
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
