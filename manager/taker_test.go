package manager_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/manager"
)

// anyWorld is a world whose managers take places.
func anyWorld(t *testing.T) *world {
	w := newWorld(t)
	w.places = w.store
	return w
}

// postAny stores and publishes a task for so many endpoints of their own choice.
func (w *world) postAny(identifier string, places tasker.Places, priority int, candidates ...string) tasker.Task {
	w.t.Helper()
	task, _, err := w.store.CreateTask(w.t.Context(), tasker.Task{
		Type: "job", Identifier: identifier, Payload: []byte("{}"), Endpoints: candidates, Deliver: places,
		Priority: priority, AskedPriority: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(task)
}

// at serves an endpoint with so many slots.
func at(endpoint string, slots int) option {
	return func(c *manager.Config) {
		c.Endpoints, c.TaskTypes[0].Concurrency = []string{endpoint}, slots
	}
}

// ran returns the endpoints that have begun a task, sorted.
func (w *world) ran(task tasker.Task) (endpoints []string) {
	w.t.Helper()
	results, err := w.store.TaskResults(w.t.Context(), task.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range results {
		if r.Attempt > 0 {
			endpoints = append(endpoints, r.Endpoint)
		}
	}
	slices.Sort(endpoints)
	return endpoints
}

// Tasks for any endpoint go where slots are free, and each runs once.
func TestTakesWhereSlotsAreFree(t *testing.T) {
	w := anyWorld(t)
	running := map[string]*gated{}
	for _, name := range []string{"a", "b", "c"} {
		running[name] = newGated()
		w.serve(w.store, running[name], at(name, 2))
	}
	var tasks []tasker.Task
	for i := range 20 {
		tasks = append(tasks, w.postAny(fmt.Sprint("t", i), 1, 0))
	}
	for name, h := range running {
		w.until(func() string {
			if n := h.now.Load(); n != 2 {
				return fmt.Sprintf("two runs at %s, there are %d", name, n)
			}
			return ""
		})
	}
	untaken := 0
	for _, task := range tasks {
		if len(w.ran(task)) == 0 {
			untaken++
		}
	}
	if untaken != 14 { // nothing was taken for a slot that was not free
		t.Errorf("%d tasks wait for an endpoint, want 14", untaken)
	}
	for _, h := range running {
		close(h.gate)
	}
	for _, task := range tasks {
		w.until(func() string {
			if n := len(w.ran(task)); n != 1 {
				return fmt.Sprintf("%s to run at one endpoint, not at %d", task.Identifier, n)
			}
			return ""
		})
	}
	w.until(func() string { // a row says that it runs before its handler is called
		total := int64(0)
		for _, h := range running {
			total += h.started.Load()
		}
		if total != 20 {
			return fmt.Sprintf("20 runs of 20 tasks, there are %d", total)
		}
		return ""
	})
}

// A task with three places runs at three endpoints, of those that may take it.
func TestTakesSeveralPlaces(t *testing.T) {
	w := anyWorld(t)
	h := &counting{}
	for _, name := range []string{"a", "b", "c"} {
		w.serve(w.store, h, at(name, 2), func(c *manager.Config) { c.CatchUp = 1e9 })
	}
	two := w.postAny("two", 2, 0, "a", "c")
	three := w.postAny("three", 3, 0)
	for task, want := range map[string][]string{"two": {"a", "c"}, "three": {"a", "b", "c"}} {
		w.until(func() string {
			id := two
			if task == "three" {
				id = three
			}
			if got := w.ran(id); !slices.Equal(got, want) {
				return fmt.Sprintf("%s to run at %v, it ran at %v", task, want, got)
			}
			return ""
		})
	}
	w.until(func() string {
		if n := h.of("two"); n != 2 {
			return fmt.Sprintf("two runs of a task with two places, there are %d", n)
		}
		return ""
	})
}

// What waits for an endpoint is taken in the order of its priority, and not before a slot is
// free.
func TestTakesInOrder(t *testing.T) {
	w := anyWorld(t)
	gate := make(chan struct{})
	h := &counting{}
	w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "first" {
			<-gate
		}
		return h.Handle(ctx, req)
	}), at("a", 1))
	w.await(w.postAny("first", 1, 0), tasker.Running)
	var last tasker.Task
	for i := range 5 {
		last = w.postAny(fmt.Sprint("p", i), 1, i)
	}
	if ran := w.ran(last); ran != nil {
		t.Errorf("taken by %v, which has no free slot", ran)
	}
	close(gate)
	w.until(func() string {
		if n := h.of("p0"); n == 0 {
			return "the last task to run"
		}
		return ""
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if want := []string{"first", "p4", "p3", "p2", "p1", "p0"}; !slices.Equal(h.list, want) {
		t.Errorf("ran %v, want %v", h.list, want)
	}
}

// A manager that takes a place and does not hear of it runs the task all the same, once.
func TestTakesWhatItDidNotHearOf(t *testing.T) {
	w := anyWorld(t)
	taking := &unheard{Places: w.store}
	w.places = taking
	h := &counting{}
	w.serve(w.store, h, at("a", 1))
	task := w.postAny("one", 1, 0)
	w.await(task, tasker.ResultDone)
	if n := h.of("one"); n != 1 || !taking.lost.Load() {
		t.Errorf("%d runs; the answer was lost: %v", n, taking.lost.Load())
	}
}

// unheard loses the first answer that has tasks.
type unheard struct {
	manager.Places
	lost atomic.Bool
}

func (u *unheard) TakeTasks(ctx context.Context, manager, endpoint, taskType string, limit int) ([]tasker.Task, error) {
	tasks, err := u.Places.TakeTasks(ctx, manager, endpoint, taskType, limit)
	if len(tasks) > 0 && u.lost.CompareAndSwap(false, true) {
		return nil, tasker.Errorf(tasker.Unavailable, "the answer was lost")
	}
	return tasks, err
}

// While an endpoint is drained it takes nothing, and others do.
func TestDrainedTakesNothing(t *testing.T) {
	w := anyWorld(t)
	drained, other := &counting{}, &counting{}
	w.serve(w.store, drained, at("a", 4))
	if _, err := w.store.Hold(t.Context(), tasker.HoldRequest{HoldSubject: tasker.HoldSubject{Endpoint: "a"}, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	tasks := []tasker.Task{w.postAny("one", 1, 0), w.postAny("two", 1, 0)}
	w.serve(w.store, other, at("b", 1))
	for _, task := range tasks {
		w.until(func() string {
			if got := w.ran(task); !slices.Equal(got, []string{"b"}) {
				return fmt.Sprintf("%s to run at b, it ran at %v", task.Identifier, got)
			}
			return ""
		})
	}
	if n := drained.of("one") + drained.of("two"); n != 0 {
		t.Errorf("%d runs at a drained endpoint", n)
	}
}
