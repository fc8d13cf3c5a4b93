package manager_test

import (
	"context"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

func TestBackFromLost(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	w.serve(f, g)
	task := w.post("one", "null", "a")
	w.await(task, tasker.Running)
	f.mu.Lock()
	f.count["heartbeat"] = 20 // silent for longer than its lease
	f.mu.Unlock()
	w.until(func() string {
		lost, err := w.store.MarkLost(t.Context(), w.store.Now().Add(-200*time.Millisecond), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(lost) == 0 {
			return "the endpoint to be silent"
		}
		return ""
	})
	w.await(task, tasker.Running) // heartbeats resume
	close(g.gate)
	w.await(task, tasker.ResultDone)
}

// A task that waits for a slot while its endpoint is declared lost cannot start. It
// starts after the endpoint's return, although it is not in memory.
func TestWaitingIsBackFromLost(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	c := &counting{}
	w.serve(f, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "first" {
			return g.Handle(ctx, req)
		}
		return c.Handle(ctx, req)
	}), jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	first := w.post("first", "null", "a")
	w.await(first, tasker.Running)
	g.until(w, 1) // it is RUNNING before its handler is called
	waits := w.post("waits", "null", "a")
	w.await(waits, tasker.Received)
	f.set("heartbeat", away)
	w.until(func() string {
		if lost, err := w.store.MarkLost(t.Context(), w.store.Now().Add(-200*time.Millisecond), 10); err != nil {
			t.Fatal(err)
		} else if len(lost) == 0 {
			return "the endpoint to be silent"
		}
		return ""
	})
	tries := f.called("start") + f.called("waiting")
	close(g.gate)
	w.await(first, tasker.ResultDone)
	w.until(func() string { // its turn comes, and passes
		if f.called("start")+f.called("waiting") == tries {
			return "an attempt to start what is lost, or to find it"
		}
		return ""
	})
	f.set("heartbeat", 0)
	w.await(waits, tasker.ResultDone)
	if n := c.of("waits"); n != 1 {
		t.Errorf("ran %d times", n)
	}
}
