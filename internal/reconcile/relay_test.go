package reconcile

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/wire"
)

// grace is longer than a new task is left to its API process.
const grace = time.Minute

func (w *world) relay() *relay {
	return &relay{store: w, broker: w.broker, dispatcher: w.dispatcher(), log: w.log}
}

// TestRelay sends unsent tasks when the broker is back, over two pages.
func TestRelay(t *testing.T) {
	w := newWorld(t)
	tasks := w.createMany(relayPage + 1)
	w.clock.advance(grace)
	w.broker.setAway(true)
	r := w.relay()
	w.run(r.runOnce)
	if n := w.called("ClaimUnsent"); n != 0 {
		t.Errorf("tasks were claimed %d times while the broker was away", n)
	}
	w.expect(tasker.Created, tasks...)

	w.broker.setAway(false)
	w.run(r.runOnce)
	w.expect(tasker.Sent, tasks...)
	for _, task := range tasks {
		if n := w.broker.published[wire.MessageID(task.ID)]; n != 1 {
			t.Errorf("task %s was published %d times", task.Identifier, n)
		}
	}
}

// TestRelayLeavesNewTasks to the API processes that accepted them.
func TestRelayLeavesNewTasks(t *testing.T) {
	w := newWorld(t)
	task := w.create("new")
	w.run(w.relay().runOnce)
	w.expect(tasker.Created, task)
	w.clock.advance(grace)
	w.run(w.relay().runOnce)
	w.expect(tasker.Sent, task)
}

// TestTwoRelays share the work: none is published twice.
func TestTwoRelays(t *testing.T) {
	w := newWorld(t)
	tasks := w.createMany(pageSize + 50)
	w.clock.advance(grace)
	var group errgroup.Group
	for range 2 {
		r := w.relay()
		group.Go(func() error { return r.runOnce(t.Context()) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	w.expect(tasker.Sent, tasks...)
	if len(w.broker.published) != len(tasks) {
		t.Errorf("%d tasks were published, want %d", len(w.broker.published), len(tasks))
	}
	for id, n := range w.broker.published {
		if n != 1 {
			t.Errorf("%s was published %d times", id, n)
		}
	}
}

// TestRelayAgain retries a refused task after a pause, and sends the others
// meanwhile.
func TestRelayAgain(t *testing.T) {
	w := newWorld(t)
	tasks := w.createMany(3)
	w.clock.advance(grace)
	w.broker.refuse[wire.MessageID(tasks[1].ID)] = true
	r := w.relay()
	w.run(r.runOnce)
	w.expect(tasker.Sent, tasks[0], tasks[2])
	w.expect(tasker.Created, tasks[1])
	w.clock.advance(time.Hour)
	w.run(r.runOnce)
	w.expect(tasker.Sent, tasks...)
}

// TestRelayDoesNotStarve sends a good task at once, however many others before
// it are refused or never confirmed. These are retried less and less often, and
// those that may still be confirmed are not published again.
func TestRelayDoesNotStarve(t *testing.T) {
	for name, hangs := range map[string]bool{"refused": false, "never confirmed": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			bad := w.createMany(3 * relayPage)
			good := w.create("good")
			w.clock.advance(grace)
			for _, task := range bad {
				if hangs {
					w.broker.hanging[wire.MessageID(task.ID)] = true
				} else {
					w.broker.bad[wire.MessageID(task.ID)] = true
				}
			}
			r := w.relay()
			if hangs {
				r.dispatcher = w.dispatcherThatWaits(200 * time.Millisecond)
			}
			w.until("the good one is sent", func() bool {
				w.run(r.runOnce)
				return w.stored(good).Status == tasker.Sent
			})
			w.expect(tasker.Created, bad...)
			const minutes = 30
			for range minutes {
				w.clock.advance(time.Minute)
				// The claims of hanging attempts, which are renewed by the wall
				// clock, have ended: the attempts continue all the same.
				w.run(r.runOnce)
			}
			most := 0
			for _, task := range bad {
				most = max(most, w.broker.count(wire.MessageID(task.ID)))
			}
			want := 1
			if !hangs {
				want = minutes / 2
			}
			if most > want {
				t.Errorf("a task was published %d times in %d minutes", most, minutes)
			}
		})
	}
}

// count returns how often a message was published.
func (f *flakyBroker) count(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.published[id]
}

// TestRelayDies between the publish and its mark, or before both: the next
// relay takes the tasks when the claim has ended, and not before.
func TestRelayDies(t *testing.T) {
	w := newWorld(t)
	task := w.create("one")
	w.clock.advance(grace)
	r := w.relay()
	w.fail("MarkSent", true)
	w.fail("ReleaseTask", true)
	w.run(r.runOnce)
	w.fail("MarkSent", false)
	w.clock.advance(dispatch.Lease - time.Microsecond)
	w.run(w.relay().runOnce)
	w.expect(tasker.Created, task)
	w.clock.advance(time.Microsecond)
	w.run(w.relay().runOnce)
	w.expect(tasker.Sent, task)
	if n := w.broker.published[wire.MessageID(task.ID)]; n != 2 {
		t.Errorf("it was published %d times, want 2", n)
	}
}

// TestRelayWithoutDatabase returns the error.
func TestRelayWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	w.fail("ClaimUnsent", true)
	if err := w.relay().runOnce(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("got %v", err)
	}
}
