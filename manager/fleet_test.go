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

// The manager counts the fleet after each scan. That it fails does no harm.
func TestCountsTheFleet(t *testing.T) {
	w := newWorld(t)
	counts := make(census)
	w.fleet = counts
	w.serve(w.store, nil, func(c *manager.Config) { c.CatchUp = 10 * time.Millisecond })
	for range 3 {
		select {
		case <-counts:
		case <-time.After(5 * time.Minute):
			t.Fatal("not counted")
		}
	}
}
