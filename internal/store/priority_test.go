package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// prior stores a task with a priority for endpoint a, which started so many minutes
// after one o'clock, as sent.
func (f fixture) prior(t *testing.T, identifier string, priority, minutes int) tasker.Task {
	t.Helper()
	task, created, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: identifier, Endpoints: []string{"a"}, Priority: priority,
	})
	if err != nil || !created {
		t.Fatalf("CreateTask: created %v, %v", created, err)
	}
	if task, err = f.Outbox.MarkSent(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	task.StartTime = time.Date(2026, 5, 6, 1, minutes, 0, 0, time.UTC)
	f.exec(t, fmt.Sprintf("UPDATE tasks SET start_time = '%s' WHERE id = %d", task.StartTime.Format("2006-01-02 15:04:05.000000"), task.ID))
	return task
}

// waitingAt returns the names of the tasks of what waits at endpoint a, in order.
func (f fixture) waitingAt(t *testing.T, limit int) string {
	t.Helper()
	work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", limit)
	if err != nil {
		t.Fatal(err)
	}
	return names(work)
}

func names(work []ledger.Work) string {
	var list []string
	for _, w := range work {
		list = append(list, w.Task.Identifier)
	}
	return strings.Join(list, " ")
}

// What waits at an endpoint is in the order of the priorities, which those that wait
// rise by: ten minutes are a step.
func TestWaitingByPriority(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		var messages []ledger.Incoming
		for _, one := range []struct {
			identifier        string
			priority, minutes int
		}{
			{"old", 0, 10}, {"newer", 0, 20}, {"equal", 1, 30}, {"step", 1, 29}, {"high", 9, 99}, {"late", 9, 101}, {"first", 9, 2},
		} {
			task := f.prior(t, one.identifier, one.priority, one.minutes)
			if task.Priority != one.priority {
				t.Errorf("%s: %+v", one.identifier, task)
			}
			messages = append(messages, incoming(task, "a", tasker.Received))
		}
		recordings := f.receive(t, managerA, messages...)
		if got := f.waitingAt(t, 10); got != "first high old late step newer equal" {
			t.Errorf("waiting: %s", got)
		}
		if got := f.waitingAt(t, 2); got != "first high" {
			t.Errorf("the first two: %s", got)
		}
		work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
		if err != nil {
			t.Fatal(err)
		}
		orders := map[int64]int64{}
		for _, w := range work {
			orders[w.Task.ID] = w.StartOrder
		}
		again := f.receive(t, managerA, messages...)
		for i, r := range recordings {
			id := messages[i].TaskID
			if orders[id] == 0 || r.StartOrder != orders[id] || again[i].Outcome != ledger.Duplicate || again[i].StartOrder != orders[id] {
				t.Errorf("task %d: recorded with order %d, again %d, stored %d", id, r.StartOrder, again[i].StartOrder, orders[id])
			}
		}
	})
}

// A result keeps its place when it is given back, and while it is LOST. A retry waits
// from when it is due, and one of another round from the beginning of that.
func TestPlaceOfAWaitingResult(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task, other := f.prior(t, "one", 3, 0), f.prior(t, "other", 0, 0)
		order := f.receive(t, managerA, incoming(task, "a", tasker.Running))[0].StartOrder
		if want := ledger.StartOrder(task.StartTime, 3); order != want {
			t.Errorf("order %d, want %d", order, want)
		}
		place := func(what string, want int64) {
			t.Helper()
			work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
			if err != nil || len(work) != 1 || work[0].StartOrder != want {
				t.Errorf("%s: %+v, %v, want order %d", what, work, err, want)
			}
		}
		given, err := f.Attempts.ReturnAttempts(t.Context(), startsOf(managerA, []ledger.Start{{ResultKey: key(task, "a"), Attempt: 1}}))
		if err != nil || !given[0] {
			t.Fatal(given, err)
		}
		place("given back", order)
		f.exec(t, "UPDATE task_results SET lost_from = state, state = 'LOST'")
		if n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		place("back", order)

		f.receive(t, managerA, incoming(other, "a", tasker.Running))
		if !f.start(t, managerA, task, "a", 0) {
			t.Fatal("not started")
		}
		retry, done := finish(task, "a", 1, tasker.Retrying), finish(other, "a", 1, tasker.ResultDone)
		retry.RetryDelay = -time.Minute
		f.finish(t, retry, done)
		due, err := f.Attempts.DueWork(t.Context(), "a", "worker", 10)
		if err != nil || len(due) != 1 || due[0].StartOrder != ledger.StartOrder(*due[0].RetryTime, 3) {
			t.Fatalf("due: %+v, %v", due, err)
		}

		f.start(t, managerA, task, "a", 1)
		f.finish(t, finish(task, "a", 2, tasker.ResultFailed))
		f.aggregate(t, task.ID)
		outcome := f.retry(t, retryOf(task, tasker.RetryFailed))
		place("another round", ledger.StartOrder(*outcome.Task.RoundTime, 3))
	})
}

func key(task tasker.Task, endpoint string) tasker.ResultKey {
	return tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}
}

// The position of a result is its place among those of its type that wait at its
// endpoint and are not held, and it moves up.
func TestPosition(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		position := func(task tasker.Task, want int) {
			t.Helper()
			r, err := f.Results.FindResult(t.Context(), task.ID, "a")
			if err != nil || r.Position != want {
				t.Errorf("%s has position %d, want %d, %v", task.Identifier, r.Position, want, err)
			}
		}
		low, high, running := f.prior(t, "low", 0, 0), f.prior(t, "high", 9, 0), f.prior(t, "running", 9, 0)
		retried := f.prior(t, "retried", 0, 0)
		elsewhere := f.send(t, "elsewhere", "b")
		another, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
			Type: "sleep", Identifier: "another", Endpoints: []string{"a"}, Priority: 9,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.receive(t, managerA, incoming(low, "a", tasker.Received), incoming(high, "a", tasker.Received),
			incoming(another, "a", tasker.Received), incoming(running, "a", tasker.Running), incoming(retried, "a", tasker.Running),
			incoming(elsewhere, "b", tasker.Received))
		position(high, 1)
		position(low, 2)
		position(running, 0)
		position(another, 1)

		again := finish(retried, "a", 1, tasker.Retrying)
		again.RetryDelay = time.Hour
		f.finish(t, again)
		position(retried, 0)
		f.exec(t, fmt.Sprintf("UPDATE task_results SET retry_time = '2026-05-06 01:00:00.000000', start_order = 1"+
			" WHERE task_id = %d", retried.ID))
		position(retried, 1)
		position(low, 3)

		f.hold(t, taskSubject(high), tasker.Expiry{})
		position(low, 2)
		position(high, 2) // its place when it is resumed
		f.unhold(t, taskSubject(high), true)
		f.start(t, managerA, high, "a", 0)
		f.start(t, managerA, retried, "a", 1)
		position(low, 1)
		f.start(t, managerA, low, "a", 0)
		position(low, 0)
	})
}

// A program that does not know priorities records results that come first, in the order
// of their tasks.
func TestPlacesOfAnOlderProgram(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		first, second, high := f.prior(t, "first", 0, 0), f.prior(t, "second", 0, 0), f.prior(t, "high", 9, 0)
		for _, task := range []tasker.Task{second, first} {
			f.oldRecord(t, task, "a")
		}
		f.exec(t, "UPDATE task_results SET state = 'RECEIVED', attempt = 0")
		f.receive(t, managerA, incoming(high, "a", tasker.Received))
		if got := f.waitingAt(t, 10); got != "first second high" {
			t.Errorf("waiting: %s", got)
		}
	})
}

// A priority is part of a request only if that had one.
func TestPriorityIsPartOfTheRequest(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		post := func(identifier string, priority int, asked bool) (tasker.Task, bool, error) {
			return f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: identifier, Priority: priority, AskedPriority: asked})
		}
		for _, identifier := range []string{"default", "asked"} {
			if _, created, err := post(identifier, 4, identifier == "asked"); err != nil || !created {
				t.Fatal(created, err)
			}
		}
		// The default of the type is another one now.
		if task, created, err := post("default", 7, false); err != nil || created || task.Priority != 4 {
			t.Errorf("created %v, priority %d, %v", created, task.Priority, err)
		}
		if task, created, err := post("asked", 4, true); err != nil || created || task.Priority != 4 {
			t.Errorf("created %v, priority %d, %v", created, task.Priority, err)
		}
		for name, err := range map[string]error{
			"another one": second(post("asked", 5, true)), "none": second(post("asked", 4, false)), "one": second(post("default", 4, true)),
		} {
			if tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("the same identifier with %s: %v", name, err)
			}
		}
		for what, find := range map[string]func() (tasker.Task, error){
			"FindTask": func() (tasker.Task, error) { return f.Tasks.FindTask(t.Context(), "worker", "asked") },
			"PeekTask": func() (tasker.Task, error) { return f.Tasks.PeekTask(t.Context(), "worker", "asked", 0) },
			"ViewTask": func() (tasker.Task, error) { return f.Tasks.ViewTask(t.Context(), "worker", "asked") },
			"ListTasks": func() (tasker.Task, error) {
				tasks, _, err := f.Tasks.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Limit: 1})
				return slices.Concat(tasks, make([]tasker.Task, 1))[0], err
			},
		} {
			if task, err := find(); err != nil || task.Priority != 4 {
				t.Errorf("%s: priority %d, %v", what, task.Priority, err)
			}
		}
	})
}

func second(_ tasker.Task, _ bool, err error) error { return err }
