package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
)

func TestSearchTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		create := func(taskType, identifier, payload string, endpoints ...string) tasker.Task {
			t.Helper()
			task, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: taskType, Identifier: identifier, Payload: []byte(payload), Endpoints: endpoints})
			if err != nil {
				t.Fatal(err)
			}
			return task
		}
		create("worker", "a_1", `{"text":"no Space"}`, "a")
		create("backup", "a_2", `1`, "b")
		create("worker", "aX3", `2`, "a", "b")
		failed := f.send(t, "failed", "b")
		f.receive(t, managerA, incoming(failed, "b", tasker.Running))
		end := finish(failed, "b", 1, tasker.ResultFailed)
		end.Errnr, end.Errmsg = 3, "no Space left"
		f.finish(t, end)
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{failed.ID}, time.Minute); err != nil {
			t.Fatal(err)
		}
		create("other", "a_5", `3`, "a")
		both := []string{"worker", "backup"}
		for name, c := range map[string]struct {
			q    tasker.TaskSearch
			want []string
		}{
			"types":              {tasker.TaskSearch{Types: both}, []string{"failed", "aX3", "a_2", "a_1"}},
			"a type":             {tasker.TaskSearch{Types: []string{"other"}}, []string{"a_5"}},
			"statuses":           {tasker.TaskSearch{Types: both, Statuses: []tasker.TaskStatus{tasker.Failed, tasker.Done}}, []string{"failed"}},
			"an endpoint":        {tasker.TaskSearch{Types: both, Endpoint: "a"}, []string{"aX3", "a_1"}},
			"a prefix":           {tasker.TaskSearch{Types: both, Prefix: "a_"}, []string{"a_2", "a_1"}},
			"a whole name":       {tasker.TaskSearch{Types: both, Prefix: "aX3"}, []string{"aX3"}},
			"text":               {tasker.TaskSearch{Types: both, Text: "no Space"}, []string{"failed", "a_1"}},
			"text in lower case": {tasker.TaskSearch{Types: both, Text: "no space"}, nil},
			"all of it":          {tasker.TaskSearch{Types: both, Text: "left", Endpoint: "b", Prefix: "f", Statuses: []tasker.TaskStatus{tasker.Failed}, Since: f.Now().Add(-time.Hour)}, []string{"failed"}},
			"since the future":   {tasker.TaskSearch{Types: both, Since: f.Now().Add(time.Hour)}, nil},
			"before":             {tasker.TaskSearch{Types: both, Before: failed.ID}, []string{"aX3", "a_2", "a_1"}},
		} {
			for limit := 1; limit <= 5; limit++ { // in pages of any size
				var got []string
				q := c.q
				q.Limit = limit
				for page := 0; ; page++ {
					tasks, next, err := f.Tasks.SearchTasks(t.Context(), q)
					if err != nil || len(tasks) > limit || page > 10 {
						t.Fatalf("%s: %d tasks of %d, page %d, %v", name, len(tasks), limit, page, err)
					}
					for _, task := range tasks {
						got = append(got, task.Identifier)
					}
					if q.Before = next; next == 0 {
						break
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%s, in pages of %d: %v, want %v", name, limit, got, c.want)
				}
			}
		}
		tasks, next, err := f.Tasks.SearchTasks(t.Context(), tasker.TaskSearch{Types: both, Limit: 4, MaxBytes: 1})
		if err != nil || len(tasks) != 1 || next != failed.ID || tasks[0].Payload != nil {
			t.Errorf("%v, next %d, %v", tasks, next, err)
		}
	})
}

// A search goes on where a window ends, and with more types than ranges.
func TestSearchTasksInWindows(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 2*store.TextWindow + 10
		for i := range n {
			payload := fmt.Sprintf(`"%d"`, i%store.TextWindow)
			if _, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: fmt.Sprint(i), Payload: []byte(payload), Endpoints: []string{"a"}}); err != nil {
				t.Fatal(err)
			}
		}
		many := make([]string, store.MaxRanges)
		for i := range many {
			many[i] = fmt.Sprint("type", i)
		}
		for _, types := range [][]string{{"worker"}, append(many, "worker")} {
			var got []string
			q := tasker.TaskSearch{Types: types, Text: `"5"`, Limit: 2}
			for range n {
				tasks, next, err := f.Tasks.SearchTasks(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, task := range tasks {
					got = append(got, task.Identifier)
				}
				if q.Before = next; next == 0 {
					break
				}
			}
			if want := []string{fmt.Sprint(2*store.TextWindow + 5), fmt.Sprint(store.TextWindow + 5), "5"}; !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
	})
}
