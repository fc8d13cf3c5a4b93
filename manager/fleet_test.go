package manager_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/taskerhq/tasker/manager"
)

// census signals each count of the fleet, which fails.
type census chan struct{}

func (c census) CountSeen(context.Context, time.Time) (int, error) {
	select {
	case c <- struct{}{}:
	default:
	}
	return 0, errors.New("away")
}

// The manager counts the fleet when it starts, and after each scan. That it fails does
// no harm.
func TestCountsTheFleet(t *testing.T) {
	for name, test := range map[string]struct {
		catchUp time.Duration
		counts  int
	}{
		"at the start":    {time.Hour, 1},
		"after each scan": {10 * time.Millisecond, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			counts := make(census, 1)
			w.fleet = counts
			w.serve(w.store, nil, func(c *manager.Config) { c.CatchUp = test.catchUp })
			for range test.counts {
				select {
				case <-counts:
				case <-time.After(5 * time.Minute):
					t.Fatal("not counted")
				}
			}
		})
	}
}
