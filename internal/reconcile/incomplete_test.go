package reconcile

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

func (w *world) incomplete() *incomplete { return &incomplete{statuses: w, wait: wait} }

// TestIncomplete: at the timeout and not before, and only for tasks that lack
// an endpoint.
func TestIncomplete(t *testing.T) {
	w := newWorld(t)
	w.register("console1", "console2")
	partly := w.send("partly", "console1", "console2")
	received := w.send("received", "console1", "console2")
	nobody := w.send("nobody", "elsewhere")
	unsent := w.create("unsent", "console1")
	w.receive(partly, "console1")
	w.receive(received, "console1", "console2")
	i := w.incomplete()

	w.clock.advance(wait - time.Microsecond)
	w.run(i.runOnce)
	w.expect(tasker.Sent, partly, received, nobody)

	w.clock.advance(time.Microsecond)
	w.run(i.runOnce)
	w.expect(tasker.Incomplete, partly, nobody)
	w.expect(tasker.Sent, received)
	w.expect(tasker.Created, unsent)
	if missing := w.summary(partly).Missing; !slices.Equal(missing, []string{"console2"}) {
		t.Errorf("missing are %v", missing)
	}
}

// TestIncompleteForNobody: a task for all endpoints, but none is registered.
func TestIncompleteForNobody(t *testing.T) {
	w := newWorld(t)
	task := w.send("all")
	w.clock.advance(wait)
	w.run(w.incomplete().runOnce)
	w.expect(tasker.Incomplete, task)
}

// TestIncompleteLooksOnce at each task, in pages, and continues with newer
// ones.
func TestIncompleteLooksOnce(t *testing.T) {
	w := newWorld(t)
	var tasks []tasker.Task
	for _, task := range w.createMany(pageSize+1, "elsewhere") {
		tasks = append(tasks, w.sent(task))
	}
	w.clock.advance(wait)
	i := w.incomplete()
	w.run(i.runOnce)
	w.expect(tasker.Incomplete, tasks...)
	pages := w.called("Aggregate")
	w.run(i.runOnce)
	if again := w.called("Aggregate"); again != pages || pages != 2 {
		t.Errorf("%d pages at first, %d after another look, want 2 and 2", pages, again)
	}
	later := w.send("later", "elsewhere")
	w.clock.advance(wait)
	w.run(i.runOnce)
	w.expect(tasker.Incomplete, later)
}

// TestIncompleteAfterRestart: what became due while no process was running is
// found by the next one, and received tasks stay as they are.
func TestIncompleteAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	received := w.send("received", "console1")
	w.receive(received, "console1")
	w.clock.advance(time.Second)
	missed := w.send("missed", "console1")
	w.clock.advance(24 * time.Hour)
	w.run(w.incomplete().runOnce)
	w.expect(tasker.Incomplete, missed)
	w.expect(tasker.Sent, received)
}

// TestIncompleteWithoutDatabase skips nothing.
func TestIncompleteWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	task := w.send("one", "elsewhere")
	w.clock.advance(wait)
	i := w.incomplete()
	w.fail("Aggregate", true)
	if err := i.runOnce(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("got %v", err)
	}
	w.expect(tasker.Sent, task)
	w.fail("Aggregate", false)
	w.run(i.runOnce)
	w.expect(tasker.Incomplete, task)
}
