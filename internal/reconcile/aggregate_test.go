package reconcile

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

func (w *world) aggregate() *aggregate { return newAggregate(w, wait, w.log) }

func (w *world) notify(tasks ...tasker.Task) {
	w.t.Helper()
	ids := make([]int64, len(tasks))
	for i, task := range tasks {
		ids[i] = task.ID
	}
	body, err := wire.EncodeResultsEnded(ids)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.broker.Notify(w.t.Context(), wire.KeyResultsEnded, body); err != nil {
		w.t.Fatal(err)
	}
}

// start runs functions until the test ends, and then waits for them.
func (w *world) start(things ...func(context.Context)) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var group sync.WaitGroup
	for _, thing := range things {
		group.Go(func() { thing(ctx) })
	}
	w.t.Cleanup(func() { cancel(); group.Wait() })
}

// TestHint: an event stores the status of a complete task without the sweep,
// but not of an incomplete one.
func TestHint(t *testing.T) {
	w := newWorld(t)
	w.register("console1", "console2")
	done := w.send("done", "console1", "console2")
	failed := w.send("failed", "console1", "console2")
	half := w.send("half", "console1", "console2")
	for _, task := range []tasker.Task{done, failed, half} {
		w.receive(task, "console1", "console2")
	}
	w.finish(done, tasker.ResultDone, "console1", "console2")
	w.finish(failed, tasker.ResultDone, "console1")
	w.finish(failed, tasker.ResultFailed, "console2")
	w.finish(half, tasker.ResultDone, "console1")

	a := w.aggregate()
	w.start(a.hints, func(ctx context.Context) { a.listen(ctx, w.broker) })
	w.until("the hinted tasks to be stored", func() bool {
		w.notify(half, done, failed) // an event before the listener is there is lost
		return w.stored(done).Status == tasker.Done && w.stored(failed).Status == tasker.Failed
	})
	w.expect(tasker.Sent, half)
}

// TestSweep stores the status of a task whose event was lost, also of an
// INCOMPLETE one, and leaves the others.
func TestSweep(t *testing.T) {
	w := newWorld(t)
	w.register("console1", "console2")
	done := w.send("done", "console1")
	late := w.send("late", "console1", "console2")
	half := w.send("half", "console1", "console2")
	w.receive(done, "console1")
	w.receive(late, "console1")
	w.receive(half, "console1", "console2")
	w.finish(done, tasker.ResultDone, "console1")
	w.finish(half, tasker.ResultDone, "console1")
	w.clock.advance(wait)
	w.run(w.incomplete().runOnce)
	w.expect(tasker.Incomplete, late)
	a := w.aggregate()
	w.run(a.runOnce)
	w.expect(tasker.Done, done)
	w.expect(tasker.Incomplete, late)
	w.expect(tasker.Sent, half)

	w.receive(late, "console2")
	w.finish(late, tasker.ResultDone, "console1", "console2")
	w.run(a.runOnce)
	w.expect(tasker.Done, late)
}

// TestSweepGoesRound: each step looks at one page of the open tasks, the last
// one starts over.
func TestSweepGoesRound(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	tasks := w.createMany(sweepPage+2, "console1")
	for i := range tasks {
		tasks[i] = w.sent(tasks[i])
	}
	first, last := tasks[0], tasks[len(tasks)-1]
	complete := func(task tasker.Task) {
		w.receive(task, "console1")
		w.finish(task, tasker.ResultDone, "console1")
	}
	complete(last)
	a := w.aggregate()
	w.run(a.runOnce)
	w.expect(tasker.Sent, last) // on the second page
	complete(first)
	w.run(a.runOnce)
	w.expect(tasker.Done, last)
	w.expect(tasker.Sent, first)
	w.run(a.runOnce)
	w.expect(tasker.Done, first)
}

// events is a broker whose listeners immediately get the test's events.
type events struct {
	Broker
	bodies []string
}

func (e events) Listen(_ context.Context, _ string, handle func(key string, body []byte)) error {
	for _, body := range e.bodies {
		handle(wire.KeyResultsEnded, []byte(body))
	}
	return nil
}

// TestRubbishEvents are ignored, but not those after them.
func TestRubbishEvents(t *testing.T) {
	w := newWorld(t)
	a := w.aggregate()
	a.listen(t.Context(), events{bodies: []string{
		"rubbish", `{"v":2,"task_ids":[1]}`, `{"v":1,"task_ids":["2"]}`, `{"v":1,"task_ids":[3,4]}`, "", `{"v":1,"task_ids":[4]}`,
	}})
	if hinted := slices.Sorted(maps.Keys(a.hinted)); !slices.Equal(hinted, []int64{3, 4}) {
		t.Errorf("hinted are %v, want 3 and 4", hinted)
	}
}

// TestHintsWithoutDatabase are dropped: the sweep finds the tasks.
func TestHintsWithoutDatabase(t *testing.T) {
	w := newWorld(t)
	w.register("console1")
	task := w.send("one", "console1")
	w.receive(task, "console1")
	w.finish(task, tasker.ResultDone, "console1")
	a := w.aggregate()
	w.fail("Aggregate", true)
	w.start(a.hints)
	a.hint([]int64{task.ID})
	w.until("the hint to be looked at", func() bool { return w.called("Aggregate") > 0 })
	w.fail("Aggregate", false)
	w.expect(tasker.Sent, task)
	w.run(a.runOnce)
	w.expect(tasker.Done, task)
}

// TestHintsEnd with their context, also during the pause.
func TestHintsEnd(t *testing.T) {
	w := newWorld(t)
	a := w.aggregate()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { a.hints(ctx); close(done) }()
	a.hint([]int64{1})
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatal("it goes on")
	}
}

// busy is a store of one open task, with a result more for each look.
type busy struct {
	Statuses
	results int
	looks   chan int // the results at each look
}

func (b *busy) LookAtTasks(context.Context, []int64, time.Duration) ([]ledger.Look, error) {
	b.looks <- b.results
	return []ledger.Look{{ID: 1, Results: b.results}}, nil
}

// The more results a task has, the longer the pause until it is looked at again,
// however many events there are; a small one is looked at each time.
func TestLooksArePaced(t *testing.T) {
	for results, paced := range map[int]bool{0: false, 150: false, 5000: true, 1_000_000: true} {
		store := &busy{results: results, looks: make(chan int, 10)}
		a := newAggregate(store, wait, slog.New(slog.DiscardHandler))
		for range 2 {
			a.hint([]int64{1})
			ids, next := a.takeHinted()
			if err := a.settle(t.Context(), ids); err != nil {
				t.Fatal(err)
			}
			if next > longestPause {
				t.Errorf("the next look at %d results is due in %v", results, next)
			}
		}
		if n := len(store.looks); paced != (n == 1) {
			t.Errorf("two events for a task of %d results led to %d looks", results, n)
		}
		if due, next := a.due([]int64{1}, sweepPauses); paced && (len(due) > 0 || next > sweepPauses*longestPause) {
			t.Errorf("the sweep looks at %d results in %v", results, next)
		}
	}
}

// The look that a task waits for happens without another event.
func TestPacedLookIsMadeUpFor(t *testing.T) {
	store := &busy{results: 1000, looks: make(chan int, 10)}
	a := newAggregate(store, wait, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { a.hints(ctx) })
	defer group.Wait()
	defer cancel()
	for range 2 {
		a.hint([]int64{1})
		<-store.looks
	}
	a.hint([]int64{1})
	<-store.looks
}
