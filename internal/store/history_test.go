package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

func TestHistory(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Received))
		if attempts := f.attempts(t, task, "a"); len(attempts) != 0 {
			t.Errorf("before it ran: %+v", attempts)
		}
		at := func(d time.Duration) *time.Time {
			f.clock.advance(d)
			now := f.Now()
			return &now
		}
		began := at(time.Minute)
		f.restart(t, task, "a", 0)
		first := tasker.Attempt{Attempt: 1, State: tasker.Running, StartTime: began}
		wantSame(t, "while it runs", f.attempts(t, task, "a"), []tasker.Attempt{first})

		first.EndTime, first.State, first.Errnr, first.Errmsg = at(time.Second), tasker.ResultFailed, 1, "it failed"
		f.finish(t, finish(task, "a", 1, tasker.Retrying))
		wantSame(t, "while it waits for the next", f.attempts(t, task, "a"), []tasker.Attempt{first})

		second := tasker.Attempt{Attempt: 2, State: tasker.Running, StartTime: at(time.Minute)}
		f.restart(t, task, "a", 1)
		wantSame(t, "while the second runs", f.attempts(t, task, "a"), []tasker.Attempt{first, second})
		if f.finish(t, finish(task, "a", 1, tasker.Retrying))[0] {
			t.Error("the first one's end was stored again")
		}
		second.EndTime, second.State, second.Errnr, second.Errmsg = at(time.Second), tasker.TimedOut, tasker.ErrnrTimedOut, "too slow"
		end := finish(task, "a", 2, tasker.TimedOut)
		end.Errnr, end.Errmsg = second.Errnr, second.Errmsg
		f.finish(t, end)
		// An end that came too late is not in the history.
		if f.finish(t, finish(task, "a", 2, tasker.Retrying))[0] {
			t.Error("the second one's end was stored twice")
		}
		wantSame(t, "at the end", f.attempts(t, task, "a"), []tasker.Attempt{first, second})
		if n := f.rows(t, "attempts"); n != 1 {
			t.Errorf("%d rows, want that of the first attempt only", n)
		}
	})
}

// If not every attempt of a batch is current, the history has what was stored
// and nothing else.
func TestHistoryOfABatch(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.send(t, "one")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Received), incoming(task, "c", tasker.Running))
		stored := f.finish(t, finish(task, "a", 1, tasker.Retrying), finish(task, "b", 1, tasker.Retrying),
			finish(task, "c", 1, tasker.ResultDone))
		if fmt.Sprint(stored) != "[true false true]" {
			t.Errorf("stored %v", stored)
		}
		if a, n := f.attempts(t, task, "a"), f.rows(t, "attempts"); len(a) != 1 || a[0].State != tasker.ResultFailed ||
			a[0].StartTime == nil || n != 1 {
			t.Errorf("%+v, and %d rows", a, n)
		}
		// And if all are.
		two := f.send(t, "two")
		f.receive(t, managerA, incoming(two, "a", tasker.Running), incoming(two, "b", tasker.Running))
		f.finish(t, finish(two, "a", 1, tasker.Retrying), finish(two, "b", 1, tasker.Retrying))
		if n := f.rows(t, "attempts"); n != 3 {
			t.Errorf("%d rows, want 3", n)
		}
	})
}

// What happened to a result while it waited for its next attempt does not end
// the attempt before.
func TestHistoryOfWhatDidNotRunAgain(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.finish(t, finish(task, "a", 1, tasker.Retrying))
		want := f.attempts(t, task, "a")
		if len(want) != 1 || want[0].State != tasker.ResultFailed {
			t.Fatalf("%+v", want)
		}
		f.clock.advance(time.Hour)
		if lost, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil || len(lost) != 1 {
			t.Fatalf("lost %v, %v", lost, err)
		}
		wantSame(t, "while it is lost", f.attempts(t, task, "a"), want)
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil {
			t.Fatal(err)
		}
		f.cancel(t, task)
		if f.states(t, task)["a"] != tasker.ResultCanceled {
			t.Fatal("it is not canceled")
		}
		wantSame(t, "when it was canceled", f.attempts(t, task, "a"), want)
	})
}

// A running attempt of a lost endpoint has no end.
func TestAttemptThatIsLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil {
			t.Fatal(err)
		}
		if a := f.attempts(t, task, "a"); len(a) != 1 || a[0].State != tasker.Lost || a[0].Errnr != tasker.ErrnrLost || a[0].EndTime != nil {
			t.Errorf("%+v", a)
		}
	})
}

// A payload found to violate the schema when the attempt is already counted.
func TestRejectedWhileRunning(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a", "b")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running))
		if !f.finish(t, finish(task, "a", 1, tasker.Rejected))[0] {
			t.Error("the running one was not rejected")
		}
		f.clock.advance(time.Hour)
		if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil {
			t.Fatal(err)
		}
		if !f.finish(t, finish(task, "b", 1, tasker.Rejected))[0] {
			t.Error("the lost one was not rejected")
		}
		if a := f.attempts(t, task, "a"); len(a) != 1 || a[0].State != tasker.Rejected || a[0].EndTime == nil {
			t.Errorf("%+v", a)
		}
	})
}
