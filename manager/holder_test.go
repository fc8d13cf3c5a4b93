package manager_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/hold"
)

// holder returns the production wiring of holds.
func (w *world) holder() *hold.Holder {
	return hold.New(w.store, w.broker, func(time.Time) {}, w.log)
}

func (w *world) hold(subject tasker.HoldSubject, until tasker.Expiry) tasker.HoldOutcome {
	w.t.Helper()
	outcome, err := w.holder().Hold(w.t.Context(), tasker.HoldRequest{HoldSubject: subject, By: "ann", Until: until})
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome
}

func (w *world) unhold(subject tasker.HoldSubject) {
	w.t.Helper()
	if resumed, err := w.holder().Resume(w.t.Context(), subject); err != nil || !resumed {
		w.t.Fatalf("resumed: %v, %v", resumed, err)
	}
}

// wantUnstarted wants that a task has been received, and no attempt of it has begun.
func (w *world) wantUnstarted(task tasker.Task) {
	w.t.Helper()
	if r := w.await(task, tasker.Received); r.Attempt != 0 {
		w.t.Errorf("%s has begun: %+v", task.Identifier, r)
	}
}

func subjectsOf(task tasker.Task) map[string]tasker.HoldSubject {
	return map[string]tasker.HoldSubject{
		"task": {TaskType: task.Type, Identifier: task.Identifier}, "type": {TaskType: task.Type}, "endpoint": {Endpoint: "a"},
	}
}

// What runs goes on, what waits and what arrives does not start, and all of it runs when
// the hold is ended.
func TestHeldTasksWait(t *testing.T) {
	for _, kind := range []string{"task", "type", "endpoint"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			g := newGated()
			w.serve(w.store, g, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
			running := w.post("running", "null", "a")
			g.until(w, 1)
			waits := w.post("waits", "null", "a")
			w.await(waits, tasker.Received)
			o := w.hold(subjectsOf(waits)[kind], tasker.Expiry{})
			if kind != "task" && len(o.Running) != 1 || o.Waiting != 1 {
				t.Errorf("%+v", o)
			}
			g.gate <- struct{}{}
			w.await(running, tasker.ResultDone)
			next := w.post("next", "null", "a")
			if kind == "task" { // it does not hold up others
				g.until(w, 2)
				g.gate <- struct{}{}
				w.await(next, tasker.ResultDone)
			} else {
				w.wantUnstarted(next)
			}
			w.wantUnstarted(waits)
			started := g.started.Load()
			w.unhold(subjectsOf(waits)[kind])
			close(g.gate)
			w.await(waits, tasker.ResultDone)
			w.await(next, tasker.ResultDone)
			if begun := g.started.Load(); begun != 3 || kind == "task" && started != 2 || kind != "task" && started != 1 {
				t.Errorf("%d had begun before it was resumed, %d in all", started, begun)
			}
		})
	}
}

// Without hints a manager starts nothing that is held, and finds the end of the hold
// after a heartbeat; a hold that has an end needs nobody to end it.
func TestHoldsWithoutHint(t *testing.T) {
	for _, kind := range []string{"task", "type", "endpoint"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			g := newGated()
			close(g.gate)
			if err := w.serve(w.store, g).stop(); err != nil { // declares the queue
				t.Fatal(err)
			}
			f := newFaulty(w.store, false, map[string]int{})
			done := w.start(f, mute{w.broker}, g)
			first, second := w.create("first", "null", "a"), w.create("second", "null", "a")
			subject := subjectsOf(first)[kind]
			w.hold(subject, tasker.Expiry{})
			w.send(first)
			w.wantUnstarted(first)
			w.unhold(subject)
			w.await(first, tasker.ResultDone)
			w.hold(subjectsOf(second)[kind], tasker.Expiry{After: time.Second})
			w.send(second)
			w.await(second, tasker.ResultDone)
			f.crash(t, done)
		})
	}
}

// A hold lasts over restarts of the manager, also for an attempt that is to be retried.
func TestHoldsOutliveTheManager(t *testing.T) {
	w := newWorld(t)
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} })
	g := newGated()
	if err := w.serve(w.store, g, retry).stop(); err != nil {
		t.Fatal(err)
	}
	f := newFaulty(w.store, false, map[string]int{})
	done := w.start(f, w.broker, g, retry)
	task := w.post("one", "null", "a")
	g.until(w, 1)
	w.hold(tasker.HoldSubject{Endpoint: "a"}, tasker.Expiry{})
	f.crash(t, done)
	s := w.serve(w.store, g, retry)
	w.await(task, tasker.Retrying)
	waits := w.post("two", "null", "a")
	w.wantUnstarted(waits)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.Retrying || g.started.Load() != 1 {
		t.Errorf("%s, %d attempts", r.State, g.started.Load())
	}
	w.serve(w.store, g, retry)
	w.unhold(tasker.HoldSubject{Endpoint: "a"})
	close(g.gate)
	if r := w.await(task, tasker.ResultDone); r.Attempt != 2 {
		t.Errorf("%+v", r)
	}
	w.await(waits, tasker.ResultDone)
}

// blocking is a handler that knows which tasks it has begun, and holds each up until the
// gate of that time is closed.
type blocking struct {
	mu    sync.Mutex
	gate  chan struct{}
	begun map[string]bool
}

func (b *blocking) Handle(_ context.Context, r *handlers.Request) (handlers.Result, error) {
	b.mu.Lock()
	b.begun[r.Type+"/"+r.Identifier] = true
	gate := b.gate
	b.mu.Unlock()
	<-gate
	return nil, nil
}

func (b *blocking) reset() (gate chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gate, b.begun = make(chan struct{}), map[string]bool{}
	return b.gate
}

func (b *blocking) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.begun))
}

// TestDrainRace: drains while tasks arrive. Every task that begins before it is resumed
// is among those of the answer.
func TestDrainRace(t *testing.T) {
	w := newWorld(t)
	b := &blocking{}
	w.serve(w.store, b)
	drain := tasker.HoldSubject{Endpoint: "a"}
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		gate := b.reset()
		var tasks []tasker.Task
		for i := range 6 {
			tasks = append(tasks, w.create(fmt.Sprint(round, "-", i), "null", "a"))
		}
		var sending sync.WaitGroup
		sending.Go(func() {
			for _, task := range tasks {
				w.send(task)
			}
		})
		if round%2 == 0 {
			w.until(func() string {
				if len(b.list()) == 0 {
					return "a task to begin"
				}
				return ""
			})
		}
		o := w.hold(drain, tasker.Expiry{})
		sending.Wait()
		close(gate)
		for _, task := range tasks {
			w.until(func() string {
				if r, found := w.result(task, "a"); !found || r.State == tasker.Running {
					return fmt.Sprintf("task %s to wait, or to have ended: it is %+v", task.Identifier, r)
				}
				return ""
			})
		}
		for _, name := range b.list() {
			if !slices.Contains(o.Running, name) {
				t.Fatalf("round %d: %s has begun, and the answer has %v", round, name, o.Running)
			}
		}
		w.unhold(drain)
		for _, task := range tasks {
			w.await(task, tasker.ResultDone)
		}
	}
}
