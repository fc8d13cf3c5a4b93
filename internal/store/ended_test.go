package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
)

// Whoever ends a task, the aggregation or a removal, says so once.
func TestEndedTasksAreReported(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		got := map[string]int{}
		f.OnEnded(func(taskType string, status tasker.TaskStatus, n int) { got[taskType+" "+string(status)] += n })
		f.acquire(t, managerA, "a", "b")
		var ids []int64
		for identifier, state := range map[string]tasker.ResultState{
			"one": tasker.ResultDone, "two": tasker.ResultDone, "three": tasker.ResultFailed, "runs": tasker.Running,
		} {
			task := f.send(t, identifier, "a")
			ids = append(ids, task.ID)
			f.receive(t, managerA, incoming(task, "a", tasker.Running))
			if state != tasker.Running {
				f.finish(t, finish(task, "a", 1, state))
			}
		}
		for range 2 {
			if _, err := f.Statuses.Aggregate(t.Context(), ids, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		half := f.send(t, "half", "a", "b")
		f.receive(t, managerA, incoming(half, "a", tasker.Running))
		f.finish(t, finish(half, "a", 1, tasker.ResultDone))
		if diff := cmp.Diff(map[string]int{"worker DONE": 2, "worker FAILED": 1}, got); diff != "" {
			t.Error(diff)
		}
		f.clock.advance(time.Hour) // the lease has ended
		f.detach(t, f.remove(t, managerA, "b"), 1)
		if diff := cmp.Diff(map[string]int{"worker DONE": 3, "worker FAILED": 1}, got); diff != "" {
			t.Errorf("after a removal: %s", diff)
		}
	})
}
