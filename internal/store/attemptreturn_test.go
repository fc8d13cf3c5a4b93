package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// An endpoint is marked lost before its attempts are given back, or between two calls
// of which the first had no answer.
func TestGivesBackWhatIsLost(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task, ran := f.send(t, "one", "a"), f.send(t, "ran", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(ran, "a", tasker.Running))
		f.await(t, ran, "a", 1, 2, bootA, true)
		lose := func() {
			t.Helper()
			f.clock.advance(time.Hour)
			if _, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10); err != nil {
				t.Fatal(err)
			}
		}
		starts := startsOf(managerA, []ledger.Start{
			{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Attempt: 1},
			{ResultKey: tasker.ResultKey{TaskID: ran.ID, Endpoint: "a"}, Attempt: 1},
		})
		for range 2 {
			lose()
			returned, err := f.Attempts.ReturnAttempts(t.Context(), starts)
			if err != nil || fmt.Sprint(returned) != "[true false]" {
				t.Fatalf("%v, %v", returned, err)
			}
		}
		lose()
		f.acquire(t, managerA, "a")
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil {
			t.Fatal(err)
		}
		if r := f.result(t, task, "a"); r.State != tasker.Received || r.Attempt != 0 || r.Errnr != 0 || r.Errmsg != "" {
			t.Errorf("given back: %+v", r)
		}
		if r := f.result(t, ran, "a"); r.State != tasker.Running || r.Attempt != 1 {
			t.Errorf("it has run: %+v", r)
		}
	})
}

// An attempt is given back once: a call that was delayed until it has been started
// again has no effect.
func TestGivesBackOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.acquire(t, managerB, "b")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		key := tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}
		giveBack := func(manager string, attempt int, want bool) {
			t.Helper()
			returned, err := f.Attempts.ReturnAttempts(t.Context(), startsOf(manager, []ledger.Start{{ResultKey: key, Attempt: attempt}}))
			if err != nil || returned[0] != want {
				t.Errorf("attempt %d by %s: %v, %v, want %v", attempt, manager, returned, err, want)
			}
		}
		giveBack(managerB, 1, false)
		giveBack(managerA, 2, false)
		giveBack(managerA, 1, true)
		giveBack(managerB, 1, false)
		giveBack(managerA, 1, true)
		f.clock.advance(time.Second)
		started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, []ledger.Start{{ResultKey: key}}))
		if err != nil || !started[0] {
			t.Fatal(started, err)
		}
		giveBack(managerA, 1, false)
		if r := f.result(t, task, "a"); r.State != tasker.Running || r.Attempt != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A manager that has lost its endpoint gives nothing back.
func TestGivesBackOnlyWhatItHolds(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.clock.advance(2 * lease)
		f.acquire(t, managerB, "a")
		returned, err := f.Attempts.ReturnAttempts(t.Context(), startsOf(managerA,
			[]ledger.Start{{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Attempt: 1}}))
		if err != nil || returned[0] {
			t.Errorf("%v, %v", returned, err)
		}
		if w := f.interrupted(t, managerB, "a"); w.Attempt != 1 {
			t.Errorf("%+v", w)
		}
	})
}
