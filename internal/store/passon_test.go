package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// passOn passes on the places of lost endpoints, where the policy of the type allows so many
// attempts, and checks of which tasks.
func (f fixture) passOn(t *testing.T, attempts int, want ...tasker.Task) {
	t.Helper()
	got, err := f.Endpoints.PassOnPlaces(t.Context(), func(string) int { return attempts }, 100)
	if err != nil || len(got) != len(want) {
		t.Fatalf("passed on %v, %v; want %d tasks", got, err, len(want))
	}
	for i, task := range want {
		if got[i] != task.ID {
			t.Errorf("passed on %v, want %s (%d)", got, task.Identifier, task.ID)
		}
	}
	if again, err := f.Endpoints.PassOnPlaces(t.Context(), func(string) int { return attempts }, 100); err != nil || len(again) > 0 {
		t.Errorf("once more: %v, %v", again, err)
	}
}

// lose lets an endpoint be silent until what it has not finished is lost.
func (f fixture) lose(t *testing.T, living ...string) {
	t.Helper()
	f.clock.advance(3 * lease)
	if len(living) > 0 {
		f.acquire(t, managerA, living...)
	}
	f.markLost(t)
}

// The place of a lost endpoint goes to another one if nothing runs there, or if the retry
// policy allows another attempt. What its manager does when it is back changes nothing.
func TestPassOnPlaces(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		own := func(t *tasker.Task) { t.Retry = &tasker.RetryPolicy{Delays: []time.Duration{time.Second}} }
		f.acquire(t, managerA, "a", "b", "c")
		waits, retries := f.placed(t, "waits", 1, nil), f.placed(t, "retries", 1, nil)
		runs, again := f.placed(t, "runs", 1, nil), f.placed(t, "again", 2, own)
		if got := f.take(t, managerA, "a", 4); got != "waits retries runs again" {
			t.Fatalf("took %q", got)
		}
		f.receive(t, managerA, incoming(waits, "a", tasker.Received), incoming(retries, "a", tasker.Running),
			incoming(runs, "a", tasker.Running), incoming(again, "a", tasker.Running))
		f.finish(t, finish(retries, "a", 1, tasker.Retrying))
		f.passOn(t, 2) // nobody is lost
		f.lose(t, "b", "c")
		f.wantStatus(t, again, tasker.Incomplete)
		f.passOn(t, 1, waits, again)
		f.wantPlaces(t, waits, 1, 0)
		f.wantPlaces(t, retries, 0, 0, "a") // whoever set another policy meanwhile
		f.wantPlaces(t, runs, 0, 0, "a")
		f.wantPlaces(t, again, 2, 0)

		f.acquire(t, managerA, "a") // it is back
		if _, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"a"}); err != nil {
			t.Fatal(err)
		}
		if f.start(t, managerA, waits, "a", 1) {
			t.Error("what was passed on starts")
		}
		if stored, err := f.Attempts.FinishAttempts(t.Context(), []ledger.End{finish(again, "a", 1, tasker.ResultDone)}); err != nil || stored[0] {
			t.Errorf("the end of what was passed on is stored: %v, %v", stored, err)
		}
		if got := f.take(t, managerA, "a", 4); got != "" {
			t.Errorf("a takes %q again", got)
		}
		f.wantTaken(t, map[string]string{"b": "waits again", "c": "again"})
		f.receive(t, managerA, incoming(waits, "b", tasker.Running), incoming(again, "b", tasker.Running), incoming(again, "c", tasker.Running))
		f.finish(t, finish(waits, "b", 1, tasker.ResultDone), finish(again, "b", 1, tasker.ResultDone),
			finish(again, "c", 1, tasker.ResultDone), finish(runs, "a", 1, tasker.ResultDone))
		for _, task := range []tasker.Task{waits, again, runs} {
			f.wantStatus(t, task, tasker.Done)
		}
		history := f.attempts(t, again, "a")
		if len(history) != 1 || history[0].Errnr != tasker.ErrnrInterrupted || !strings.Contains(history[0].Errmsg, "while it ran") {
			t.Errorf("the attempts of a: %+v", history)
		}
		if got := f.find(t, again).RemovedEndpoints; len(got) != 1 || got[0] != "a" {
			t.Errorf("removed are %v", got)
		}
	})
}

// The attempts of all lost endpoints of a task count together.
func TestPassOnPlacesUpToTheLimit(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.placed(t, "one", 1, nil)
		living := map[string][]string{"a": {"b", "c"}, "b": {"c"}, "c": nil}
		for i, name := range []string{"a", "b", "c"} {
			f.wantTaken(t, map[string]string{name: "one"})
			f.receive(t, managerA, incoming(task, name, tasker.Running))
			f.lose(t, living[name]...)
			if i < 2 {
				f.passOn(t, 3, task)
				f.wantPlaces(t, task, 1, 0)
			} else {
				f.passOn(t, 3)
				f.wantPlaces(t, task, 0, 0, "c")
			}
		}
		f.acquire(t, managerA, "c")
		if n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"c"}); err != nil || n != 1 {
			t.Fatalf("%d are back, %v", n, err)
		}
		f.finish(t, finish(task, "c", 1, tasker.ResultDone))
		f.wantStatus(t, task, tasker.Done)
	})
}

// Where no attempt has begun the place is passed on, whatever others have used up.
func TestPassOnWhatDidNotBegin(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		task := f.placed(t, "one", 1, nil)
		f.wantTaken(t, map[string]string{"a": "one"})
		f.receive(t, managerA, incoming(task, "a", tasker.Running))
		f.lose(t, "b", "c")
		f.passOn(t, 2, task)
		f.wantTaken(t, map[string]string{"b": "one"})
		f.receive(t, managerA, incoming(task, "b", tasker.Received))
		f.lose(t, "c")
		f.passOn(t, 1, task) // the policy is stricter now
		f.wantTaken(t, map[string]string{"c": "one"})
	})
}

// A place stays where it is if its task is canceled or has expired, if its endpoint is back,
// and for tasks that are not for any endpoint.
func TestPassOnNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		expires := func(t *tasker.Task) { t.Expiry, t.AskedExpiry = tasker.Expiry{After: time.Second}, true }
		f.acquire(t, managerA, "a", "b")
		canceled, expired := f.placed(t, "canceled", 1, nil), f.placed(t, "expired", 1, expires)
		back, two := f.placed(t, "back", 1, nil), f.placed(t, "two", 2, nil)
		listed := f.send(t, "listed", "a")
		if got := f.take(t, managerA, "a", 4); got != "canceled expired back two" {
			t.Fatalf("took %q", got)
		}
		for _, task := range []tasker.Task{canceled, expired, back, two, listed} {
			f.receive(t, managerA, incoming(task, "a", tasker.Running))
		}
		f.lose(t, "b")
		f.cancel(t, canceled)
		f.cancel(t, two, "a")
		f.acquire(t, managerA, "a")
		f.passOn(t, 9) // not while a manager holds the endpoint, though it has not taken anything back
		f.clock.advance(3 * lease)
		f.acquire(t, managerA, "b")
		f.passOn(t, 9, back)
		f.wantPlaces(t, canceled, 0, 0, "a")
		f.wantPlaces(t, expired, 0, 0, "a")
		f.wantPlaces(t, two, 1, 0, "a")
		if state := f.states(t, listed)["a"]; state != tasker.Lost {
			t.Errorf("listed is %s", state)
		}
	})
}
