package rollout_test

import (
	"slices"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/rollout"
)

func TestWindow(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"max_concurrency":3,"max_failures":1}`, 6)
	f.advance()
	f.want(rollout.Running, 3)
	if d := f.decide(); d.Action != rollout.Wait {
		t.Fatalf("%+v", d)
	}
	f.end(tasker.ResultDone, 2, 2)
	f.advance()
	f.want(rollout.Running, 4)
	f.end(tasker.Lost, 1, 1) // it frees its place
	f.advance()
	f.want(rollout.Running, 5)
	f.end(tasker.Running, 1, 1) // it is back, and one too many
	f.end(tasker.ResultDone, 3, 3)
	f.advance()
	f.want(rollout.Running, 5)
	f.end(tasker.ResultFailed, 1, 1)
	f.advance()
	f.want(rollout.Running, 6)
	f.end(tasker.ResultFailed, 4, 4)
	f.advance()
	f.want(rollout.Halted, 6)
	f.end(tasker.ResultDone, 5, 6)
	f.advance()
	f.want(rollout.Done, 6)
	if slices.Contains(f.log, rollout.Close) {
		t.Error(f.log)
	}
}

func TestRamp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `{"max_concurrency":10,"ramp":true,"max_failures":1}`, 100)
	f.advance()
	f.want(rollout.Running, 1)
	f.end(tasker.ResultFailed, 1, 1) // no success
	f.advance()
	f.want(rollout.Running, 2)
	ended := 1
	for _, size := range []int{2, 4, 8, 10, 10} {
		f.end(tasker.ResultDone, ended+1, f.opened())
		ended = f.opened()
		f.advance()
		f.want(rollout.Running, ended+size)
	}
	// Halfway through a round, the window is that of the round before.
	g := newFleet(t, `{"max_concurrency":10,"ramp":true}`, 100)
	g.advance()
	g.end(tasker.ResultDone, 1, 1)
	g.advance()
	g.want(rollout.Running, 3)
	g.end(tasker.ResultDone, 2, 2)
	g.advance()
	g.want(rollout.Running, 4)
	g.resume(true)
	g.advance()
	g.want(rollout.Running, 12) // promoted: the whole window, and no more
}

// Counts that are older than the record open nothing twice, or too much.
func TestOldCounts(t *testing.T) {
	t.Parallel()
	for _, object := range []string{`{"batch":2}`, `{"max_concurrency":2}`} {
		f := newFleet(t, object, 6)
		old := f.view()
		f.apply(f.decide())
		if d := rollout.Decide(f.p, f.s, f.rec, old); d.Action != rollout.Wait {
			t.Errorf("%s: %+v", object, d)
		}
	}
}
