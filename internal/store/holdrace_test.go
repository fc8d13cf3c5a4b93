package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// A start that waits for the lock of a hold's gate finds the hold, and a hold waits for
// the starts that are under way.
func TestStartWaitsForHold(t *testing.T) {
	for _, verb := range []string{"UPDATE", "INSERT"} {
		t.Run(verb, func(t *testing.T) {
			f, r := against(t)
			f.acquire(t, managerA, "a")
			waits, arrives := f.send(t, "waits", "a"), f.send(t, "arrives", "a")
			f.receive(t, managerA, incoming(waits, "a", tasker.Received))
			f.receive(t, managerA, incoming(f.send(t, "opens", "a"), "a", tasker.Running))
			if f.gate(t, "a") != 0 {
				t.Fatal("the gate is closed")
			}
			r.do("BEGIN", "UPDATE endpoints SET gate = 1 WHERE name = 'a'",
				"INSERT INTO holds (endpoint, requested_by, reason, hold_time) VALUES ('a', 'ann', '', UTC_TIMESTAMP(6))")
			done := make(chan string, 1)
			go func() {
				if verb == "UPDATE" {
					done <- fmt.Sprint(f.attempt(t, waits, "a", 0))
					return
				}
				done <- string(f.receive(t, managerA, incoming(arrives, "a", tasker.Running))[0].State)
			}()
			r.awaitWaiter(verb)
			r.do("COMMIT")
			if got := <-done; got != "false" && got != string(tasker.Received) {
				t.Errorf("it started: %s", got)
			}
			for _, task := range []tasker.Task{waits, arrives} {
				if state := f.states(t, task)["a"]; state == tasker.Running {
					t.Errorf("%s is %s", task.Identifier, state)
				}
			}
		})
	}
}

// A registration for a type that is just being paused waits for the pause, and a pause
// waits for a registration.
func TestRegistrationWaitsForHold(t *testing.T) {
	f, r := against(t)
	f.acquire(t, managerA, "a")
	r.do("BEGIN", "INSERT INTO holds (task_type, requested_by, reason, hold_time) VALUES ('worker', 'ann', '', UTC_TIMESTAMP(6))")
	done := make(chan struct{})
	go func() { defer close(done); f.acquire(t, managerA, "new") }()
	r.awaitWaiter("SELECT")
	r.do("COMMIT")
	<-done
	f.unhold(t, tasker.HoldSubject{TaskType: "worker"}, true)

	r.do("BEGIN", "INSERT INTO endpoints (name, manager, host, pid, version, start_time, last_seen, lease_until)"+
		" VALUES ('late', '', '', 1, '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))",
		"INSERT INTO endpoint_task_types (task_type, endpoint) VALUES ('worker', 'late')")
	outcome := make(chan tasker.HoldOutcome, 1)
	go func() { outcome <- f.hold(t, tasker.HoldSubject{TaskType: "worker"}, tasker.Expiry{}) }()
	r.awaitWaiter("SELECT")
	r.do("COMMIT")
	if o := <-outcome; !slices.Contains(o.Endpoints, "late") {
		t.Errorf("the pause does not concern the endpoint: %v", o.Endpoints)
	}
}

// TestHoldRace: whatever starts while a hold is stored either is among what the answer
// says runs, or does not start.
func TestHoldRace(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		rounds := 60
		if testing.Short() {
			rounds = 9
		}
		for i := range rounds {
			f.race(t, i, []string{"task", "type", "endpoint"}[i%3])
		}
	})
}

// race stores a hold while a task arrives at two endpoints and another attempt of it
// starts at a third result.
func (f fixture) race(t *testing.T, round int, kind string) {
	f.acquire(t, managerA, "a", "b")
	task, waits := f.send(t, fmt.Sprint("one", round), "a", "b"), f.send(t, fmt.Sprint("two", round), "a", "b")
	f.receive(t, managerA, incoming(waits, "a", tasker.Received), incoming(waits, "b", tasker.Received))
	if round%2 == 0 { // open the gates
		f.receive(t, managerA, incoming(f.send(t, fmt.Sprint("opens", round), "a", "b"), "a", tasker.Running),
			incoming(f.send(t, fmt.Sprint("opens too", round), "a", "b"), "b", tasker.Running))
	}
	held := []tasker.Task{task, waits}
	var outcome tasker.HoldOutcome
	var group sync.WaitGroup
	group.Go(func() {
		for _, one := range held {
			outcome = f.hold(t, subjects(one)[kind], tasker.Expiry{})
		}
	})
	group.Go(func() {
		f.receive(t, managerA, incoming(task, "b", tasker.Running), incoming(task, "a", tasker.Running))
	})
	group.Go(func() {
		for _, endpoint := range []string{"a", "b"} {
			f.attempt(t, waits, endpoint, 0)
		}
	})
	group.Wait()
	runs := map[string]bool{}
	for _, one := range held {
		for endpoint, state := range f.states(t, one) {
			if state == tasker.Running {
				runs[endpoint] = true
				if kind == "endpoint" && endpoint == "a" {
					runs[one.Type+"/"+one.Identifier] = true
				}
			}
		}
	}
	if kind == "endpoint" { // the tasks that a runs
		delete(runs, "a")
		delete(runs, "b")
	}
	if kind == "task" { // the last hold was that of the second one
		clear(runs)
		for endpoint, state := range f.states(t, waits) {
			if state == tasker.Running {
				runs[endpoint] = true
			}
		}
	}
	for name := range runs {
		if !slices.Contains(outcome.Running, name) {
			t.Fatalf("round %d: %s runs, and the answer of %s has %v", round, name, kind, outcome.Running)
		}
	}
	for _, one := range held {
		for _, endpoint := range []string{"a", "b"} {
			r := f.result(t, one, endpoint)
			if kind == "endpoint" && endpoint == "b" {
				continue
			}
			if r.State == tasker.Received && f.attempt(t, one, endpoint, 0) {
				t.Fatalf("round %d: %s started at %s", round, one.Identifier, endpoint)
			}
		}
	}
	for _, one := range held {
		if _, _, err := f.Holds.Resume(t.Context(), subjects(one)[kind]); err != nil {
			t.Fatal(err)
		}
	}
}

// The same task twice in a batch, with a slot and without, at an endpoint whose gate is
// closed: what is answered as recorded is what the row says.
func TestArrivesTwiceAtAClosedGate(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		recordings := f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "a", tasker.Received))
		wantOutcomes(t, recordings, ledger.Duplicate, ledger.Recorded)
		if state := f.states(t, task)["a"]; state != tasker.Received || recordings[0].State != state {
			t.Errorf("it is %s, and was answered as %s", state, recordings[0].State)
		}
	})
}
