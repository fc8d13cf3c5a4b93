package reconcile

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

const lostAfter = 30 * time.Second

func (w *world) lost() *lost {
	return &lost{store: w, statuses: w, after: lostAfter, wait: wait, log: w.log}
}

// pass lets time pass for a process that runs all the time except at the end.
func (w *world) pass(l *lost, d time.Duration) {
	w.t.Helper()
	for ; d > maxDeaf; d -= maxDeaf {
		w.clock.advance(maxDeaf)
		w.run(l.runOnce)
	}
	w.clock.advance(d)
}

func (w *world) heartbeat(endpoints ...string) {
	w.t.Helper()
	held, err := w.Heartbeat(w.t.Context(), manager, endpoints, time.Second)
	if err != nil || !held {
		w.t.Fatalf("heartbeat: held %v, %v", held, err)
	}
}

// state returns the state of a task's result at an endpoint.
func (w *world) state(task tasker.Task, endpoint string) tasker.ResultState {
	w.t.Helper()
	for _, r := range w.results(task) {
		if r.Endpoint == endpoint {
			return r.State
		}
	}
	return ""
}

// TestLost marks the unfinished results of a silent endpoint as lost, with the
// task's status, and restores them when it is back.
func TestLost(t *testing.T) {
	w := newWorld(t)
	w.register("console1", "console2")
	task := w.send("one", "console1", "console2")
	finished := w.send("finished", "console1")
	w.receive(task, "console1", "console2")
	w.receive(finished, "console1")
	w.finish(finished, tasker.ResultDone, "console1")
	l := w.lost()
	w.run(l.runOnce)

	w.pass(l, lostAfter)
	w.heartbeat("console2")
	w.run(l.runOnce)
	w.expect(tasker.Sent, task) // silent for the time, and not for longer

	w.clock.advance(time.Microsecond)
	w.run(l.runOnce)
	w.expect(tasker.Incomplete, task)
	if a, b := w.state(task, "console1"), w.state(task, "console2"); a != tasker.Lost || b != tasker.Running {
		t.Errorf("the results are %s and %s", a, b)
	}
	if state := w.state(finished, "console1"); state != tasker.ResultDone {
		t.Errorf("a result that had ended is %s", state)
	}
	r := w.results(task)[0]
	if r.Errnr != tasker.ErrnrLost || !strings.Contains(r.Errmsg, "console1 was last seen at 2026-05-06T01:14:24Z") {
		t.Errorf("the lost result says %d, %s", r.Errnr, r.Errmsg)
	}

	w.heartbeat("console1")
	if n, err := w.ReturnFromLost(t.Context(), []string{"console1"}); err != nil || n != 1 {
		t.Fatalf("%d are back, %v", n, err)
	}
	if r := w.results(task)[0]; r.State != tasker.Running || r.Errnr != 0 || r.Errmsg != "" {
		t.Errorf("the result is back as %+v", r)
	}
	w.finish(task, tasker.ResultDone, "console1", "console2")
	w.run(newAggregate(w, wait, w.log).runOnce)
	w.expect(tasker.Done, task)
}

// TestLateFinish: the end of a lost result counts without its endpoint's
// return.
func TestLateFinish(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	l := w.lost()
	w.run(l.runOnce)
	w.pass(l, lostAfter)
	w.run(l.runOnce)
	w.clock.advance(time.Second)
	w.run(l.runOnce)
	w.expect(tasker.Incomplete, task)
	w.finish(task, tasker.ResultFailed, "console1")
	w.run(newAggregate(w, wait, w.log).runOnce)
	w.expect(tasker.Failed, task)
}

// TestSilenceBeforeTheStart does not count: this process could not hear the
// endpoints.
func TestSilenceBeforeTheStart(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	w.clock.advance(24 * time.Hour) // nobody looked
	l := w.lost()
	w.run(l.runOnce)
	w.expect(tasker.Sent, task)
	w.pass(l, lostAfter-time.Microsecond)
	w.run(l.runOnce)
	w.expect(tasker.Sent, task)
	w.clock.advance(time.Microsecond)
	w.run(l.runOnce)
	w.expect(tasker.Incomplete, task)
}

// TestSilenceDuringAnOutage of the database does not count either, since no
// heartbeat could be stored: the time starts over.
func TestSilenceDuringAnOutage(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	l := w.lost()
	w.run(l.runOnce)

	w.fail("MarkLost", true)
	for range 3 {
		w.clock.advance(lostAfter)
		if err := l.runOnce(t.Context()); !errors.Is(err, errAway) {
			t.Fatalf("got %v", err)
		}
	}
	w.fail("MarkLost", false)
	w.run(l.runOnce)
	w.pass(l, lostAfter-time.Microsecond)
	w.run(l.runOnce)
	w.expect(tasker.Sent, task)
	w.clock.advance(time.Microsecond)
	w.run(l.runOnce)
	w.expect(tasker.Incomplete, task)
}

// TestLostWithoutDatabase: the results are lost but the task's status could not
// be stored, as if the process had died in between; the sweep stores it.
func TestLostWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	l := w.lost()
	w.run(l.runOnce)
	w.pass(l, lostAfter)
	w.run(l.runOnce)
	w.clock.advance(time.Second)
	w.fail("Aggregate", true)
	if err := l.runOnce(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("got %v", err)
	}
	w.expect(tasker.Sent, task)
	w.fail("Aggregate", false)
	w.run(l.runOnce)
	w.expect(tasker.Sent, task) // nothing is lost anew
	w.run(w.aggregate().runOnce)
	w.expect(tasker.Incomplete, task)
}

// TestSilenceWhileStopped does not count: after this process was stopped for so
// long, it cannot know who else was, or whether the database answered.
func TestSilenceWhileStopped(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	l := w.lost()
	w.run(l.runOnce)
	w.pass(l, lostAfter)
	w.run(l.runOnce)
	w.heartbeat("console1")
	w.clock.advance(lostAfter + time.Microsecond)
	w.run(l.runOnce)
	w.expect(tasker.Sent, task)
}
