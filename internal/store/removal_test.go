package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// remove ends a manager's lease on an endpoint and removes the endpoint.
func (f fixture) remove(t *testing.T, manager, endpoint string) tasker.Removal {
	t.Helper()
	if err := f.Endpoints.ReleaseEndpoints(t.Context(), manager, []string{endpoint}); err != nil {
		t.Fatal(err)
	}
	removal, err := f.Removals.RemoveEndpoint(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return removal
}

func (f fixture) detach(t *testing.T, removal tasker.Removal, want int) {
	t.Helper()
	if n, err := f.Removals.DetachEndpoint(t.Context(), removal); err != nil || n != want {
		t.Fatalf("%d tasks were changed, want %d: %v", n, want, err)
	}
}

func (f fixture) find(t *testing.T, task tasker.Task) tasker.Task {
	t.Helper()
	found, err := f.Tasks.FindTask(t.Context(), task.Type, task.Identifier)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRemoveEndpoint(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		_, err := f.Removals.RemoveEndpoint(t.Context(), "a")
		wantCode(t, err, tasker.NotFound)
		f.acquire(t, managerA, "a", "b")
		_, err = f.Removals.RemoveEndpoint(t.Context(), "a")
		wantCode(t, err, tasker.Conflict)
		if message := err.Error(); !strings.Contains(message, "host host, pid 1") {
			t.Errorf("the refusal does not name the manager: %s", message)
		}
		removal := f.remove(t, managerA, "a")
		if removal.Endpoint != "a" || !slices.Equal(removal.TaskTypes, []string{"worker"}) {
			t.Errorf("%+v", removal)
		}
		list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
		if err != nil || len(list) != 1 || list[0].Name != "b" {
			t.Errorf("registered are %+v, %v", list, err)
		}
		// A new broadcast does not expect it.
		if task := f.find(t, f.send(t, "after")); !slices.Equal(task.Expected, []string{"b"}) {
			t.Errorf("expected are %v", task.Expected)
		}
		// Asking again returns the same removal, until it has ended.
		again, err := f.Removals.RemoveEndpoint(t.Context(), "a")
		if err != nil || !again.Time.Equal(removal.Time) {
			t.Errorf("%+v, %v", again, err)
		}
		if begun, err := f.Removals.Removals(t.Context(), 10); err != nil || len(begun) != 1 || begun[0].Endpoint != "a" {
			t.Errorf("under way are %+v, %v", begun, err)
		}
		if err := f.Removals.EndRemoval(t.Context(), removal); err != nil {
			t.Fatal(err)
		}
		_, err = f.Removals.RemoveEndpoint(t.Context(), "a")
		wantCode(t, err, tasker.NotFound)
		if current, err := f.Removals.RemovalCurrent(t.Context(), removal); err != nil || current {
			t.Errorf("current %v, %v", current, err)
		}
	})
}

// Open tasks do not wait for a removed endpoint, and list it.
func TestTasksOfARemovedEndpoint(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.acquire(t, managerB, "b")
		missing, failed, listed := f.send(t, "missing"), f.send(t, "failed"), f.send(t, "listed", "a", "b")
		waits, only, began := f.send(t, "waits"), f.send(t, "only", "b"), f.send(t, "began")
		unsent, finished, other := f.create(t, "unsent", "a", "b"), f.send(t, "finished"), f.send(t, "other", "a")
		for _, task := range []tasker.Task{missing, failed, listed, began, finished} {
			f.receive(t, managerA, incoming(task, "a", tasker.Running))
			state := tasker.ResultDone
			if task.ID == failed.ID {
				state = tasker.ResultFailed
			}
			f.finish(t, finish(task, "a", 1, state))
		}
		f.receive(t, managerB, incoming(began, "b", tasker.Running), incoming(finished, "b", tasker.Running))
		f.finish(t, finish(finished, "b", 1, tasker.ResultFailed))
		f.clock.advance(time.Hour)
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{missing.ID, failed.ID}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if status := f.status(t, missing); status != tasker.Incomplete {
			t.Fatalf("the task is %s", status)
		}

		removal := f.remove(t, managerB, "b")
		f.detach(t, removal, 7)
		for _, want := range []struct {
			task     tasker.Task
			status   tasker.TaskStatus
			expected []string
			removed  bool
		}{
			{missing, tasker.Done, []string{"a"}, true},
			{failed, tasker.Failed, []string{"a"}, true},
			{listed, tasker.Done, []string{"a"}, true},
			{waits, tasker.Sent, []string{"a"}, true},
			{only, tasker.Canceled, []string{}, true},
			{began, tasker.Done, []string{"a"}, true},
			{unsent, tasker.Created, []string{"a"}, true},
			{finished, tasker.Failed, []string{"a", "b"}, false}, // it had finished it
			{other, tasker.Sent, []string{"a"}, false},
		} {
			if want.task.ID == finished.ID {
				if _, err := f.Statuses.Aggregate(t.Context(), []int64{finished.ID}, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			task := f.find(t, want.task)
			if task.Status != want.status || !slices.Equal(task.Expected, want.expected) || task.Removed("b") != want.removed {
				t.Errorf("%s: %s, expects %v, removed %v; want %s, %v, %v", task.Identifier, task.Status, task.Expected, task.RemovedEndpoints,
					want.status, want.expected, want.removed)
			}
		}
		if listed := f.find(t, listed); !slices.Equal(listed.Endpoints, []string{"a", "b"}) {
			t.Errorf("the listed endpoints are %v: they stay as they were sent", listed.Endpoints)
		}
		// Its attempt is over: the end is no longer stored.
		results, err := f.Results.TaskResults(t.Context(), began.ID)
		if err != nil || len(results) != 2 || results[1].State != tasker.ResultCanceled || results[1].Errnr != tasker.ErrnrRemoved {
			t.Errorf("%+v, %v", results, err)
		}
		if stored := f.finish(t, finish(began, "b", 1, tasker.ResultDone)); stored[0] {
			t.Error("the end of a run at a removed endpoint was stored")
		}
		f.detach(t, removal, 0)
		f.clock.advance(time.Hour)
		open := []int64{waits.ID, other.ID}
		if unsettled, err := f.unsettled(t, open, 3*time.Hour); err != nil || len(unsettled) != 0 {
			t.Errorf("unsettled are %v, %v", unsettled, err)
		}
		f.receive(t, managerA, incoming(waits, "a", tasker.Running))
		f.finish(t, finish(waits, "a", 1, tasker.ResultDone))
		if unsettled, err := f.unsettled(t, open, 3*time.Hour); err != nil ||
			!slices.Equal(unsettled, []int64{waits.ID}) {
			t.Errorf("unsettled are %v, %v", unsettled, err)
		}
		if _, err := f.Outbox.MarkSent(t.Context(), f.find(t, unsent), nil); err != nil {
			t.Fatal(err)
		}
		if task := f.find(t, unsent); !slices.Equal(task.Expected, []string{"a"}) {
			t.Errorf("sent later, it expects %v", task.Expected)
		}
	})
}

// Unfinished results of a removed endpoint do not settle a task whose other
// endpoints still run.
func TestRemovedResultsSettleNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.acquire(t, managerB, "b")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.receive(t, managerB, incoming(task, "b", tasker.Running))
		f.detach(t, f.remove(t, managerB, "b"), 1)
		if unsettled, err := f.unsettled(t, []int64{task.ID}, time.Hour); err != nil || len(unsettled) != 0 {
			t.Errorf("unsettled are %v, %v", unsettled, err)
		}
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Hour); err != nil || f.status(t, task) != tasker.Done {
			t.Errorf("the task is %s, %v", f.status(t, task), err)
		}
	})
}

// A removed endpoint that registers again has nothing to do with earlier tasks,
// even if its removal was interrupted by a crash.
func TestRemovedEndpointRegistersAnew(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		lost, waiting, listed := f.send(t, "lost"), f.send(t, "waiting"), f.send(t, "listed", "a")
		f.receive(t, managerA, incoming(waiting, "a", tasker.Received))
		removal := f.remove(t, managerA, "a") // and then nothing
		f.clock.advance(time.Second)
		f.acquire(t, managerB, "a")

		tasks, _, err := f.Inbox.UnreceivedTasks(t.Context(), "a", []string{"worker"}, time.Time{}, ledger.SentPosition{}, 10)
		if err != nil || len(tasks) != 0 {
			t.Errorf("it catches up with %+v, %v", tasks, err)
		}
		work, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
		if err != nil || len(work) != 0 {
			t.Errorf("it adopts %+v, %v", work, err)
		}
		recordings := f.receive(t, managerB, incoming(lost, "a", tasker.Running), incoming(waiting, "a", tasker.Running),
			incoming(listed, "a", tasker.Running))
		wantOutcomes(t, recordings, ledger.Refused, ledger.Duplicate, ledger.Refused)
		if !strings.Contains(recordings[0].Reason, "was removed after") {
			t.Errorf("the reason is %q", recordings[0].Reason)
		}
		if begun, err := f.Removals.Removals(t.Context(), 10); err != nil || len(begun) != 0 {
			t.Errorf("under way are %+v, %v", begun, err)
		}
		// Whoever is still completing the removal changes nothing more.
		task := f.send(t, "new")
		f.detach(t, removal, 0)
		if err := f.Removals.EndRemoval(t.Context(), removal); err != nil {
			t.Fatal(err)
		}
		if task = f.find(t, task); !slices.Equal(task.Expected, []string{"a"}) {
			t.Errorf("a new task expects %v", task.Expected)
		}
		wantOutcomes(t, f.receive(t, managerB, incoming(task, "a", tasker.Running)), ledger.Recorded)
	})
}

// The database decides between a removal and a manager that starts.
func TestRemovalAgainstAManagerThatStarts(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for round := range 8 {
			f.acquire(t, managerA, "a")
			task := f.send(t, fmt.Sprintf("round%d", round))
			if err := f.Endpoints.ReleaseEndpoints(t.Context(), managerA, []string{"a"}); err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			var removal tasker.Removal
			var removed error
			group.Go(func() {
				if removal, removed = f.Removals.RemoveEndpoint(t.Context(), "a"); removed == nil {
					_, removed = f.Removals.DetachEndpoint(t.Context(), removal)
				}
			})
			group.Go(func() { f.acquire(t, managerB, "a") })
			group.Wait()
			list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
			if err != nil || len(list) != 1 || list[0].Manager != managerB {
				t.Fatalf("registered are %+v, %v", list, err)
			}
			switch task = f.find(t, task); tasker.CodeOf(removed) {
			case "":
				if !task.Removed("a") {
					t.Errorf("removed first, and the task expects %v", task.Expected)
				}
			case tasker.Conflict:
				if task.Removed("a") {
					t.Error("the manager was first, and the task does not expect it")
				}
			default:
				t.Fatal(removed)
			}
			if err := f.Endpoints.ReleaseEndpoints(t.Context(), managerB, []string{"a"}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A manager that stops with --forget removes its own registration only.
func TestForgetEndpoints(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.acquire(t, managerB, "b")
		kept, err := f.Endpoints.ForgetEndpoints(t.Context(), managerA, []string{"a", "b", "c"})
		if err != nil || len(kept) > 0 {
			t.Fatalf("it kept %q, %v", kept, err)
		}
		list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
		if err != nil || len(list) != 1 || list[0].Name != "b" {
			t.Errorf("registered are %+v, %v", list, err)
		}
		if begun, err := f.Removals.Removals(t.Context(), 10); err != nil || len(begun) != 1 || begun[0].Endpoint != "a" {
			t.Errorf("under way are %+v, %v", begun, err)
		}
		if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{"a"}, lease); err != nil || held {
			t.Errorf("it is held still: %v, %v", held, err)
		}
	})
}

// An endpoint with a running attempt is kept, also if its result is LOST; one
// with waiting results is not.
func TestForgetEndpointsKeepsWhatRuns(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Received)), ledger.Recorded,
			ledger.Recorded)
		for range 2 {
			kept, err := f.Endpoints.ForgetEndpoints(t.Context(), managerA, []string{"a", "b"})
			if err != nil || !slices.Equal(kept, []string{"a"}) {
				t.Errorf("it kept %q, %v", kept, err)
			}
			f.exec(t, "UPDATE task_results SET lost_from = state, state = 'LOST' WHERE endpoint = 'a'")
		}
	})
}
