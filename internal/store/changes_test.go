package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

func TestChangedTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var tasks []tasker.Task
		for i := range 5 { // the first three at the same time
			if i > 2 {
				f.clock.advance(time.Second)
			}
			tasks = append(tasks, f.create(t, fmt.Sprint("t", i)))
		}
		f.clock.advance(time.Second)
		if _, err := f.Outbox.MarkSent(t.Context(), tasks[1], nil); err != nil {
			t.Fatal(err)
		}
		all := func(position tasker.ChangePosition, limit int) (ids []int64) {
			t.Helper()
			for {
				page, next, _, err := f.Tasks.ChangedTasks(t.Context(), position, limit, nil)
				if err != nil || len(page) > limit || len(ids) > len(tasks) {
					t.Fatalf("%d tasks, %v", len(page), err)
				}
				if len(page) == 0 {
					if next != position {
						t.Errorf("behind the last the position is %v, and was %v", next, position)
					}
					return ids
				}
				for _, task := range page {
					ids = append(ids, task.ID)
				}
				position = next
			}
		}
		want := []int64{tasks[0].ID, tasks[2].ID, tasks[3].ID, tasks[4].ID, tasks[1].ID}
		for _, limit := range []int{1, 2, 100} {
			if got := all(tasker.ChangePosition{}, limit); !slices.Equal(got, want) {
				t.Errorf("in pages of %d: %v, want %v", limit, got, want)
			}
		}
		if got := all(tasker.ChangePosition{LastModifiedTime: tasks[3].LastModifiedTime}, 10); !slices.Equal(got, want[2:]) {
			t.Errorf("from a time on: %v, want %v", got, want[2:])
		}
		page, _, _, err := f.Tasks.ChangedTasks(t.Context(), tasker.ChangePosition{LastModifiedTime: f.Now().Add(-time.Microsecond)}, 10, nil)
		if err != nil || len(page) != 1 || page[0].Status != tasker.Sent || page[0].Identifier != "t1" || page[0].Payload != nil {
			t.Errorf("%+v, %v", page, err)
		}
	})
}
