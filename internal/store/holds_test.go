package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

func (f fixture) hold(t *testing.T, subject tasker.HoldSubject, until tasker.Expiry) tasker.HoldOutcome {
	t.Helper()
	outcome, err := f.Holds.Hold(t.Context(), tasker.HoldRequest{HoldSubject: subject, By: "ann", Reason: "new disk", Until: until})
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// unhold ends a hold, and wants that there was one, or none.
func (f fixture) unhold(t *testing.T, subject tasker.HoldSubject, want bool) tasker.EndedHold {
	t.Helper()
	ended, resumed, err := f.Holds.Resume(t.Context(), subject)
	if err != nil || resumed != want {
		t.Fatalf("resumed: %v, %v", resumed, err)
	}
	return ended
}

// attempt starts the next attempt of a result, and reports whether it could.
func (f fixture) attempt(t *testing.T, task tasker.Task, endpoint string, begun int) bool {
	t.Helper()
	started, err := f.Attempts.StartAttempts(t.Context(), startsOf(managerA, []ledger.Start{
		{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint}, Attempt: begun},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return started[0]
}

func taskSubject(task tasker.Task) tasker.HoldSubject {
	return tasker.HoldSubject{TaskType: task.Type, Identifier: task.Identifier}
}

// subjects are the three kinds of holds that apply to a task at endpoint a.
func subjects(task tasker.Task) map[string]tasker.HoldSubject {
	return map[string]tasker.HoldSubject{
		"task": taskSubject(task), "type": {TaskType: task.Type}, "endpoint": {Endpoint: "a"},
	}
}

// Nothing starts while a hold applies: no first attempt, at once or later, no retry and
// no step after a reboot. What arrives is recorded. Everything goes on when the hold is
// ended, or when its time has passed.
func TestNothingStartsWhileHeld(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for _, kind := range []string{"task", "type", "endpoint"} {
			for _, end := range []string{"resumed", "over"} {
				t.Run(kind+" "+end, func(t *testing.T) { testHeld(t, f, kind, end) })
			}
		}
	})
}

func testHeld(t *testing.T, f fixture, kind, end string) {
	f.acquire(t, managerA, "a")
	first, second, third, fourth := f.send(t, kind+end+"1", "a"), f.send(t, kind+end+"2", "a"), f.send(t, kind+end+"3", "a"),
		f.send(t, kind+end+"4", "a")
	f.receive(t, managerA, incoming(first, "a", tasker.Received), incoming(second, "a", tasker.Running), incoming(third, "a", tasker.Running))
	f.finish(t, finish(second, "a", 1, tasker.Retrying))
	f.await(t, third, "a", 1, 2, bootA, true)
	var subjectsOf []tasker.HoldSubject
	for _, task := range []tasker.Task{first, second, third, fourth} {
		subjectsOf = append(subjectsOf, subjects(task)[kind])
	}
	subjectsOf = slices.Compact(subjectsOf)
	var until tasker.Expiry
	if end == "over" {
		until.After = time.Minute
	}
	for _, subject := range subjectsOf {
		f.hold(t, subject, until)
	}
	rec := f.receive(t, managerA, incoming(fourth, "a", tasker.Running))
	if rec[0].Outcome != ledger.Duplicate || rec[0].State != tasker.Received || rec[0].Task.ID != fourth.ID {
		t.Errorf("what arrives: %+v", rec[0])
	}
	if r := f.result(t, fourth, "a"); r.State != tasker.Received || r.Attempt != 0 {
		t.Errorf("what arrives is %+v", r)
	}
	f.clock.advance(time.Second)
	if f.attempt(t, first, "a", 0) || f.attempt(t, second, "a", 1) {
		t.Error("an attempt started")
	}
	f.resume(t, managerA, third, "a", 1, false)
	f.wantWork(t, "", "", "")
	holds, err := f.Endpoints.HoldsAt(t.Context(), []string{"a"})
	if err != nil || len(holds) < len(subjectsOf) || (holds[0].Until != nil) != (end == "over") {
		t.Errorf("the endpoint is told %+v, %v", holds, err)
	}
	if end == "over" {
		f.clock.advance(time.Minute)
	} else {
		for _, subject := range subjectsOf {
			f.unhold(t, subject, true)
			f.unhold(t, subject, false)
		}
	}
	if holds, err = f.Endpoints.HoldsAt(t.Context(), []string{"a"}); err != nil || len(holds) > 0 {
		t.Errorf("afterwards it is told %+v, %v", holds, err)
	}
	f.acquire(t, managerA, "a") // the lease has passed
	f.wantWork(t, first.Identifier+" "+fourth.Identifier, second.Identifier, third.Identifier)
	if !f.attempt(t, first, "a", 0) || !f.attempt(t, second, "a", 1) || !f.attempt(t, fourth, "a", 0) {
		t.Error("what was held does not start")
	}
	f.resume(t, managerA, third, "a", 1, true)
	if _, err := f.Holds.EndHolds(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	f.finish(t, finish(first, "a", 1, tasker.ResultDone), finish(second, "a", 2, tasker.ResultDone),
		finish(third, "a", 1, tasker.ResultDone), finish(fourth, "a", 1, tasker.ResultDone))
}

// wantWork wants the waiting, due and rebooted results of endpoint a, by identifier.
func (f fixture) wantWork(t *testing.T, waiting, due, rebooted string) {
	t.Helper()
	names := func(work []ledger.Work, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, w := range work {
			list = append(list, w.Task.Identifier)
		}
		return strings.Join(list, " ")
	}
	if got := names(f.Attempts.WaitingWork(t.Context(), "a", "worker", 10)); got != waiting {
		t.Errorf("waiting: %q, want %q", got, waiting)
	}
	if got := names(f.Attempts.DueWork(t.Context(), "a", "worker", 10)); got != due {
		t.Errorf("due: %q, want %q", got, due)
	}
	if _, ok, err := f.Attempts.NextRetry(t.Context(), "a", "worker"); err != nil || ok != (due != "") {
		t.Errorf("there is a next retry: %v, %v", ok, err)
	}
	f.exec(t, "UPDATE endpoints SET manager = '"+managerB+"' WHERE name = 'a'")
	if got := names(f.Attempts.InterruptedWork(t.Context(), managerB, "a", 10)); got != rebooted {
		t.Errorf("rebooted: %q, want %q", got, rebooted)
	}
	f.exec(t, "UPDATE endpoints SET manager = '"+managerA+"' WHERE name = 'a'")
}

// What runs goes on, and the answer names it; other tasks, types and endpoints are not
// concerned.
func TestHoldOutcome(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		one, two := f.send(t, "one", "a", "b", "c"), f.send(t, "two", "a", "b")
		f.receive(t, managerA, incoming(one, "a", tasker.Running), incoming(one, "b", tasker.Received),
			incoming(two, "a", tasker.Running), incoming(two, "b", tasker.Received))
		o := f.hold(t, taskSubject(one), tasker.Expiry{})
		if !slices.Equal(o.Running, []string{"a"}) || o.Waiting != 1 || o.TaskID != one.ID || len(o.Unaware) > 0 ||
			!slices.Equal(o.Endpoints, []string{"a", "b", "c"}) || o.Hold.By != "ann" || !o.Hold.At.Equal(f.Now()) || o.Hold.Until != nil {
			t.Errorf("the task: %+v", o)
		}
		if found := f.find(t, one); found.Hold == nil || found.Hold.Reason != "new disk" || found.Status != tasker.Sent {
			t.Errorf("%s, %+v", found.Status, found.Hold)
		}
		if !f.attempt(t, two, "b", 0) {
			t.Error("another task is held")
		}
		if s, err := f.Results.Summary(t.Context(), f.find(t, one), 10); err != nil || s.Held != 1 || s.Received != 2 {
			t.Errorf("%+v, %v", s, err)
		}
		stored := f.finish(t, finish(one, "a", 1, tasker.ResultDone))
		if !stored[0] {
			t.Error("what runs cannot end")
		}
		f.unhold(t, taskSubject(one), true)
		o = f.hold(t, tasker.HoldSubject{Endpoint: "b"}, tasker.Expiry{})
		if !slices.Equal(o.Running, []string{"worker/two"}) || o.Waiting != 1 {
			t.Errorf("the endpoint: %+v", o)
		}
		if s, err := f.Results.Summary(t.Context(), f.find(t, one), 10); err != nil || s.Held != 1 {
			t.Errorf("%+v, %v", s, err)
		}
		list, err := f.Endpoints.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 10})
		if err != nil || list[0].Drain != nil || list[1].Drain == nil || list[1].Drain.By != "ann" {
			t.Errorf("%+v, %v", list, err)
		}
		o = f.hold(t, tasker.HoldSubject{TaskType: "worker"}, tasker.Expiry{After: time.Hour})
		if !slices.Equal(o.Running, []string{"a", "b"}) || o.Waiting != 1 || !o.Hold.Until.Equal(f.Now().Add(time.Hour)) {
			t.Errorf("the type: %+v", o)
		}
		ofType, drains, err := f.Holds.HoldsOf(t.Context(), "worker", []string{"a", "b"})
		if err != nil || ofType == nil || len(drains) != 1 || drains["b"].Reason != "new disk" {
			t.Errorf("%+v, %+v, %v", ofType, drains, err)
		}
		if ofType, drains, err = f.Holds.HoldsOf(t.Context(), "other", nil); err != nil || ofType != nil || len(drains) != 1 {
			t.Errorf("%+v, %+v, %v", ofType, drains, err)
		}
		if held, err := f.Holds.HeldTypes(t.Context()); err != nil || len(held) != 1 || held["worker"].By != "ann" {
			t.Errorf("%+v, %v", held, err)
		}
	})
}

// A hold that exists is replaced; what has ended, or is unknown, is not held; an end
// that has passed is refused.
func TestHoldRefusals(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "one", "a")
		for _, subject := range subjects(task) {
			f.hold(t, subject, tasker.Expiry{After: time.Minute})
			f.hold(t, subject, tasker.Expiry{})
		}
		if n := f.rows(t, "holds"); n != 3 {
			t.Errorf("%d holds", n)
		}
		f.clock.advance(time.Hour)
		if ended, err := f.Holds.EndHolds(t.Context(), 10); err != nil || len(ended) > 0 {
			t.Errorf("ended %+v, %v", ended, err)
		}
		for name, test := range map[string]struct {
			request tasker.HoldRequest
			code    tasker.Code
		}{
			"past": {tasker.HoldRequest{HoldSubject: taskSubject(task), Until: tasker.Expiry{At: f.Now()}}, tasker.Invalid},
			"no task": {
				tasker.HoldRequest{HoldSubject: tasker.HoldSubject{TaskType: "worker", Identifier: "none"}}, tasker.NotFound,
			},
			"no endpoint": {tasker.HoldRequest{HoldSubject: tasker.HoldSubject{Endpoint: "none"}}, tasker.NotFound},
		} {
			if _, err := f.Holds.Hold(t.Context(), test.request); tasker.CodeOf(err) != test.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, subject := range []tasker.HoldSubject{{TaskType: "worker", Identifier: "none"}, {Endpoint: "none"}} {
			if _, _, err := f.Holds.Resume(t.Context(), subject); tasker.CodeOf(err) != tasker.NotFound {
				t.Errorf("resume %+v: %v", subject, err)
			}
		}
		f.cancel(t, task)
		_, err := f.Holds.Hold(t.Context(), tasker.HoldRequest{HoldSubject: taskSubject(task)})
		wantCode(t, err, tasker.Conflict)
		if !strings.Contains(err.Error(), string(tasker.Canceled)) {
			t.Errorf("the error does not say how it ended: %v", err)
		}
		if found := f.find(t, task); found.Hold != nil {
			t.Error("a task that has ended is paused")
		}
		if ended, err := f.Holds.EndHolds(t.Context(), 10); err != nil || len(ended) > 0 || f.rows(t, "holds") != 2 {
			t.Errorf("the hold of a task that has ended: %+v, %v, %d are left", ended, err, f.rows(t, "holds"))
		}
		running := f.send(t, "running", "a")
		f.unhold(t, tasker.HoldSubject{Endpoint: "a"}, true)
		f.unhold(t, tasker.HoldSubject{TaskType: "worker"}, true)
		f.receive(t, managerA, incoming(running, "a", tasker.Running))
		f.cancel(t, running)
		_, err = f.Holds.Hold(t.Context(), tasker.HoldRequest{HoldSubject: taskSubject(running)})
		wantCode(t, err, tasker.Conflict)
	})
}

// Holds whose time has passed are ended by whoever looks, once.
func TestEndHolds(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.later(t, "one", listing("a", "b"))
		for _, subject := range subjects(task) {
			f.hold(t, subject, tasker.Expiry{After: time.Minute})
		}
		f.clock.advance(time.Minute - time.Second)
		if ended, err := f.Holds.EndHolds(t.Context(), 10); err != nil || len(ended) > 0 {
			t.Fatalf("too early: %+v, %v", ended, err)
		}
		f.clock.advance(time.Second)
		ended, err := f.Holds.EndHolds(t.Context(), 10)
		if err != nil || len(ended) != 3 {
			t.Fatalf("ended %+v, %v", ended, err)
		}
		for _, one := range ended {
			switch {
			case one.Endpoint != "" && !slices.Equal(one.Endpoints, []string{"a"}),
				one.Identifier == "" && one.Endpoint == "" && !slices.Equal(one.Endpoints, []string{"a", "b"}),
				one.Identifier != "" && (one.TaskID != task.ID || one.Scheduled == nil):
				t.Errorf("%+v", one)
			}
		}
		if found := f.find(t, task); found.Hold != nil || f.rows(t, "holds") != 0 {
			t.Errorf("left: %+v, %d rows", found.Hold, f.rows(t, "holds"))
		}
		if ended, err := f.Holds.EndHolds(t.Context(), 10); err != nil || len(ended) > 0 {
			t.Errorf("again: %+v, %v", ended, err)
		}
	})
}

// A task that is SCHEDULED does not start while it is paused, and then at once if its
// time has passed; one whose endpoints are being chosen does not either.
func TestPauseScheduled(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		listed, chosen := f.later(t, "listed", listing("a")), f.later(t, "chosen", selecting)
		f.clock.advance(2 * time.Hour)
		f.hold(t, taskSubject(listed), tasker.Expiry{})
		started, choosing, names := f.startDue(t)
		if names != "chosen" || len(started) != 0 {
			t.Fatalf("started %s", names)
		}
		f.hold(t, taskSubject(chosen), tasker.Expiry{After: time.Minute})
		if _, begun, err := f.Schedule.StartChosen(t.Context(), choosing[0], []string{"a"}, 1); err != nil || begun {
			t.Errorf("a task that was paused while its endpoints were chosen: %v, %v", begun, err)
		}
		f.clock.advance(2 * lease)
		if _, ok, err := f.Schedule.NextStart(t.Context()); err != nil || !ok {
			t.Errorf("the end of the pause is not awaited: %v, %v", ok, err)
		}
		if ended := f.unhold(t, taskSubject(listed), true); ended.Scheduled == nil || !ended.Scheduled.Equal(listed.StartTime) {
			t.Errorf("%+v", ended)
		}
		if _, _, names := f.startDue(t); names != "listed chosen" && names != "chosen listed" {
			t.Errorf("then %q starts", names)
		}
	})
}

// A held task expires, and can be canceled; what waits is not lost with the hold.
func TestHeldTasksEnd(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		expiring, canceled := f.sentExpiring(t, "expiring", "a"), f.send(t, "canceled", "a")
		f.receive(t, managerA, incoming(expiring, "a", tasker.Received), incoming(canceled, "a", tasker.Received))
		f.hold(t, tasker.HoldSubject{TaskType: "worker"}, tasker.Expiry{})
		wantSets(t, f.cancel(t, canceled), "a///")
		f.clock.advance(24 * time.Hour)
		f.expire(t)
		if got := f.states(t, expiring)["a"]; got != tasker.Expired {
			t.Errorf("it is %s", got)
		}
	})
}

// A registration closes the gate, so that a hold of a type applies to an endpoint that
// is new; an endpoint that joins a task that is held starts nothing of it.
func TestHoldsOfNewcomers(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.send(t, "all")
		f.hold(t, tasker.HoldSubject{TaskType: "worker"}, tasker.Expiry{})
		f.acquire(t, managerA, "b")
		listed := f.send(t, "listed", "b")
		if rec := f.receive(t, managerA, incoming(listed, "b", tasker.Running)); rec[0].State != tasker.Received {
			t.Errorf("at a new endpoint: %+v", rec[0])
		}
		f.unhold(t, tasker.HoldSubject{TaskType: "worker"}, true)
		if !f.attempt(t, listed, "b", 0) || f.gate(t, "b") != 0 {
			t.Errorf("the gate is %d", f.gate(t, "b"))
		}
		f.hold(t, taskSubject(task), tasker.Expiry{})
		if f.gate(t, "b") != 0 {
			t.Error("a hold closes the gate of an endpoint that it does not concern")
		}
		if rec := f.receive(t, managerA, incoming(task, "b", tasker.Received)); rec[0].Outcome != ledger.Recorded {
			t.Errorf("an endpoint that joins: %+v", rec[0])
		}
		if f.attempt(t, task, "b", 0) {
			t.Error("an endpoint that has joined starts the task")
		}
		f.unhold(t, taskSubject(task), true)
		if !f.attempt(t, task, "b", 0) {
			t.Error("it does not start it afterwards")
		}
	})
}

func (f fixture) gate(t *testing.T, endpoint string) (gate int) {
	t.Helper()
	return f.count(t, "endpoints WHERE gate <> 0 AND name = '"+endpoint+"'")
}

// A manager of an earlier release that reaches the database by itself does not look for
// holds, and the answer says so.
func TestUnawareManagers(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		oldRelease(t, f, "b", managerB)
		for _, subject := range []tasker.HoldSubject{{TaskType: "worker"}, {Endpoint: "b"}} {
			if o := f.hold(t, subject, tasker.Expiry{}); !slices.Equal(o.Unaware, []string{"b"}) {
				t.Errorf("%+v: %+v", subject, o.Unaware)
			}
		}
	})
}
