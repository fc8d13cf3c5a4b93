package store_test

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func TestReceiveResults(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		all, some := f.send(t, "all"), f.send(t, "some", "b")
		wrongType, wrongName := incoming(all, "a", tasker.Running), incoming(all, "a", tasker.Running)
		wrongType.Type, wrongName.Identifier = "backup", "other"
		rejected := incoming(some, "b", tasker.Rejected)
		rejected.Errnr, rejected.Errmsg = tasker.ErrnrRejected, "no handler"
		recordings := f.receive(t, managerA,
			incoming(all, "a", tasker.Running), incoming(all, "b", tasker.Received), rejected,
			incoming(some, "a", tasker.Running), // not addressed
			incoming(tasker.Task{ID: 999, Type: "worker", Identifier: "x"}, "a", tasker.Running),
			wrongType, wrongName,
			incoming(all, "stranger", tasker.Running),
		)
		wantOutcomes(t, recordings, ledger.Recorded, ledger.Recorded, ledger.Recorded,
			ledger.Refused, ledger.Refused, ledger.Refused, ledger.Refused, ledger.NotOwner)
		if got := recordings[0].Task; string(got.Payload) != `{"foo":"bar"}` || got.ID != all.ID {
			t.Errorf("the stored task is not given: %+v", got)
		}
		// The same again, with a new one.
		third := f.send(t, "third")
		wantOutcomes(t, f.receive(t, managerA, incoming(all, "a", tasker.Running), incoming(third, "a", tasker.Running),
			incoming(third, "a", tasker.Running)),
			ledger.Duplicate, ledger.Recorded, ledger.Duplicate)
		again := f.receive(t, managerA, incoming(all, "a", tasker.Running))[0]
		if !again.Own || again.State != tasker.Running || again.Attempt != 1 || again.Task.ID != all.ID {
			t.Errorf("a known result is given as %+v", again)
		}
		wantOutcomes(t, f.receive(t, managerB, incoming(third, "b", tasker.Running)), ledger.NotOwner)

		results, err := f.Results.TaskResults(t.Context(), all.ID)
		if err != nil || len(results) != 2 {
			t.Fatalf("%v, %v", results, err)
		}
		if r := results[0]; r.State != tasker.Running || r.Attempt != 1 || r.ID == 0 || !r.StartTime.Equal(f.Now()) {
			t.Errorf("a: %+v", r)
		}
		if r := results[1]; r.State != tasker.Received || r.Attempt != 0 {
			t.Errorf("b: %+v", r)
		}
		results, err = f.Results.TaskResults(t.Context(), some.ID)
		if err != nil || len(results) != 1 || results[0].State != tasker.Rejected || results[0].Errmsg != "no handler" {
			t.Errorf("%v, %v", results, err)
		}
	})
}

// If a manager has lost one of its endpoints, the others continue.
func TestReceiveAtSomeOfTheEndpoints(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.acquire(t, managerB, "b")
		task := f.send(t, "one")
		recordings := f.receive(t, managerA, incoming(task, "b", tasker.Running), incoming(task, "a", tasker.Running))
		wantOutcomes(t, recordings, ledger.NotOwner, ledger.Recorded)
		if a := recordings[1]; a.Task.ID != task.ID {
			t.Errorf("%+v", a)
		}
		if got := f.states(t, task); !maps.Equal(got, map[string]tasker.ResultState{"a": tasker.Running}) {
			t.Errorf("states %v", got)
		}
	})
}

func TestReceiveAfterTheEnd(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		f.acquire(t, managerA, "late")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		if n, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Hour); err != nil || n != 1 {
			t.Fatalf("aggregated %d, %v", n, err)
		}
		// A task that has ended must not get unfinished results.
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "late", tasker.Running)),
			ledger.Duplicate, ledger.Refused)
	})
}

func TestReceiveAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 30
		f.acquire(t, managerA, "a")
		var tasks []tasker.Task
		for i := range n {
			tasks = append(tasks, f.send(t, fmt.Sprint("task-", i)))
		}
		var (
			wg       sync.WaitGroup
			admitted atomic.Int64
		)
		for range 4 {
			wg.Go(func() {
				for i := 0; i < n; i += 5 {
					var messages []ledger.Incoming
					for _, task := range tasks[i : i+5] {
						messages = append(messages, incoming(task, "a", tasker.Running))
					}
					recordings, err := f.Inbox.ReceiveResults(t.Context(), messagesOf(managerA, messages...))
					if err != nil {
						t.Error(err)
					}
					for _, v := range outcomes(recordings) {
						if v == ledger.Recorded {
							admitted.Add(1)
						}
					}
				}
			})
		}
		wg.Wait()
		if admitted.Load() != n {
			t.Errorf("%d messages were admitted, want %d", admitted.Load(), n)
		}
	})
}

func TestAttempts(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		key := tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}
		f.receive(t, managerA, incoming(task, "a", tasker.Received))

		start := func(manager string, attempt int, want bool) {
			t.Helper()
			started, err := f.Attempts.StartAttempts(t.Context(), startsOf(manager, []ledger.Start{{ResultKey: key, Attempt: attempt}}))
			if err != nil || started[0] != want {
				t.Fatalf("StartAttempts(%s, %d): %v, %v, want %v", manager, attempt, started, err, want)
			}
		}
		start(managerB, 0, false) // does not hold the endpoint
		start(managerA, 1, false) // at another attempt
		start(managerA, 0, true)
		start(managerA, 0, true)  // again, after a lost answer
		start(managerB, 0, false) // but nobody else
		start(managerA, 1, false) // it runs

		retry := finish(task, "a", 1, tasker.Retrying)
		retry.RetryDelay = time.Minute
		if !f.finish(t, retry)[0] {
			t.Fatal("the first attempt's end was not stored")
		}
		if due, err := f.Attempts.DueWork(t.Context(), "a", "worker", 10); err != nil || len(due) != 0 {
			t.Errorf("due before its time: %v, %v", due, err)
		}
		next, ok, err := f.Attempts.NextRetry(t.Context(), "a", "worker")
		if err != nil || !ok || !next.Equal(f.Now().Add(time.Minute)) {
			t.Errorf("the next retry is at %v, %v, %v", next, ok, err)
		}
		f.clock.advance(time.Minute)
		due, err := f.Attempts.DueWork(t.Context(), "a", "worker", 10)
		if err != nil || len(due) != 1 || due[0].Attempt != 1 || due[0].Task.Identifier != "one" {
			t.Fatalf("due: %+v, %v", due, err)
		}
		start(managerA, 1, true)
		// The end of a stale attempt is not stored, that of the current one is,
		// once.
		if f.finish(t, finish(task, "a", 1, tasker.ResultDone))[0] {
			t.Error("the end of attempt 1 was stored over attempt 2")
		}
		done := finish(task, "a", 2, tasker.ResultDone)
		done.Payload = []byte(`{"n": 1}`)
		if !f.finish(t, done)[0] || f.finish(t, done)[0] {
			t.Error("the end of attempt 2 was not stored once")
		}
		results, err := f.Results.TaskResults(t.Context(), task.ID)
		if err != nil || len(results) != 1 {
			t.Fatal(results, err)
		}
		if r := results[0]; r.State != tasker.ResultDone || r.Attempt != 2 || r.Errnr != 0 || r.Errmsg != "" ||
			string(r.Payload) != `{"n": 1}` || r.RetryTime != nil {
			t.Errorf("%+v", r)
		}
	})
}

func TestStartMany(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		f.acquire(t, managerB, "c")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(task, "b", tasker.Running))
		f.receive(t, managerB, incoming(task, "c", tasker.Received))
		var starts []ledger.Start
		for _, endpoint := range []string{"a", "b", "c", "nowhere"} {
			starts = append(starts, ledger.Start{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}})
		}
		started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, starts))
		// b already runs attempt 1 of the same manager: its answer may have
		// been lost.
		if err != nil || fmt.Sprint(started) != "[true true false false]" {
			t.Errorf("started %v, %v", started, err)
		}
		want := map[string]tasker.ResultState{"a": tasker.Running, "b": tasker.Running, "c": tasker.Received}
		if got := f.states(t, task); !maps.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
		f.receive(t, managerA, incoming(f.send(t, "two"), "a", tasker.Received), incoming(f.send(t, "three"), "a", tasker.Received))
		starts = []ledger.Start{
			{ResultKey: tasker.ResultKey{TaskID: task.ID + 1, Endpoint: "a"}},
			{ResultKey: tasker.ResultKey{TaskID: task.ID + 2, Endpoint: "a"}},
		}
		if started, err = f.Attempts.StartAttempts(t.Context(), startsOf(managerA, starts)); err != nil || fmt.Sprint(started) != "[true true]" {
			t.Errorf("started %v, %v", started, err)
		}
	})
}

func TestFinishMany(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		stale := f.send(t, "two")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running), incoming(stale, "a", tasker.Received))
		if got := f.finish(t, finish(task, "a", 1, tasker.ResultDone), finish(stale, "a", 1, tasker.ResultDone),
			finish(task, "b", 1, tasker.ResultFailed)); fmt.Sprint(got) != "[true false true]" {
			t.Errorf("stored %v, want the two that run", got)
		}
		want := map[string]tasker.ResultState{"a": tasker.ResultDone, "b": tasker.ResultFailed}
		if got := f.states(t, task); !maps.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
	})
}

func TestAdoption(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		var tasks []tasker.Task
		for i := range 3 {
			tasks = append(tasks, f.send(t, fmt.Sprint("task-", i)))
		}
		f.receive(t, managerA, incoming(tasks[0], "a", tasker.Running), incoming(tasks[1], "a", tasker.Received),
			incoming(tasks[0], "b", tasker.Running))

		f.clock.advance(2 * lease) // manager A is dead
		f.acquire(t, managerB, "a")
		interrupted, err := f.Attempts.InterruptedWork(t.Context(), managerB, "a", 10)
		if err != nil || len(interrupted) != 1 || interrupted[0].Task.ID != tasks[0].ID || interrupted[0].Attempt != 1 {
			t.Fatalf("interrupted: %+v, %v", interrupted, err)
		}
		waiting, err := f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)
		if err != nil || len(waiting) != 1 || waiting[0].Task.ID != tasks[1].ID || string(waiting[0].Task.Payload) != `{"foo":"bar"}` {
			t.Fatalf("waiting: %+v, %v", waiting, err)
		}
		created := f.create(t, "published-a-moment-ago")
		f.create(t, "for-another", "b")
		unreceived, next, err := f.Inbox.UnreceivedTasks(t.Context(), "a", []string{"worker"}, time.Time{}, ledger.SentPosition{}, 10)
		if err != nil || next != (ledger.SentPosition{}) || len(unreceived) != 2 || unreceived[0].ID != tasks[2].ID ||
			unreceived[1].ID != created.ID {
			t.Errorf("unreceived: %+v, next %v, %v", unreceived, next, err)
		}
		unreceived, _, err = f.Inbox.UnreceivedTasks(t.Context(), "a", []string{"worker"}, f.Now().Add(-lease), ledger.SentPosition{}, 10)
		if err != nil || len(unreceived) != 1 || unreceived[0].ID != created.ID {
			t.Errorf("unreceived since: %+v, %v", unreceived, err)
		}
		if _, err := f.Outbox.MarkSent(t.Context(), created, nil); err != nil {
			t.Fatal(err)
		}
		unreceived, _, err = f.Inbox.UnreceivedTasks(t.Context(), "a", []string{"worker"}, f.Now().Add(-lease), ledger.SentPosition{}, 10)
		if err != nil || len(unreceived) != 1 || unreceived[0].ID != created.ID {
			t.Errorf("unreceived since, sent now: %+v, %v", unreceived, err)
		}
	})
}

func TestLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "idle")
		task := f.send(t, "one", "a", "b")
		queued := f.send(t, "two", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running), incoming(queued, "a", tasker.Received))
		f.clock.advance(time.Minute)
		if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{"b"}, lease); err != nil || !held {
			t.Fatal(held, err)
		}
		lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-time.Second), 10)
		if err != nil || len(lost) != 2 {
			t.Fatalf("lost %v, %v", lost, err)
		}
		if got := f.states(t, task); got["a"] != tasker.Lost || got["b"] != tasker.Running {
			t.Errorf("states %v", got)
		}
		if lost, err = f.Endpoints.MarkLost(t.Context(), f.Now().Add(-time.Second), 10); err != nil || len(lost) != 0 {
			t.Errorf("lost again %v, %v", lost, err)
		}
		unsettled, err := f.unsettled(t, []int64{task.ID, queued.ID}, time.Hour)
		if err != nil || len(unsettled) != 2 {
			t.Fatalf("unsettled %v, %v", unsettled, err)
		}
		if _, err := f.Statuses.Aggregate(t.Context(), unsettled, time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := f.status(t, task); got != tasker.Incomplete {
			t.Errorf("status %v", got)
		}
		// A late end overwrites LOST; the endpoint's return restores the rest.
		if !f.finish(t, finish(task, "a", 1, tasker.ResultDone))[0] {
			t.Error("a late finish was not stored")
		}
		if n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a", "b"}); err != nil || n != 1 {
			t.Errorf("returned %d, %v", n, err)
		}
		results, err := f.Results.TaskResults(t.Context(), queued.ID)
		if err != nil || results[0].State != tasker.Received || results[0].Errnr != 0 || results[0].Errmsg != "" {
			t.Errorf("%+v, %v", results, err)
		}
		f.finish(t, finish(task, "b", 1, tasker.ResultDone))
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Hour); err != nil || f.status(t, task) != tasker.Done {
			t.Errorf("status %v, %v", f.status(t, task), err)
		}
	})
}

// TestLostByAnOlderTasker: an API process from before the migration may run on
// for a while, and does not keep errnr and errmsg of a result.
func TestLostByAnOlderTasker(t *testing.T) {
	t.Parallel()
	f, rival := against(t)
	f.acquire(t, managerA, "a")
	task := f.send(t, "one", "a")
	f.receive(t, managerA, incoming(task, "a", tasker.Received))
	rival.do("UPDATE task_results SET lost_from = state, state = 'LOST', errnr = -3, errmsg = 'silent'")
	if n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil || n != 1 {
		t.Fatalf("%d are back, %v", n, err)
	}
	if r, err := f.Results.TaskResults(t.Context(), task.ID); err != nil || r[0].State != tasker.Received || r[0].Errnr != 0 ||
		r[0].Errmsg != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// One call may write for several managers; what one of them lost does not
// disturb the others.
func TestSeveralManagersInOneCall(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.acquire(t, managerB, "b", "c")
		task, other := f.send(t, "one"), f.send(t, "two")
		of := func(manager string, task tasker.Task, endpoint string, state tasker.ResultState) ledger.Incoming {
			return messagesOf(manager, incoming(task, endpoint, state))[0]
		}
		wantOutcomes(t, f.receiveAll(t, of(managerA, task, "a", tasker.Received), of(managerB, task, "b", tasker.Received),
			of(managerB, task, "c", tasker.Received)),
			ledger.Recorded, ledger.Recorded, ledger.Recorded)
		// The same message of a manager that was replaced, and of its successor.
		f.receiveAll(t, of(managerB, other, "a", tasker.Running), of(managerA, other, "a", tasker.Received), of(managerB, other, "b", tasker.Received))
		recordings := f.receiveAll(t, of(managerA, other, "b", tasker.Running), of(managerB, other, "b", tasker.Received),
			of(managerA, other, "a", tasker.Received))
		wantOutcomes(t, recordings, ledger.NotOwner, ledger.Duplicate, ledger.Duplicate)
		if !recordings[1].Own || !recordings[2].Own {
			t.Errorf("%+v", recordings)
		}
		if got := f.states(t, other); !maps.Equal(got, map[string]tasker.ResultState{"a": tasker.Received, "b": tasker.Received}) {
			t.Errorf("states %v", got)
		}
		start := func(manager string, endpoint string) ledger.Start {
			return ledger.Start{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Manager: manager}
		}
		starts := []ledger.Start{start(managerB, "a"), start(managerA, "a"), start(managerB, "b"), start(managerA, "c"), start(managerB, "c")}
		for range 2 { // the second time the first answer was lost
			started, err := f.Attempts.StartAttempts(t.Context(), starts)
			if want := "[false true true false true]"; err != nil || fmt.Sprint(started) != want {
				t.Errorf("started %v, %v, want %s", started, err, want)
			}
		}
		for i := range starts {
			starts[i].Attempt = 1
			stored, err := f.Attempts.AwaitReboot(t.Context(), starts[i].ResultKey, 1, 2, "boot")
			if err != nil || !stored {
				t.Fatal(stored, err)
			}
		}
		for range 2 {
			resumed, err := f.Attempts.ResumeAttempts(t.Context(), starts)
			if want := "[false true true false true]"; err != nil || fmt.Sprint(resumed) != want {
				t.Errorf("resumed %v, %v, want %s", resumed, err, want)
			}
		}
	})
}
