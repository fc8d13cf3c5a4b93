package reconcile

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker"
)

// A task that no endpoint serves does not stay INCOMPLETE for ever.
func TestIncompleteIsDeleted(t *testing.T) {
	const keep = 90 * 24 * hour
	w := newWorld(t)
	task := func(identifier string, endpoints ...string) tasker.Task {
		t.Helper()
		task, _, err := w.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: identifier, Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		return w.sent(task)
	}
	w.register("console1")
	nobody := task("nobody", "gone")
	half := task("half", "console1", "gone")
	inHand := task("in-hand", "console1", "gone")
	w.receive(half, "console1")
	w.receive(inHand, "console1")
	w.clock.advance(2 * wait)
	if _, err := w.Statuses.Aggregate(t.Context(), []int64{nobody.ID, half.ID, inHand.ID}, wait); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(hour)
	w.finish(half, tasker.ResultDone, "console1") // an hour later

	run := func(retention map[string]time.Duration, incomplete time.Duration) {
		t.Helper()
		p := newPurge(w, w, Config{Retention: retention, IncompleteRetention: incomplete}, w.log)
		p.pause = 0
		if err := p.runOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, nobodyIs, halfIs bool) {
		t.Helper()
		if w.exists(nobody) != nobodyIs || w.exists(half) != halfIs || !w.exists(inHand) {
			t.Errorf("%s: there is nobody's %t, half %t, in hand %t", when, w.exists(nobody), w.exists(half), w.exists(inHand))
		}
	}
	w.clock.advance(keep - hour/2)
	run(nil, 0)
	want("with no retention", true, true)
	run(map[string]time.Duration{"worker": 0}, keep)
	want("where the type is kept for ever", true, true)
	run(map[string]time.Duration{"worker": 2 * keep}, keep)
	want("where the type is kept for longer", true, true)
	run(nil, keep)
	want("half an hour before the other one's time", false, true)
	w.clock.advance(hour)
	run(nil, keep)
	want("in the end", false, false)
}

// The retention of dead letters counts from when they were stored, whatever
// time they carry.
func TestDeadLettersAreDeleted(t *testing.T) {
	const keep = 90 * 24 * hour
	w := newWorld(t)
	store := func(key string, when time.Time) {
		t.Helper()
		if _, err := w.StoreDeadLetter(t.Context(), tasker.DeadLetter{Key: key, Body: []byte(key), Time: when}); err != nil {
			t.Fatal(err)
		}
	}
	letters := func(retention time.Duration) (bodies string) {
		t.Helper()
		p := newPurge(w, w, Config{DeadLetterRetention: retention}, w.log)
		p.pause = 0
		if err := p.runOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := w.ListDeadLetters(t.Context(), tasker.DeadLetterQuery{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			bodies = string(l.Body) + bodies
		}
		return bodies
	}
	store("a", w.Now())
	store("b", w.Now().Add(-10*keep)) // it says
	w.clock.advance(keep - hour)
	store("c", w.Now())
	if got := letters(keep); got != "abc" {
		t.Errorf("before their time there are %q", got)
	}
	w.clock.advance(2 * hour)
	if got := letters(0); got != "abc" {
		t.Errorf("kept for ever there are %q", got)
	}
	if got := letters(keep); got != "c" {
		t.Errorf("after their time there are %q, want c", got)
	}
}
