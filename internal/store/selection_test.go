package store_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
)

// How endpoints were chosen is kept with a task, and is what makes a request the
// same: the choice is not.
func TestSelection(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		given := tasker.Task{
			Type: "worker", Identifier: "a", Payload: []byte("1"), Endpoints: []string{"a", "b"},
			Select: []string{"role=web,zone!=eu", `note="<ü>"`}, Chosen: new(20), Limit: "10%", Seed: "blue",
		}
		if _, found, err := f.Tasks.SameTask(t.Context(), given); found || err != nil {
			t.Fatalf("found %t, %v", found, err)
		}
		task, created, err := f.Tasks.CreateTask(t.Context(), given)
		if err != nil || !created {
			t.Fatalf("created %t, %v", created, err)
		}
		if got := targetsOf(t, f, task.ID); !slices.Equal(got, given.Endpoints) {
			t.Errorf("targets %v", got)
		}
		found, err := f.Tasks.FindTask(t.Context(), "worker", "a")
		if err != nil {
			t.Fatal(err)
		}
		view, err := f.Tasks.ViewTask(t.Context(), "worker", "a")
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := f.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Limit: 1})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		for _, got := range []tasker.Task{task, found, view, list[0]} {
			way := func(t tasker.Task) []any { return []any{t.Endpoints, t.Select, *t.Chosen, t.Limit, t.Seed} }
			if diff := cmp.Diff(way(given), way(got)); diff != "" {
				t.Error(diff)
			}
		}

		again := given
		again.Endpoints, again.Chosen = []string{"c"}, new(1)
		stored, created, err := f.Tasks.CreateTask(t.Context(), again)
		if err != nil || created || stored.ID != task.ID || !slices.Equal(stored.Endpoints, given.Endpoints) {
			t.Errorf("another choice: %+v, created %t, %v", stored, created, err)
		}
		again.Endpoints, again.Chosen = nil, nil
		if same, found, err := f.Tasks.SameTask(t.Context(), again); err != nil || !found || same.ID != task.ID {
			t.Errorf("before a choice: %+v, found %t, %v", same, found, err)
		}
		for name, change := range map[string]func(*tasker.Task){
			"selector": func(t *tasker.Task) { t.Select = []string{"role=web"} },
			"limit":    func(t *tasker.Task) { t.Limit = "11%" },
			"seed":     func(t *tasker.Task) { t.Seed = "red" },
			"payload":  func(t *tasker.Task) { t.Payload = []byte("2") },
			"listed":   func(t *tasker.Task) { t.Select, t.Limit, t.Seed, t.Chosen = nil, "", "", nil },
		} {
			other := given
			change(&other)
			_, _, err := f.Tasks.CreateTask(t.Context(), other)
			if tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("another %s: %v", name, err)
			}
			if _, found, err := f.Tasks.SameTask(t.Context(), other); found || tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("another %s: found %t, %v", name, found, err)
			}
		}

		// A choice of nobody is for nobody, not for everybody.
		f.acquire(t, managerA, "a")
		none := tasker.Task{Type: "worker", Identifier: "none", Endpoints: []string{}, Select: []string{"role=none"}, Chosen: new(0)}
		if task, _, err = f.Tasks.CreateTask(t.Context(), none); err != nil {
			t.Fatal(err)
		}
		found, err = f.Tasks.FindTask(t.Context(), "worker", "none")
		if err != nil || found.Endpoints == nil || len(found.Expected) > 0 || found.Addressed("a") || len(targetsOf(t, f, task.ID)) > 0 {
			t.Errorf("of nobody: %+v, %v", found, err)
		}
	})
}
