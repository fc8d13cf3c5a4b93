package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func (f fixture) takeTurn(t *testing.T, job, holder string) bool {
	t.Helper()
	taken, err := f.TakeTurn(t.Context(), job, holder, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func TestTurns(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if !f.takeTurn(t, "sweep", managerA) || f.takeTurn(t, "sweep", managerB) {
			t.Fatal("of two the first one has the turn")
		}
		if !f.takeTurn(t, "purge", managerB) {
			t.Error("another job is another turn")
		}
		f.clock.advance(4 * time.Second)
		if !f.takeTurn(t, "sweep", managerA) {
			t.Error("a turn cannot be prolonged")
		}
		f.clock.advance(4 * time.Second)
		if f.takeTurn(t, "sweep", managerB) {
			t.Error("a turn that was prolonged is taken")
		}
		f.clock.advance(2 * time.Second)
		if !f.takeTurn(t, "sweep", managerB) || f.takeTurn(t, "sweep", managerA) {
			t.Error("a turn that is over is not taken")
		}
		if err := f.EndTurns(t.Context(), managerA, []string{"sweep"}); err != nil {
			t.Fatal(err)
		}
		if f.takeTurn(t, "sweep", managerA) {
			t.Error("the turn of another was ended")
		}
		if err := f.EndTurns(t.Context(), managerB, []string{"sweep", "none"}); err != nil {
			t.Fatal(err)
		}
		if !f.takeTurn(t, "sweep", managerA) {
			t.Error("a turn that was ended is not taken")
		}
	})
}

// A turn that was taken before the clock was set back does not last until the
// clock is there again.
func TestTurnAfterTheClockWasSetBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if !f.takeTurn(t, "sweep", managerA) {
			t.Fatal("the first one has no turn")
		}
		f.clock.advance(-5 * time.Second)
		if f.takeTurn(t, "sweep", managerB) {
			t.Error("a turn is taken although the clocks differ by little")
		}
		f.clock.advance(-time.Hour)
		if !f.takeTurn(t, "sweep", managerB) {
			t.Error("a turn of another time is not taken")
		}
	})
}

func TestTurnIsTakenOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for range 5 {
			var taken atomic.Int64
			var group sync.WaitGroup
			for _, holder := range []string{managerA, managerB, "01CCCCCCCCCCCCCCCCCCCCCCCC", "01DDDDDDDDDDDDDDDDDDDDDDDD"} {
				group.Go(func() {
					if f.takeTurn(t, "sweep", holder) {
						taken.Add(1)
					}
				})
			}
			group.Wait()
			if taken.Load() != 1 {
				t.Errorf("%d have the turn", taken.Load())
			}
			f.clock.advance(time.Minute)
		}
	})
}
