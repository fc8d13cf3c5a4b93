package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
)

// label is a filter of a label, such as "ticket=CHG-7".
func label(s string) tasker.LabelFilter { return tasker.ParseLabelFilter(s) }

// A task keeps its labels, whatever reads it, and they are part of the request.
func TestLabelsOfATask(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		labels := map[string]string{"ticket": "CHG-7", "note": ` "quoted" <é> `, "empty": ""}
		post := func(labels map[string]string) (tasker.Task, bool, error) {
			return f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "one", Labels: labels})
		}
		task, created, err := post(labels)
		if err != nil || !created || !maps.Equal(task.Labels, labels) {
			t.Fatalf("%v, %v, %v", task.Labels, created, err)
		}
		if task, created, err := post(maps.Clone(labels)); err != nil || created || !maps.Equal(task.Labels, labels) {
			t.Errorf("the same again: %v, %v, %v", task.Labels, created, err)
		}
		for name, other := range map[string]map[string]string{"none": nil, "fewer": {"ticket": "CHG-7"}} {
			if err := second(post(other)); tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("the same identifier with %s: %v", name, err)
			}
		}
		if n := f.count(t, "task_labels"); n != len(labels) {
			t.Errorf("%d rows, want %d", n, len(labels))
		}
		changed := func() (tasker.Task, error) {
			tasks, _, _, err := f.Tasks.ChangedTasks(t.Context(), tasker.ChangePosition{}, 1, nil)
			return slices.Concat(tasks, make([]tasker.Task, 1))[0], err
		}
		listed := func() (tasker.Task, error) {
			tasks, _, err := f.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Limit: 1})
			return slices.Concat(tasks, make([]tasker.Task, 1))[0], err
		}
		for what, find := range map[string]func() (tasker.Task, error){
			"FindTask":     func() (tasker.Task, error) { return f.Tasks.FindTask(t.Context(), "worker", "one") },
			"PeekTask":     func() (tasker.Task, error) { return f.Tasks.PeekTask(t.Context(), "worker", "one", 0) },
			"ViewTask":     func() (tasker.Task, error) { return f.Tasks.ViewTask(t.Context(), "worker", "one") },
			"ChangedTasks": changed, "ListTasks": listed,
		} {
			if task, err := find(); err != nil || !maps.Equal(task.Labels, labels) {
				t.Errorf("%s: labels %v, %v", what, task.Labels, err)
			}
		}
	})
}

func TestSearchTasksByLabel(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		task := func(taskType, identifier string, labels ...string) tasker.Task {
			task := tasker.Task{Type: taskType, Identifier: identifier, Endpoints: []string{"a"}, Labels: map[string]string{}}
			for _, l := range labels {
				task.Labels[label(l).Key] = *label(l).Value
			}
			return task
		}
		// Together, as the requests of an API process are.
		creations, err := f.Tasks.CreateTasks(t.Context(), []tasker.Task{
			task("worker", "w1", "ticket=CHG-7", "customer=acme"),
			task("worker", "w2"),
			task("worker", "w3", "ticket=CHG-8", "customer=acme"),
			task("backup", "b4", "ticket=CHG-7", "customer=Acme"),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range creations {
			if c.Err != nil || !c.Created {
				t.Fatalf("%+v", c)
			}
		}
		f.put(t, hourly("nightly"))
		step := firing(f.schedule(t, "nightly"))
		step.Task.Labels = map[string]string{"from": "schedule"}
		if stepped, err := f.Schedules.StepSchedule(t.Context(), step); err != nil || !stepped.Created {
			t.Fatalf("%+v, %v", stepped, err)
		}
		later := task("worker", "later5", "ticket=CHG-7 ", "customer=")
		later.Status, later.Start = tasker.Scheduled, tasker.Start{In: time.Hour}
		for _, one := range []tasker.Task{later, task("other", "o6", "ticket=CHG-7")} {
			if _, _, err := f.Tasks.CreateTask(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
		both := []string{"worker", "backup"}
		for name, c := range map[string]struct {
			labels string
			q      tasker.TaskSearch
			want   []string
		}{
			"a value":            {"ticket=CHG-7", tasker.TaskSearch{Types: both}, []string{"b4", "w1"}},
			"in another case":    {"customer=Acme", tasker.TaskSearch{Types: both}, []string{"b4"}},
			"a blank more":       {"ticket=CHG-7 ", tasker.TaskSearch{Types: both}, []string{"later5"}},
			"no text":            {"customer=", tasker.TaskSearch{Types: both}, []string{"later5"}},
			"any value":          {"ticket", tasker.TaskSearch{Types: both}, []string{"later5", "b4", "w3", "w1"}},
			"no such value":      {"ticket=CHG-9", tasker.TaskSearch{Types: both}, nil},
			"no such label":      {"Ticket", tasker.TaskSearch{Types: both}, nil},
			"of a type":          {"ticket=CHG-7", tasker.TaskSearch{Types: []string{"worker"}}, []string{"w1"}},
			"with a status":      {"ticket", tasker.TaskSearch{Types: both, Statuses: []tasker.TaskStatus{tasker.Scheduled}}, []string{"later5"}},
			"two":                {"customer=acme&ticket=CHG-7", tasker.TaskSearch{Types: both}, []string{"w1"}},
			"one has any value":  {"ticket&customer=acme", tasker.TaskSearch{Types: both}, []string{"w3", "w1"}},
			"at no endpoint":     {"ticket=CHG-7", tasker.TaskSearch{Types: both, Endpoint: "b"}, nil},
			"at an endpoint":     {"ticket=CHG-7", tasker.TaskSearch{Types: both, Endpoint: "a"}, []string{"b4", "w1"}},
			"an endpoint first":  {"ticket", tasker.TaskSearch{Types: both, Endpoint: "a"}, []string{"b4", "w3", "w1"}},
			"another endpoint":   {"ticket", tasker.TaskSearch{Types: both, Endpoint: "b"}, nil},
			"with an identifier": {"ticket", tasker.TaskSearch{Types: both, Prefix: "w"}, []string{"w3", "w1"}},
			"of a schedule":      {"from=schedule", tasker.TaskSearch{Types: both}, []string{step.Task.Identifier}},
			"before":             {"ticket", tasker.TaskSearch{Types: both, Before: creations[2].Task.ID}, []string{"w1"}},
		} {
			for l := range strings.SplitSeq(c.labels, "&") {
				c.q.Labels = append(c.q.Labels, label(l))
			}
			f.wantFound(t, name, c.q, c.want)
		}
	})
}

// A search reads the tasks with the rarest of its labels, in whatever order they are given.
func TestSearchByTheRarestLabel(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for i := range 12 {
			labels := map[string]string{"env": "prod"}
			if i == 0 {
				labels["ticket"] = "CHG-7"
			}
			_, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: fmt.Sprint("w", i), Labels: labels})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, labels := range []string{"env=prod&ticket=CHG-7", "ticket=CHG-7&env=prod", "env=prod&env&ticket=CHG-7"} {
			q := tasker.TaskSearch{Types: []string{"worker"}}
			for l := range strings.SplitSeq(labels, "&") {
				q.Labels = append(q.Labels, label(l))
			}
			f.wantFound(t, labels, q, []string{"w0"})
			// It looks at two tasks.
			if counts, err := store.CountTasks(t.Context(), f.Store, q, 2, time.Hour); err != nil || counts.Total != 1 || counts.AtLeast {
				t.Errorf("%s: %+v, %v", labels, counts, err)
			}
		}
	})
}

// The labels of a task are deleted with it, and those that a program left which knows of
// none later.
func TestPurgeLabels(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		var tasks []tasker.Task
		for i := range 3 {
			task, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
				Type: "worker", Identifier: fmt.Sprint(i), Endpoints: []string{"a"}, Labels: map[string]string{"n": fmt.Sprint(i), "all": ""},
			})
			if err != nil {
				t.Fatal(err)
			}
			tasks = append(tasks, task)
		}
		if err := store.Exec(f.Store, "DELETE FROM tasks WHERE id = ?", tasks[0].ID); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Outbox.MarkSent(t.Context(), tasks[1], nil); err != nil {
			t.Fatal(err)
		}
		f.end(t, tasks[1], tasker.ResultDone, "a")
		later := f.Now().Add(time.Second)
		if n, _ := f.purgeTasks(t, later, nil, 10); n != 1 {
			t.Fatalf("%d tasks were deleted", n)
		}
		if n := f.count(t, fmt.Sprint("task_labels WHERE task_id = ", tasks[1].ID)); n != 0 {
			t.Errorf("a deleted task has %d labels", n)
		}
		f.wantFound(t, "what is left", tasker.TaskSearch{Types: []string{"worker"}, Labels: []tasker.LabelFilter{label("all")}}, []string{"2"})
		for range 10 { // the results, and then one target or label at a time
			f.purgeResults(t, later, 1)
		}
		if n := f.count(t, "task_labels"); n != 2 {
			t.Errorf("%d labels are left, want those of one task", n)
		}
	})
}

// The labels of deleted tasks are deleted while those of another one are locked, in a table
// that is so small that the server might read all of it.
func TestPurgeLabelsBesideOthers(t *testing.T) {
	t.Parallel()
	f, r := against(t)
	f.acquire(t, managerA, "a")
	var ids []int64
	for _, identifier := range []string{"one", "two", "left"} {
		task, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
			Type: "worker", Identifier: identifier, Endpoints: []string{"a"}, Labels: map[string]string{"ticket": identifier},
		})
		if err == nil {
			task, err = f.Outbox.MarkSent(t.Context(), task, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, task.ID); identifier != "left" {
			f.end(t, task, tasker.ResultDone, "a")
		}
	}
	r.do("BEGIN")
	r.lock("task_labels", fmt.Sprint("task_id = ", ids[2]))
	if n, _ := f.purgeTasks(t, f.Now().Add(time.Second), nil, 10); n != 2 {
		t.Errorf("%d tasks were deleted, want 2", n)
	}
	if n := f.count(t, "task_labels"); n != 1 {
		t.Errorf("%d labels are left, want 1", n)
	}
	r.do("ROLLBACK")
}
