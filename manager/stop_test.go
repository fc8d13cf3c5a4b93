package manager_test

import (
	"errors"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/manager"
)

func TestInterruptedIsRetriedWherePolicyAllows(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} })
	first := w.serve(w.store, g, retry, func(c *manager.Config) { c.ShutdownTimeout = time.Millisecond })
	task := w.post("one", "null", "a")
	w.until(func() string {
		if g.started.Load() == 0 {
			return "the handler to start"
		}
		return ""
	})
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if cause := <-g.causes; !errors.Is(cause, handlers.ErrShutdown) {
		t.Errorf("handler canceled with cause %v", cause)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.Running {
		t.Fatalf("after the stop: %+v, want RUNNING", r)
	}
	c := &counting{}
	w.serve(w.store, c, retry)
	if r := w.await(task, tasker.ResultDone); r.Attempt != 2 || c.of("one") != 1 {
		t.Errorf("%+v, runs %v", r, c.runs)
	}
}

func TestStopLetsHandlersFinish(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	s := w.serve(w.store, g, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	task := w.post("one", "null", "a")
	w.await(task, tasker.Running)
	g.until(w, 1) // it is RUNNING before its handler is called
	queued := w.post("two", "null", "a")
	w.await(queued, tasker.Received)
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	// A task that arrives during the stop is not taken.
	select {
	case err := <-ended:
		t.Fatalf("stopped while a handler ran: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(g.gate)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.ResultDone {
		t.Errorf("%+v", r)
	}
	if r, _ := w.result(queued, "a"); r.State != tasker.Received {
		t.Errorf("waiting task started during the stop: %+v", r)
	}
	// The endpoint is released at once.
	holder, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: "other", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder != nil {
		t.Errorf("held by %+v, %v", holder, err)
	}
}
