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
			f.wantFound(t, name, c.q, c.want)
		}
		tasks, next, err := f.Tasks.SearchTasks(t.Context(), tasker.TaskSearch{Types: both, Limit: 4, MaxBytes: 1})
		if err != nil || len(tasks) != 1 || next != failed.ID || tasks[0].Payload != nil {
			t.Errorf("%v, next %d, %v", tasks, next, err)
		}
	})
}

// wantFound checks what a search finds, in pages of any size.
func (f fixture) wantFound(t *testing.T, name string, q tasker.TaskSearch, want []string) {
	t.Helper()
	before := q.Before
	for limit := 1; limit <= 5; limit++ {
		var got []string
		q.Limit, q.Before = limit, before
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
		if !slices.Equal(got, want) {
			t.Errorf("%s, in pages of %d: %v, want %v", name, limit, got, want)
		}
	}
}

// A window of time has all that was accepted, or has changed, in it, although the order
// of the IDs is not quite that of the times.
func TestSearchTasksByTime(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		if err := f.SyncClock(t.Context()); err != nil { // before the first time is read
			t.Fatal(err)
		}
		begun := f.Now()
		at := func(hours float64) time.Time { return begun.Add(time.Duration(hours * float64(time.Hour))) }
		var tasks []tasker.Task
		create := func(task tasker.Task) {
			t.Helper()
			task.Type = "worker"
			stored, _, err := f.Tasks.CreateTask(t.Context(), task)
			if err != nil {
				t.Fatal(err)
			}
			tasks = append(tasks, stored)
		}
		for i := range 8 { // w0 at 0 h, w1 at 3 h, ...
			create(tasker.Task{Identifier: fmt.Sprint("w", i), Endpoints: []string{"a"}})
			f.clock.advance(3 * time.Hour)
		}
		create(tasker.Task{Identifier: "later", Status: tasker.Scheduled, Start: tasker.Start{In: 100 * time.Hour}})
		if _, err := f.Outbox.MarkSent(t.Context(), tasks[2], nil); err != nil {
			t.Fatal(err)
		}
		for column, c := range map[string]struct {
			task  tasker.Task
			hours float64
		}{"start_time": {tasks[4], 8.5}, "accepted_time": {tasks[8], 20.5}} { // each before the one before
			err := store.Exec(f.Store, "UPDATE tasks SET "+column+" = ? WHERE id = ?", at(c.hours).Format("2006-01-02 15:04:05.000000"), c.task.ID)
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			q    tasker.TaskSearch
			want []string
		}{
			"changed since":                {tasker.TaskSearch{Since: at(12)}, []string{"later", "w7", "w6", "w5", "w4", "w2"}},
			"changed until":                {tasker.TaskSearch{Until: at(12)}, []string{"w3", "w1", "w0"}},
			"changed in":                   {tasker.TaskSearch{Since: at(6), Until: at(12)}, []string{"w3"}},
			"changed in the future":        {tasker.TaskSearch{Since: at(25)}, nil},
			"changed before all":           {tasker.TaskSearch{Until: at(0)}, nil},
			"accepted since":               {tasker.TaskSearch{CreatedSince: at(8.75)}, []string{"later", "w7", "w6", "w5", "w3"}},
			"accepted until":               {tasker.TaskSearch{CreatedUntil: at(21)}, []string{"later", "w6", "w5", "w4", "w3", "w2", "w1", "w0"}},
			"accepted in":                  {tasker.TaskSearch{CreatedSince: at(3), CreatedUntil: at(9)}, []string{"w4", "w2", "w1"}},
			"accepted to start later":      {tasker.TaskSearch{CreatedSince: at(20.25), CreatedUntil: at(20.75)}, []string{"later"}},
			"accepted in the future":       {tasker.TaskSearch{CreatedSince: at(25)}, nil},
			"accepted before all":          {tasker.TaskSearch{CreatedUntil: at(0)}, nil},
			"accepted early, changed late": {tasker.TaskSearch{CreatedUntil: at(12), Since: at(24)}, []string{"w2"}},
			"accepted and changed":         {tasker.TaskSearch{CreatedSince: at(9), Until: at(19)}, []string{"w6", "w5", "w3"}},
		} {
			c.q.Types = []string{"worker"}
			f.wantFound(t, name, c.q, c.want)
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
