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

// expiring creates a task that expires in an hour.
func (f fixture) expiring(t *testing.T, identifier string, endpoints ...string) tasker.Task {
	t.Helper()
	task, created, err := f.Tasks.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: identifier, Endpoints: endpoints, Expiry: tasker.Expiry{After: time.Hour}, AskedExpiry: true,
	})
	if err != nil || !created {
		t.Fatalf("CreateTask: created %v, %v", created, err)
	}
	return task
}

// sentExpiring is expiring for a task that is sent.
func (f fixture) sentExpiring(t *testing.T, identifier string, endpoints ...string) tasker.Task {
	t.Helper()
	task, err := f.Outbox.MarkSent(t.Context(), f.expiring(t, identifier, endpoints...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// expire lets what has expired end.
func (f fixture) expire(t *testing.T) (tasks []int64) {
	t.Helper()
	tasks, err := f.Expiry.ExpireTasks(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Statuses.Aggregate(t.Context(), tasks, time.Hour); err != nil {
		t.Fatal(err)
	}
	return tasks
}

// expiryStates returns the results of a task as "endpoint state errnr", by endpoint.
func (f fixture) expiryStates(t *testing.T, task tasker.Task) string {
	t.Helper()
	results, err := f.Results.TaskResults(t.Context(), task.ID)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range results {
		list = append(list, fmt.Sprint(r.Endpoint, " ", r.State, " ", r.Errnr))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// An endpoint that gets to an expired task records that it did not run it.
func TestExpired(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c", "d", "e")
		created := f.Now()
		task := f.sentExpiring(t, "one", "a", "b", "c", "d")
		if task.Expires == nil || !task.Expires.Equal(created.Add(time.Hour)) || !f.named(t, "one").Expires.Equal(*task.Expires) {
			t.Fatalf("expires at %v", task.Expires)
		}
		f.clock.advance(time.Hour - time.Microsecond)
		f.receive(t, managerA, incoming(task, "a", tasker.Received), incoming(task, "b", tasker.Running), incoming(task, "c", tasker.Received))
		startsC := ledger.Start{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "c"}}
		if started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, []ledger.Start{startsC})); err != nil || !started[0] {
			t.Fatalf("in time: started %v, %v", started, err)
		}
		if stored, err := f.Attempts.FinishAttempts(t.Context(), []ledger.End{
			{ResultKey: startsC.ResultKey, Attempt: 1, State: tasker.Retrying, Errnr: 1, Errmsg: "why"},
		}); err != nil || !stored[0] {
			t.Fatal(stored, err)
		}
		if len(f.expire(t)) > 0 {
			t.Error("it has expired too early")
		}
		f.clock.advance(time.Microsecond)
		startsC.Attempt = 1
		startsA := ledger.Start{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}}
		started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, []ledger.Start{startsA, startsC}))
		if err != nil || started[0] || started[1] {
			t.Errorf("started %v, %v", started, err)
		}
		for range 2 {
			got := f.receive(t, managerA, incoming(task, "d", tasker.Running), incoming(task, "b", tasker.Running))
			if got[0].Outcome != ledger.Duplicate || got[0].State != tasker.Expired || got[1].Outcome != ledger.Duplicate ||
				got[1].State != tasker.Running {
				t.Errorf("received %+v", got)
			}
		}
		if got := f.expiryStates(t, task); got != "a EXPIRED -4, b RUNNING 0, c EXPIRED -4, d EXPIRED -4" {
			t.Error(got)
		}
		// A run that has begun goes on, but is not repeated.
		f.expire(t)
		if got := f.named(t, "one").Status; got != tasker.Sent {
			t.Errorf("it is %s while a run goes on", got)
		}
		keyB := tasker.ResultKey{TaskID: task.ID, Endpoint: "b"}
		if stored, err := f.Attempts.FinishAttempts(t.Context(), []ledger.End{
			{ResultKey: keyB, Attempt: 1, State: tasker.Retrying, Errnr: 1, Errmsg: "why"},
		}); err != nil || !stored[0] {
			t.Fatal(stored, err)
		}
		f.clock.advance(time.Hour)
		f.expire(t)
		if got := f.expiryStates(t, task); got != "a EXPIRED -4, b EXPIRED -4, c EXPIRED -4, d EXPIRED -4" {
			t.Error(got)
		}
		if got := f.named(t, "one").Status; got != tasker.Failed {
			t.Errorf("it is %s", got)
		}
		f.clock.advance(time.Hour)
		if tasks := f.expire(t); len(tasks) > 1 {
			t.Errorf("looked at %v again", tasks)
		}
		f.clock.advance(time.Hour)
		if tasks := f.expire(t); len(tasks) > 0 {
			t.Errorf("looked at %v for ever", tasks)
		}
		// A message that comes afterwards is no dead letter, whomever it reaches.
		if got := f.receive(t, managerA, incoming(task, "d", tasker.Running)); got[0].Outcome != ledger.Duplicate || got[0].State != tasker.Expired {
			t.Errorf("received %+v", got)
		}
	})
}

// For endpoints that never receive it the task ends when it expires.
func TestExpireMissing(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		all, listed, lost := f.sentExpiring(t, "all"), f.sentExpiring(t, "listed", "a", "z"), f.sentExpiring(t, "lost", "a", "b")
		f.receive(t, managerA, incoming(all, "a", tasker.Running), incoming(lost, "a", tasker.Received), incoming(lost, "b", tasker.Running))
		end := []ledger.End{{ResultKey: tasker.ResultKey{TaskID: all.ID, Endpoint: "a"}, Attempt: 1, State: tasker.ResultDone}}
		if stored, err := f.Attempts.FinishAttempts(t.Context(), end); err != nil || !stored[0] {
			t.Fatal(stored, err)
		}
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now(), 10); err != nil {
			t.Fatal(err)
		}
		f.expire(t)
		for task, want := range map[*tasker.Task]string{
			&all: "a DONE 0, b EXPIRED -4, c EXPIRED -4", &listed: "a EXPIRED -4, z EXPIRED -4", &lost: "a EXPIRED -4, b LOST -3",
		} {
			if got := f.expiryStates(t, *task); got != want {
				t.Errorf("%s: %s, want %s", task.Identifier, got, want)
			}
		}
		for identifier, want := range map[string]tasker.TaskStatus{"all": tasker.Failed, "listed": tasker.Failed, "lost": tasker.Incomplete} {
			if got := f.named(t, identifier).Status; got != want {
				t.Errorf("%s is %s, want %s", identifier, got, want)
			}
		}
		// A newcomer that has a copy of the ended task, and one that has been away.
		f.acquire(t, managerB, "new", "c")
		for _, endpoint := range []string{"new", "c"} {
			if got := f.receive(t, managerB, incoming(all, endpoint, tasker.Running)); endpoint == "new" &&
				(got[0].Outcome != ledger.Duplicate || got[0].State != tasker.Expired) {
				t.Errorf("%s received %+v", endpoint, got)
			}
		}
		if got := f.expiryStates(t, all); strings.Contains(got, "new") {
			t.Error(got)
		}
	})
}

// What was not sent by then is not sent any more.
func TestExpireUnsent(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		unsent, received, done := f.expiring(t, "unsent"), f.expiring(t, "received", "a", "b"), f.expiring(t, "done", "a")
		later := f.later(t, "later", func(t *tasker.Task) { t.Expiry = tasker.Expiry{After: time.Minute} })
		f.receive(t, managerA, incoming(received, "a", tasker.Running), incoming(done, "a", tasker.Running))
		end := []ledger.End{{ResultKey: tasker.ResultKey{TaskID: done.ID, Endpoint: "a"}, Attempt: 1, State: tasker.ResultDone}}
		if stored, err := f.Attempts.FinishAttempts(t.Context(), end); err != nil || !stored[0] {
			t.Fatal(stored, err)
		}
		f.clock.advance(time.Hour)
		if got, err := f.Outbox.ClaimUnsent(t.Context(), 10, lease); err != nil || len(got) > 0 {
			t.Errorf("expired tasks are sent: %+v, %v", got, err)
		}
		if started, choosing, err := f.Schedule.StartDue(t.Context(), 10, lease); err != nil || len(started)+len(choosing) > 0 {
			t.Errorf("expired tasks start: %v, %v, %v", started, choosing, err)
		}
		f.expire(t)
		for identifier, want := range map[string]struct {
			status tasker.TaskStatus
			errmsg string
		}{
			"unsent":   {tasker.Failed, "the task expired before it was sent"},
			"received": {tasker.Sent, ""},
			"done":     {tasker.Done, ""},
			"later":    {tasker.Failed, "the task expired before it was started"},
		} {
			if got := f.named(t, identifier); got.Status != want.status || got.Errmsg != want.errmsg {
				t.Errorf("%s is %s, %q, want %s, %q", identifier, got.Status, got.Errmsg, want.status, want.errmsg)
			}
		}
		if got := f.expiryStates(t, unsent); got != "a EXPIRED -4" {
			t.Error(got)
		}
		if got := f.expiryStates(t, received); got != "a RUNNING 0, b EXPIRED -4" {
			t.Error(got)
		}
		if got := f.expiryStates(t, later); got != "" {
			t.Error(got)
		}
	})
}

// A task for nobody ends when it expires.
func TestExpireForNobody(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.sentExpiring(t, "nobody")
		f.clock.advance(time.Hour)
		f.expire(t)
		if got := f.named(t, "nobody"); got.Status != tasker.Failed || got.Errmsg != "the task expired before any endpoint received it" {
			t.Errorf("%+v", got)
		}
	})
}

// When a task expires is part of the request if it was asked for, and moves with its
// start if it was given from there.
func TestExpiryOfTheRequest(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		given := tasker.Task{Type: "worker", Identifier: "a", Expiry: tasker.Expiry{After: time.Hour}}
		if _, created, err := f.Tasks.CreateTask(t.Context(), given); !created || err != nil {
			t.Fatal(created, err)
		}
		at := f.Now().Add(time.Hour)
		given.Expiry.After = time.Minute // the type's default is another one now
		if _, created, err := f.Tasks.CreateTask(t.Context(), given); created || err != nil {
			t.Errorf("with another default: created %t, %v", created, err)
		}
		given.AskedExpiry = true
		if _, _, err := f.Tasks.CreateTask(t.Context(), given); tasker.CodeOf(err) != tasker.Conflict {
			t.Errorf("asked for: %v", err)
		}
		f.later(t, "relative", func(t *tasker.Task) { t.Expiry.After = time.Hour })
		f.later(t, "absolute", func(t *tasker.Task) { t.Expiry.At = at })
		moved, err := f.Tasks.Reschedule(t.Context(), "worker", "relative", tasker.Start{In: 2 * time.Hour})
		if err != nil || !moved.Expires.Equal(f.Now().Add(3*time.Hour)) {
			t.Errorf("moved: %+v, %v", moved, err)
		}
		if moved, err = f.Tasks.Reschedule(t.Context(), "worker", "absolute", tasker.Start{In: 59 * time.Minute}); err != nil || !moved.Expires.Equal(at) {
			t.Errorf("moved: %+v, %v", moved, err)
		}
		if _, err = f.Tasks.Reschedule(t.Context(), "worker", "absolute", tasker.Start{In: time.Hour}); tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("moved behind its end: %v", err)
		}
	})
}

// Endpoints record a task while it expires: each has one result, which says whether
// it runs.
func TestExpireWhileReceived(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var endpoints []string
		for i := range 40 {
			endpoints = append(endpoints, fmt.Sprintf("e%02d", i))
		}
		f.acquire(t, managerA, endpoints...)
		task := f.sentExpiring(t, "one", endpoints...)
		var mu sync.Mutex
		runs := 0
		f.clock.advance(time.Hour)
		var group sync.WaitGroup
		for _, name := range endpoints {
			group.Go(func() {
				got, err := f.Inbox.ReceiveResults(t.Context(), messagesOf(managerA, incoming(task, name, tasker.Running)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if got[0].Outcome == ledger.Recorded {
					runs++
				}
			})
		}
		group.Go(func() {
			if _, err := f.Expiry.ExpireTasks(t.Context(), 10); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		f.clock.advance(time.Hour)
		f.expire(t)
		if n := strings.Count(f.expiryStates(t, task), "EXPIRED"); runs > 0 || n != len(endpoints) || f.named(t, "one").Status != tasker.Failed {
			t.Errorf("%d runs, %d expired, status %s", runs, n, f.named(t, "one").Status)
		}
	})
}
