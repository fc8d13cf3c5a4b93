package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func (f fixture) takeLease(t *testing.T, name, holder string) bool {
	t.Helper()
	held, err := f.Leases.TakeLease(t.Context(), name, holder, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestLeases(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if !f.takeLease(t, "sweep", managerA) || f.takeLease(t, "sweep", managerB) {
			t.Fatal("the first of two must hold the lease")
		}
		if !f.takeLease(t, "purge", managerB) {
			t.Error("another lease is not free")
		}
		f.clock.advance(4 * time.Second)
		if !f.takeLease(t, "sweep", managerA) {
			t.Error("a lease cannot be renewed")
		}
		f.clock.advance(4 * time.Second)
		if f.takeLease(t, "sweep", managerB) {
			t.Error("a renewed lease was taken")
		}
		f.clock.advance(2 * time.Second)
		if !f.takeLease(t, "sweep", managerB) || f.takeLease(t, "sweep", managerA) {
			t.Error("a lease that has ended was not taken")
		}
		if err := f.Leases.ReleaseLease(t.Context(), "sweep", managerA); err != nil {
			t.Fatal(err)
		}
		if f.takeLease(t, "sweep", managerA) {
			t.Error("another holder's lease was released")
		}
		if err := f.Leases.ReleaseLease(t.Context(), "sweep", managerB); err != nil {
			t.Fatal(err)
		}
		if !f.takeLease(t, "sweep", managerA) {
			t.Error("a released lease was not taken")
		}
	})
}

// A lease taken before the clock was set back does not run until the clock is
// there again.
func TestLeaseAfterTheClockWasSetBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if !f.takeLease(t, "sweep", managerA) {
			t.Fatal("the first one does not hold the lease")
		}
		f.clock.advance(-5 * time.Second)
		if f.takeLease(t, "sweep", managerB) {
			t.Error("a lease was taken although the clocks differ by little")
		}
		f.clock.advance(-time.Hour)
		if !f.takeLease(t, "sweep", managerB) {
			t.Error("a lease of another time was not taken")
		}
	})
}

func TestLeaseIsTakenOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for range 5 {
			var taken atomic.Int64
			var group sync.WaitGroup
			for _, holder := range []string{managerA, managerB, "01CCCCCCCCCCCCCCCCCCCCCCCC", "01DDDDDDDDDDDDDDDDDDDDDDDD"} {
				group.Go(func() {
					if f.takeLease(t, "sweep", holder) {
						taken.Add(1)
					}
				})
			}
			group.Wait()
			if taken.Load() != 1 {
				t.Errorf("%d hold the lease", taken.Load())
			}
			f.clock.advance(time.Minute)
		}
	})
}
