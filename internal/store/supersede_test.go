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
	"github.com/taskerhq/tasker/internal/rollout"
)

// What an older task of the topic has not started at the endpoints of the newer one is
// SUPERSEDED, what runs ends as it ends and is not tried again, and what has ended or is
// elsewhere stays.
func TestSupersede(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		endpoints := []string{"again", "away", "done", "lost", "missing", "retrying", "running", "waiting"}
		f.acquire(t, managerA, append(endpoints, "elsewhere")...)
		older := f.sentTopical(t, "older", append(slices.Clone(endpoints), "elsewhere")...)
		for endpoint, state := range map[string]tasker.ResultState{
			"again": tasker.Running, "away": tasker.Running, "done": tasker.Running, "elsewhere": tasker.Received, "lost": tasker.Received,
			"retrying": tasker.Running, "running": tasker.Running, "waiting": tasker.Received,
		} {
			f.receive(t, managerA, incoming(older, endpoint, state))
		}
		retry := finish(older, "retrying", 1, tasker.Retrying)
		retry.RetryDelay = time.Hour
		f.finish(t, finish(older, "done", 1, tasker.ResultDone), retry)
		f.clock.advance(2 * lease)
		for _, name := range append(endpoints, "elsewhere") {
			if name == "lost" || name == "away" {
				continue
			}
			if held, err := f.Endpoints.Heartbeat(t.Context(), managerA, []string{name}, lease); err != nil || !held {
				t.Fatal(held, err)
			}
		}
		f.markLost(t)
		f.clock.advance(time.Second)
		newer := f.supersede(t, "newer", endpoints...)
		wantStates(t, f, older, "again:RUNNING away:LOST done:DONE elsewhere:RECEIVED lost:SUPERSEDED missing:SUPERSEDED"+
			" retrying:SUPERSEDED running:RUNNING waiting:SUPERSEDED")
		if by := f.find(t, older).Superseded; by == nil || by.By != "newer" || !by.At.Equal(newer.StartTime) {
			t.Errorf("superseded by %+v", by)
		}
		if r := f.result(t, older, "missing"); r.Errnr != tasker.ErrnrSuperseded || r.Attempt != 0 ||
			r.Errmsg != "superseded by task newer of its topic before it ran" {
			t.Errorf("%+v", r)
		}
		// They come back, and run nothing of it.
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"away", "lost"}); err != nil {
			t.Fatal(err)
		}
		f.acquire(t, managerA, "away", "lost")
		for _, endpoint := range []string{"lost", "waiting"} {
			if f.attempt(t, older, endpoint, 0) {
				t.Errorf("it started at %s", endpoint)
			}
		}
		if f.attempt(t, older, "retrying", 1) {
			t.Error("it was retried")
		}
		for range 2 {
			wantOutcomes(t, f.receive(t, managerA, incoming(older, "missing", tasker.Running)), ledger.Duplicate)
		}
		wantUnreceived(t, f, "missing", "newer")
		failed := finish(older, "again", 1, tasker.Retrying)
		stored := f.finish(t, finish(older, "running", 1, tasker.ResultDone), failed, finish(older, "away", 1, tasker.ResultDone))
		if slices.Contains(stored, false) {
			t.Errorf("stored: %v", stored)
		}
		if r := f.result(t, older, "again"); r.State != tasker.Superseded || r.Errnr != tasker.ErrnrSuperseded || r.RetryTime != nil ||
			r.Attempt != 1 || !strings.Contains(r.Errmsg, "task newer") {
			t.Errorf("in place of a retry: %+v", r)
		}
		if attempts := f.attempts(t, older, "again"); len(attempts) != 1 || attempts[0].Errmsg != failed.Errmsg {
			t.Errorf("its attempts: %+v", attempts)
		}
		f.aggregate(t, older.ID)
		if status := f.status(t, older); status != tasker.Incomplete && status != tasker.Sent {
			t.Errorf("it has ended without one: %s", status)
		}
		if !f.attempt(t, older, "elsewhere", 0) {
			t.Error("it does not go on elsewhere")
		}
		f.finish(t, finish(older, "elsewhere", 1, tasker.ResultDone))
		f.aggregate(t, older.ID)
		if status := f.status(t, older); status != tasker.Canceled {
			t.Errorf("it ended %s", status)
		}
		summary, err := f.Results.Summary(t.Context(), f.find(t, older), 10)
		if err != nil || summary.Canceled != 5 || summary.Failed != 0 || summary.Finished != 9 {
			t.Errorf("%+v, %v", summary, err)
		}
		wantStates(t, f, newer, "")
	})
}

// A task that is not sent ends at once if all of it is superseded, and is never sent.
func TestSupersedeUnsent(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var ended []string
		f.OnEnded(func(taskType string, status tasker.TaskStatus, n int) {
			ended = append(ended, fmt.Sprint(taskType, " ", status, " ", n))
		})
		whole, part := f.supersede(t, "whole", "a", "b"), f.supersede(t, "part", "a", "b", "c")
		if status := f.status(t, whole); status != tasker.Canceled {
			t.Errorf("it is %s", status)
		}
		if sent, err := f.Outbox.MarkSent(t.Context(), whole, nil); err != nil || sent.Status != tasker.Canceled {
			t.Errorf("it is %s, %v", sent.Status, err)
		}
		f.supersede(t, "newest", "a", "b")
		wantStates(t, f, part, "a:SUPERSEDED b:SUPERSEDED")
		if status := f.status(t, part); status != tasker.Created {
			t.Errorf("a task with an endpoint left is %s", status)
		}
		if !slices.Equal(ended, []string{"worker CANCELED 1"}) {
			t.Errorf("ended: %v", ended)
		}
		f.clock.advance(time.Hour)
		claimed, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease)
		if err != nil || len(claimed) != 2 {
			t.Errorf("to be sent: %+v, %v", claimed, err)
		}
	})
}

// TestSupersedeRace: a start or a message that comes at the same time as a newer task
// either comes first, and runs, or finds that its task is superseded; and nothing starts
// later.
func TestSupersedeRace(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		rounds := 40
		if testing.Short() {
			rounds = 8
		}
		for i := range rounds {
			f.acquire(t, managerA, "a", "b")
			older := f.sentTopical(t, fmt.Sprint("older", i), "a", "b")
			f.receive(t, managerA, incoming(older, "a", tasker.Received))
			var started bool
			var recorded ledger.Recording
			var group sync.WaitGroup
			group.Go(func() { started = f.attempt(t, older, "a", 0) })
			group.Go(func() { recorded = f.receive(t, managerA, incoming(older, "b", tasker.Running))[0] })
			f.supersede(t, fmt.Sprint("newer", i), "a", "b")
			later := f.attempt(t, older, "a", 0)
			group.Wait()
			states := f.states(t, older)
			if started != (states["a"] == tasker.Running) || (recorded.Outcome == ledger.Recorded) != (states["b"] == tasker.Running) {
				t.Fatalf("round %d: started %t, recorded %v, and the results are %v", i, started, recorded.Outcome, states)
			}
			for endpoint, state := range states {
				if state != tasker.Running && state != tasker.Superseded {
					t.Fatalf("round %d: %s is %s", i, endpoint, state)
				}
			}
			if later && !started {
				t.Fatalf("round %d: it started after the newer task was stored", i)
			}
		}
	})
}

// A result that was marked while it ran, and waits since an older program knows of no
// mark, does not start.
func TestSupersededMark(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		older := f.sentTopical(t, "older", "a")
		f.receive(t, managerA, incoming(older, "a", tasker.Running))
		f.supersede(t, "newer", "a")
		f.exec(t, "UPDATE task_results SET state = 'RETRYING', errnr = 1")
		if f.attempt(t, older, "a", 1) {
			t.Error("it started")
		}
		wantStates(t, f, older, "a:SUPERSEDED")
	})
}

// What is given back to wait for a slot is SUPERSEDED if a newer task has come.
func TestSupersededGivenBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		older := f.sentTopical(t, "older", "a")
		f.receive(t, managerA, incoming(older, "a", tasker.Running))
		f.supersede(t, "newer", "a")
		returned, err := f.Attempts.ReturnAttempts(t.Context(), startsOf(managerA, []ledger.Start{
			{ResultKey: tasker.ResultKey{TaskID: older.ID, Endpoint: "a"}, Attempt: 1},
		}))
		if err != nil || !returned[0] {
			t.Errorf("given back: %v, %v", returned, err)
		}
		r := f.result(t, older, "a")
		if r.State != tasker.Superseded || r.Errnr != tasker.ErrnrSuperseded || r.Attempt != 0 || r.Errmsg == "" {
			t.Errorf("%+v", r)
		}
	})
}

// A task that starts later takes part when it starts, and not before.
func TestSupersedeLater(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		topic := func(on tasker.OnConflict) func(*tasker.Task) {
			return func(task *tasker.Task) { task.Topic, task.OnConflict, task.Endpoints = "nightly", on, []string{"a"} }
		}
		f.later(t, "refused", topic(tasker.ConflictRefuse))
		f.later(t, "newer", topic(tasker.ConflictSupersede))
		between := f.sentTopical(t, "between", "a")
		wantStates(t, f, between, "")
		f.clock.advance(time.Minute)
		started, choosing, _ := f.startDue(t)
		if len(started) != 0 || len(choosing) != 2 {
			t.Fatalf("started %d, to be started one by one %d", len(started), len(choosing))
		}
		for _, task := range choosing {
			begun, ok, err := f.Schedule.StartChosen(t.Context(), task, nil, 1)
			if task.Identifier == "newer" {
				if err != nil || !ok || begun.Status != tasker.Created {
					t.Errorf("started: %t, %s, %v", ok, begun.Status, err)
				}
				continue
			}
			if tasker.CodeOf(err) != tasker.Conflict || ok {
				t.Errorf("one that is refused started: %t, %v", ok, err)
			}
			if status := f.status(t, task); status != tasker.Scheduled {
				t.Errorf("it is %s", status)
			}
		}
		wantStates(t, f, between, "a:SUPERSEDED")
		if status := f.status(t, between); status != tasker.Canceled {
			t.Errorf("it is %s", status)
		}
	})
}

// A rollout that is superseded somewhere ends, and a rollout supersedes also at the
// endpoints whose waves are not open.
func TestSupersedeRollout(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		names := numbered(4)
		f.acquire(t, managerA, names...)
		roll := func(identifier string, names ...string) *fleet {
			t.Helper()
			task := rolloutOf(t, `{"batch":[1,"100%"],"order":"name"}`, names...)
			task.Identifier, task.Topic, task.OnConflict = identifier, "nightly", tasker.ConflictSupersede
			created, _, err := f.Tasks.CreateTask(t.Context(), task)
			if err != nil {
				t.Fatal(err)
			}
			fl := &fleet{fixture: f, task: created, names: names}
			fl.deliver(t, ledger.WaveClaim{TaskID: created.ID, Attempt: 1})
			fl.advance(t)
			return fl
		}
		plain := f.sentTopical(t, "plain", names...)
		f.receive(t, managerA, incoming(plain, "e03", tasker.Received))
		first := roll("first", names...)
		wantStates(t, f, plain, "e01:SUPERSEDED e02:SUPERSEDED e03:SUPERSEDED e04:SUPERSEDED")
		f.receive(t, managerA, incoming(first.task, "e01", tasker.Running))
		f.supersede(t, "newer", "e02")
		task, r := first.found(t)
		if r.State != string(rollout.Canceled) || !strings.Contains(r.Reason, "superseded by task newer") || task.Unopened != 0 {
			t.Errorf("the rollout is %+v, %d not open", r, task.Unopened)
		}
		wantStates(t, f, first.task, "e01:RUNNING e02:SUPERSEDED e03:SUPERSEDED e04:SUPERSEDED")
		f.finish(t, finish(first.task, "e01", 1, tasker.ResultDone))
		f.aggregate(t, first.task.ID)
		first.advance(t)
		if status := f.status(t, first.task); status != tasker.Canceled {
			t.Errorf("it ended %s", status)
		}
		wantUnreceived(t, f, "e03", "")
	})
}

// A task with places is superseded as a whole, like one that is canceled: nobody takes what
// was left of it. A newer one replaces the older ones wherever it may be taken.
func TestSupersedePlaces(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		topical := func(topic string) func(*tasker.Task) {
			return func(t *tasker.Task) { t.Topic, t.OnConflict = topic, tasker.ConflictSupersede }
		}
		older := f.placed(t, "older", 3, topical("nightly"))
		f.wantTaken(t, map[string]string{"a": "older", "b": "older"})
		f.receive(t, managerA, incoming(older, "a", tasker.Running))
		untaken := f.placed(t, "untaken", 1, topical("weekly"))
		given := tasker.Task{Type: "worker", Identifier: "unsent", Payload: []byte("1"), Deliver: 2}
		topical("monthly")(&given)
		unsent, _, err := f.Tasks.CreateTask(t.Context(), given)
		if err != nil {
			t.Fatal(err)
		}
		for topic, change := range map[string]func(*tasker.Task){
			"nightly": func(t *tasker.Task) { t.Endpoints = []string{"z"} },
			"weekly":  func(*tasker.Task) {}, "monthly": func(*tasker.Task) {},
		} {
			f.placed(t, "newer "+topic, 1, func(t *tasker.Task) { topical(topic)(t); change(t); t.Priority = -1 })
		}
		f.wantPlaces(t, older, 0, 1, "a", "b")
		wantStates(t, f, older, "a:RUNNING b:SUPERSEDED")
		f.wantPlaces(t, untaken, 0, 1)
		f.wantPlaces(t, unsent, 0, 2)
		for _, task := range []tasker.Task{untaken, unsent} {
			if got := f.find(t, task); got.Status != tasker.Canceled || got.Superseded == nil {
				t.Errorf("%s is %s, superseded by %+v", got.Identifier, got.Status, got.Superseded)
			}
		}
		if got := f.take(t, managerA, "c", 10); strings.Contains(got, "older") || strings.Contains(got, "un") {
			t.Errorf("c takes %q", got)
		}
		f.finish(t, finish(older, "a", 1, tasker.ResultDone))
		f.wantStatus(t, older, tasker.Canceled)

		// A newer one with places, and older ones for all.
		f.acquire(t, managerA, "a", "b", "c")
		plain := f.sentTopical(t, "plain", "a", "b", "c")
		f.placed(t, "at b", 1, func(t *tasker.Task) { topical("nightly")(t); t.Endpoints = []string{"b", "late"} })
		wantStates(t, f, plain, "b:SUPERSEDED")
		f.acquire(t, managerA, "late")
		all := f.sentTopical(t, "all")
		f.placed(t, "anywhere", 1, topical("nightly"))
		wantStates(t, f, all, "a:SUPERSEDED b:SUPERSEDED c:SUPERSEDED late:SUPERSEDED")
	})
}

// An endpoint that would join an older task for all does not run it if the newer one is
// for it, too.
func TestSupersededBeforeItJoins(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		listed := f.sentTopical(t, "listed")
		f.receive(t, managerA, incoming(listed, "a", tasker.Running))
		f.supersede(t, "newer", "late", "a")
		f.acquire(t, managerA, "late", "later")
		got := f.receive(t, managerA, incoming(listed, "late", tasker.Running), incoming(listed, "later", tasker.Running))
		if got[0].Outcome != ledger.Duplicate || got[0].State != tasker.Superseded || got[1].Outcome != ledger.Recorded {
			t.Errorf("recorded %+v", got)
		}
		f.finish(t, finish(listed, "a", 1, tasker.ResultDone), finish(listed, "later", 1, tasker.ResultDone))
		f.aggregate(t, listed.ID)
		wantStates(t, f, listed, "a:DONE late:SUPERSEDED later:DONE")
		if status := f.status(t, listed); status != tasker.Canceled {
			t.Errorf("it ended %s", status)
		}
		f.acquire(t, managerA, "last")
		last := f.receive(t, managerA, incoming(listed, "last", tasker.Running))[0]
		if last.Outcome != ledger.Duplicate || last.State != tasker.Superseded {
			t.Errorf("after its end: %+v", last)
		}
		all := f.sentTopical(t, "all")
		f.receive(t, managerA, incoming(all, "a", tasker.Running))
		f.supersede(t, "all again")
		f.acquire(t, managerA, "newcomer")
		joins := f.receive(t, managerA, incoming(all, "newcomer", tasker.Running))[0]
		if joins.Outcome != ledger.Duplicate || joins.State != tasker.Superseded {
			t.Errorf("of two for all: %+v", joins)
		}
	})
}

// What was superseded runs again only if somebody says so, and then it is one of its
// topic that has not ended.
func TestRetrySuperseded(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		older := f.sentTopical(t, "older", "a", "b")
		newer := f.sentTopical(t, "newer", "a", "b")
		f.end(t, newer, tasker.ResultDone, "a", "b")
		f.end(t, f.sentTopical(t, "newest", "b"), tasker.ResultDone, "b") // it has seen that both have ended
		for _, class := range []tasker.RetryClass{tasker.RetryFailed, tasker.RetryUnfinished} {
			f.refuses(t, retryOf(older, class), tasker.Conflict, "no endpoint is")
		}
		if got := setsOf(f.retry(t, retryOf(older, "", "a"))); got != "a/" {
			t.Errorf("retried %s", got)
		}
		if task := f.find(t, older); task.Status != tasker.Sent || task.Superseded == nil {
			t.Errorf("%s, %+v", task.Status, task.Superseded)
		}
		if !f.attempt(t, older, "a", 0) {
			t.Error("it does not start")
		}
		_, _, err := f.Tasks.CreateTask(t.Context(), topicalOf("refused", "", "a"))
		if tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("beside it: %v", err)
		}
		f.finish(t, finish(older, "a", 1, tasker.ResultDone))
		f.aggregate(t, older.ID)
		if got := setsOf(f.retry(t, retryOf(older, tasker.RetryAll))); got != "a b/" {
			t.Errorf("retried %s", got)
		}
		if by := f.find(t, older).Superseded; by != nil {
			t.Errorf("superseded by %+v", by)
		}
	})
}
