package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// Tasks that are created together become what each would become alone.
func TestCreateTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		known := f.create(t, "known")
		payload := json.RawMessage(`{"foo":"bar"}`)
		large := json.RawMessage(`"` + strings.Repeat("x", 700_000) + `"`)
		tasks := []tasker.Task{
			{Type: "worker", Identifier: "one", Payload: payload},
			{Type: "worker", Identifier: "known", Payload: payload},
			{Type: "worker", Identifier: "known", Payload: payload, Endpoints: []string{"a"}},
			{Type: "other", Identifier: "one", Payload: large, Endpoints: []string{"a", "z"}},
			{Type: "worker", Identifier: "one", Payload: payload},
			{Type: "worker", Identifier: "one", Payload: large},
			{Type: "worker", Identifier: "bad", Payload: json.RawMessage(`{`)},
			{Type: "worker", Identifier: "two", Payload: large},
			{Type: "worker", Identifier: "three"},
		}
		got, err := f.Tasks.CreateTasks(t.Context(), tasks)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct {
			created bool
			code    tasker.Code
			targets []string
		}{
			{created: true, targets: []string{"a", "b"}},
			{targets: []string{"a", "b"}},
			{code: tasker.Conflict},
			{created: true, targets: []string{"a", "z"}},
			{targets: []string{"a", "b"}},
			{code: tasker.Conflict},
			{code: tasker.Malformed},
			{created: true, targets: []string{"a", "b"}},
			{created: true, targets: []string{"a", "b"}},
		} {
			if got[i].Created != want.created || tasker.CodeOf(got[i].Err) != want.code {
				t.Errorf("task %d: created %t, %v, want %+v", i, got[i].Created, got[i].Err, want)
			}
			if want.code != "" {
				continue
			}
			stored, err := f.Tasks.FindTask(t.Context(), tasks[i].Type, tasks[i].Identifier)
			if err != nil || stored.ID != got[i].Task.ID || stored.Status != tasker.Created ||
				string(stored.Payload) != string(got[i].Task.Payload) {
				t.Errorf("task %d: stored as %d %s, %v, created as %d", i, stored.ID, stored.Status, err, got[i].Task.ID)
			}
			if !slices.Equal(targetsOf(t, f, stored.ID), want.targets) {
				t.Errorf("task %d: targets %v, want %v", i, targetsOf(t, f, stored.ID), want.targets)
			}
		}
		if got[1].Task.ID != known.ID || got[4].Task.ID != got[0].Task.ID {
			t.Errorf("repetitions have other ids: %d for %d, %d for %d", got[1].Task.ID, known.ID, got[4].Task.ID, got[0].Task.ID)
		}
		if none, err := f.Tasks.CreateTasks(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("of none: %v, %v", none, err)
		}
	})
}

// Batches of several processes that overlap, in other orders, create each task once.
func TestCreateTasksAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const processes, tasks = 4, 30
		var mu sync.Mutex
		created, ids := map[string]int{}, map[string]map[int64]bool{}
		var group sync.WaitGroup
		for p := range processes {
			group.Go(func() {
				list := make([]tasker.Task, tasks)
				for i := range list {
					list[i] = tasker.Task{Type: "worker", Identifier: fmt.Sprint("t", (i*(p*2+1))%tasks), Payload: json.RawMessage("1")}
				}
				got, err := f.Tasks.CreateTasks(t.Context(), list)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for i, c := range got {
					name := list[i].Identifier
					if c.Err != nil {
						t.Error(c.Err)
					}
					if c.Created {
						created[name]++
					}
					if ids[name] == nil {
						ids[name] = map[int64]bool{}
					}
					ids[name][c.Task.ID] = true
				}
			})
		}
		group.Wait()
		for name, n := range created {
			if n != 1 || len(ids[name]) != 1 {
				t.Errorf("%s was created %d times, with the ids %v", name, n, ids[name])
			}
		}
	})
}

// Tasks that are marked as sent together become what each would become alone.
func TestMarkSents(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		one, two, three := f.create(t, "one"), f.create(t, "two", "a"), f.create(t, "three", "a", "z")
		check := func(got []ledger.Marking, err error, want ...tasker.Task) {
			t.Helper()
			if err != nil || len(got) != len(want) {
				t.Fatal(got, err)
			}
			for i, task := range want {
				stored, err := f.Tasks.FindTask(t.Context(), "worker", task.Identifier)
				if err != nil || got[i].Err != nil {
					t.Fatal(err, got[i].Err)
				}
				if m := got[i].Task; m.ID != task.ID || m.Status != tasker.Sent || stored.Status != tasker.Sent ||
					!m.SentTime.Truncate(1000).Equal(*stored.SentTime) || !slices.Equal(stored.Unserved, task.Unserved) {
					t.Errorf("%s: marked %+v, stored %+v", task.Identifier, m, stored)
				}
			}
		}
		unserved := three
		unserved.Unserved = []string{"z"}
		got, err := f.Outbox.MarkSents(t.Context(), []ledger.Sent{{Task: one}, {Task: two}, {Task: three, Unserved: []string{"z"}}})
		check(got, err, one, two, unserved)
		// One is marked already, and another one twice.
		four, five := f.create(t, "four"), f.create(t, "five")
		got, err = f.Outbox.MarkSents(t.Context(), []ledger.Sent{{Task: one}, {Task: four}, {Task: five}, {Task: four}})
		check(got, err, one, four, five, four)
		if got[0].Task.LastModifiedTime.After(got[1].Task.LastModifiedTime) {
			t.Error("the task that was marked before was marked again")
		}
	})
}

// targetsOf returns the targets of a task.
func targetsOf(t *testing.T, f fixture, taskID int64) []string {
	t.Helper()
	targets, err := store.Targets(t.Context(), f.Store, taskID)
	if err != nil {
		t.Fatal(err)
	}
	return targets
}
