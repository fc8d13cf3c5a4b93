package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// topicalOf returns a new task with the topic "nightly".
func topicalOf(identifier string, on tasker.OnConflict, endpoints ...string) tasker.Task {
	return tasker.Task{
		Type: "worker", Identifier: identifier, Payload: []byte(`{"foo":"bar"}`), Endpoints: endpoints, Topic: "nightly", OnConflict: on,
	}
}

// supersede creates a task that supersedes the older ones of its topic.
func (f fixture) supersede(t *testing.T, identifier string, endpoints ...string) tasker.Task {
	t.Helper()
	task, created, err := f.Tasks.CreateTask(t.Context(), topicalOf(identifier, tasker.ConflictSupersede, endpoints...))
	if err != nil || !created {
		t.Fatalf("created: %t, %v", created, err)
	}
	return task
}

// sentTopical is supersede for a task that is sent.
func (f fixture) sentTopical(t *testing.T, identifier string, endpoints ...string) tasker.Task {
	t.Helper()
	task, err := f.Outbox.MarkSent(t.Context(), f.supersede(t, identifier, endpoints...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func wantStates(t *testing.T, f fixture, task tasker.Task, want string) {
	t.Helper()
	if got := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(f.states(t, task)), "map["), "]"); got != want {
		t.Errorf("%s has %s, want %s", task.Identifier, got, want)
	}
}

// While a task of the topic has not ended another one is refused, and leaves nothing.
func TestTopicRefuses(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		first, _, err := f.Tasks.CreateTask(t.Context(), topicalOf("first", tasker.ConflictRefuse, "a"))
		if err != nil || first.Topic != "nightly" || first.OnConflict != tasker.ConflictRefuse {
			t.Fatal(first, err)
		}
		again, created, err := f.Tasks.CreateTask(t.Context(), topicalOf("first", "", "a"))
		if err != nil || created || again.ID != first.ID {
			t.Errorf("the same again: %d, %t, %v", again.ID, created, err)
		}
		_, _, err = f.Tasks.CreateTask(t.Context(), topicalOf("first", tasker.ConflictSupersede, "a"))
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "another payload") {
			t.Errorf("with another on_conflict: %v", err)
		}
		_, _, err = f.Tasks.CreateTask(t.Context(), topicalOf("second", "", "a"))
		if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), `"first" is CREATED`) {
			t.Errorf("the second: %v", err)
		}
		wantTopic := func(task tasker.Task, want error) {
			t.Helper()
			if got := f.Tasks.CheckTopic(t.Context(), task); fmt.Sprint(got) != fmt.Sprint(want) || tasker.CodeOf(got) != tasker.CodeOf(want) {
				t.Errorf("%s would be refused: %v, want %v", task.Identifier, got, want)
			}
		}
		wantTopic(topicalOf("second", "", "a"), err)
		wantTopic(topicalOf("second", tasker.ConflictSupersede, "a"), nil)
		if n, m := f.rows(t, "tasks"), f.rows(t, "topic_tasks"); n != 1 || m != 1 {
			t.Errorf("%d tasks, %d of topics", n, m)
		}
		for _, other := range []tasker.Task{
			{Type: "worker", Identifier: "weekly", Topic: "weekly"},
			{Type: "backup", Identifier: "nightly", Topic: "nightly"},
			{Type: "worker", Identifier: "none"},
		} {
			wantTopic(other, nil)
			if _, created, err := f.Tasks.CreateTask(t.Context(), other); err != nil || !created {
				t.Errorf("%s: %t, %v", other.Identifier, created, err)
			}
		}
		if first, err = f.Outbox.MarkSent(t.Context(), first, nil); err != nil {
			t.Fatal(err)
		}
		f.end(t, first, tasker.ResultDone, "a")
		wantTopic(topicalOf("second", "", "a"), nil)
		if _, created, err := f.Tasks.CreateTask(t.Context(), topicalOf("second", "", "a")); err != nil || !created {
			t.Errorf("the second, after the first: %t, %v", created, err)
		}
		list, err := f.Tasks.CreateTasks(t.Context(), []tasker.Task{topicalOf("third", "", "a"), {Type: "worker", Identifier: "beside"}})
		if err != nil || tasker.CodeOf(list[0].Err) != tasker.Conflict || !list[1].Created {
			t.Errorf("together: %+v, %v", list, err)
		}
		q := tasker.TaskSearch{Types: []string{"worker", "backup"}, Topic: "nightly", Limit: 10}
		found, _, err := f.Tasks.SearchTasks(t.Context(), q)
		if err != nil || len(found) != 3 || found[0].Identifier != "second" || found[0].Topic != "nightly" {
			t.Errorf("of the topic: %+v, %v", found, err)
		}
	})
}

// Of tasks of a topic that begin at the same time one is the newest: it alone is left, or
// it alone is accepted.
func TestTopicsAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		const n = 8
		for _, on := range tasker.OnConflicts() {
			created, errs := make([]tasker.Task, n), make([]error, n)
			var group sync.WaitGroup
			for i := range n {
				group.Go(func() {
					task := topicalOf(fmt.Sprint(on, i), on, "a")
					task.Topic = string(on)
					created[i], _, errs[i] = f.Tasks.CreateTask(t.Context(), task)
				})
			}
			group.Wait()
			left := 0
			for i := range n {
				switch {
				case tasker.CodeOf(errs[i]) == tasker.Conflict && on == tasker.ConflictRefuse:
				case errs[i] != nil:
					t.Errorf("%s: %v", on, errs[i])
				case f.states(t, created[i])["a"] != tasker.Superseded:
					left++
				}
			}
			if left != 1 {
				t.Errorf("%s: %d are left", on, left)
			}
		}
	})
}

// Nothing of a topic is left when its last task is deleted.
func TestPurgeTopics(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		older, newer := f.sentTopical(t, "older", "a"), f.sentTopical(t, "newer", "a")
		if status := f.status(t, older); status != tasker.Canceled {
			t.Fatalf("it is %s", status)
		}
		f.clock.advance(time.Hour)
		purged, _ := f.purgeTasks(t, f.Now().Add(-time.Minute), nil, 10)
		if topics, tasks := f.rows(t, "topics"), f.rows(t, "topic_tasks"); purged != 1 || topics != 1 || tasks != 1 {
			t.Errorf("%d deleted, %d topics with %d tasks", purged, topics, tasks)
		}
		f.end(t, newer, tasker.ResultDone, "a")
		f.clock.advance(time.Hour)
		if purged, _ := f.purgeTasks(t, f.Now().Add(-time.Minute), nil, 10); purged != 1 {
			t.Errorf("%d deleted", purged)
		}
		f.wantEmpty(t, "topics", "topic_tasks")
	})
}
