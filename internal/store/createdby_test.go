package store_test

import (
	"testing"

	"github.com/taskerhq/tasker"
)

// Who created a task is stored with it, shown wherever it is read, and finds it. It is no
// part of what the same POST is.
func TestCreatedBy(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		create := func(identifier, by string) (tasker.Task, bool) {
			t.Helper()
			task, created, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
				Type: "worker", Identifier: identifier, Payload: []byte("1"), Endpoints: []string{"a"}, CreatedBy: by,
			})
			if err != nil {
				t.Fatal(err)
			}
			return task, created
		}
		if task, created := create("one", "alice@example.com"); !created || task.CreatedBy != "alice@example.com" {
			t.Errorf("%+v", task)
		}
		if task, created := create("one", "bob"); created || task.CreatedBy != "alice@example.com" {
			t.Errorf("the same again: %+v", task)
		}
		create("two", "schedule:nightly")
		create("three", "")
		for identifier, want := range map[string]string{"one": "alice@example.com", "two": "schedule:nightly", "three": ""} {
			found, err := f.Tasks.FindTask(t.Context(), "worker", identifier)
			if err != nil || found.CreatedBy != want {
				t.Errorf("found %q, %v, want %q", found.CreatedBy, err, want)
			}
			peeked, err := f.Tasks.PeekTask(t.Context(), "worker", identifier, 0)
			if err != nil || peeked.CreatedBy != want {
				t.Errorf("peeked %q, %v, want %q", peeked.CreatedBy, err, want)
			}
			viewed, err := f.Tasks.ViewTask(t.Context(), "worker", identifier)
			if err != nil || viewed.CreatedBy != want || viewed.StartTime.IsZero() {
				t.Errorf("viewed %q, %v, want %q", viewed.CreatedBy, err, want)
			}
		}
		listed, _, err := f.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Limit: 10})
		if err != nil || len(listed) != 3 || listed[2].CreatedBy != "alice@example.com" {
			t.Errorf("%+v, %v", listed, err)
		}
		q := tasker.TaskSearch{Types: []string{"worker"}, CreatedBy: "alice@example.com"}
		f.wantFound(t, "created by", q, []string{"one"})
		if counts, err := f.Tasks.CountTasks(t.Context(), q); err != nil || counts.Total != 1 {
			t.Errorf("%+v, %v", counts, err)
		}
	})
}
