package backoff_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/x/backoff"
)

func TestBackoff(t *testing.T) {
	b := backoff.Backoff{First: 100, Most: 1000}
	for range 2 {
		for _, limit := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			if d := b.Next(); d < 0 || d >= limit {
				t.Errorf("got %d, want less than %d", d, limit)
			}
		}
		b.Reset()
	}
}
