package manager_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	again "github.com/taskerhq/tasker/internal/rounds"
	"github.com/taskerhq/tasker/manager"
)

// retry retries a task with the production wiring.
func (w *world) retry(task tasker.Task, class tasker.RetryClass) tasker.RetryOutcome {
	w.t.Helper()
	outcome, err := again.New(w.store, w.broker, w.log).Retry(w.t.Context(), tasker.RetryRequest{
		Type: task.Type, Identifier: task.Identifier, Class: class, By: "ann",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome
}

// ended waits until a task's result has ended, and stores what became of the task.
func (w *world) ended(task tasker.Task, state tasker.ResultState, attempt int) tasker.TaskResult {
	w.t.Helper()
	var r tasker.TaskResult
	w.until(func() string {
		if r, _ = w.result(task, "a"); r.State == state && r.Attempt == attempt {
			return ""
		}
		return fmt.Sprintf("attempt %d of %s to end %s, it is %+v", attempt, task.Identifier, state, r)
	})
	if _, err := w.store.Aggregate(w.t.Context(), []int64{task.ID}, time.Hour); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// quiet is a configuration in which only a hint has a manager look.
func quiet(c *manager.Config) { c.Heartbeat, c.Lease, c.CatchUp = 20*time.Minute, time.Hour, time.Hour }

// failing is a handler that fails so many runs of each task.
type failing struct {
	counting
	runs int
}

func (h *failing) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	if _, err := h.counting.Handle(ctx, req); err != nil {
		return nil, err
	}
	if h.of(req.Identifier) <= h.runs {
		return nil, errors.New("it failed")
	}
	return nil, nil
}

// A task is retried round after round, each as soon as the one before has ended: the
// endpoint runs each of them once, at once.
func TestRetryAtOnce(t *testing.T) {
	w := newWorld(t)
	h := &failing{runs: 50}
	w.serve(w.store, h, quiet, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	task := w.post("one", "null", "a")
	for attempt := 1; attempt <= h.runs; attempt++ {
		w.ended(task, tasker.ResultFailed, attempt)
		if o := w.retry(task, tasker.RetryFailed); o.Round != attempt+1 {
			t.Fatalf("%+v", o)
		}
	}
	if r := w.ended(task, tasker.ResultDone, h.runs+1); r.Round != h.runs+1 {
		t.Errorf("%+v", r)
	}
	if n := h.of("one"); n != h.runs+1 {
		t.Errorf("%d runs", n)
	}
}

// Without a hint a manager finds what was retried after its next heartbeat, however
// often.
func TestRetryWithoutHint(t *testing.T) {
	w := newWorld(t)
	h := &failing{runs: 2}
	if err := w.serve(w.store, h).stop(); err != nil { // declares the queue
		t.Fatal(err)
	}
	f := newFaulty(w.store, false, map[string]int{})
	done := w.start(f, mute{w.broker}, h)
	task := w.post("one", "null", "a")
	for attempt := 1; attempt <= 2; attempt++ {
		w.ended(task, tasker.ResultFailed, attempt)
		w.retry(task, tasker.RetryFailed)
	}
	w.ended(task, tasker.ResultDone, 3)
	f.crash(t, done)
}

// The retry policy counts the attempts of a round alone.
func TestRetriesOfEachRound(t *testing.T) {
	w := newWorld(t)
	h := &failing{runs: 3}
	w.serve(w.store, h, jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} }))
	task := w.post("one", "null", "a")
	w.ended(task, tasker.ResultFailed, 2)
	w.retry(task, tasker.RetryFailed)
	w.ended(task, tasker.ResultDone, 4)
	task = w.post("two", "null", "a")
	w.ended(task, tasker.ResultFailed, 2)
}

// A run that is interrupted in a later round counts there, too.
func TestRetryInterrupted(t *testing.T) {
	w := newWorld(t)
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} })
	h := &failing{runs: 2}
	s := w.serve(w.store, h, retry)
	task := w.post("one", "null", "a")
	w.ended(task, tasker.ResultFailed, 2)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.retry(task, tasker.RetryFailed)
	f := newFaulty(w.store, false, map[string]int{})
	g := newGated()
	done := w.start(f, w.broker, g, retry)
	g.until(w, 1) // what waits is found by a manager that starts
	f.crash(t, done)
	w.serve(w.store, h, retry)
	w.ended(task, tasker.ResultDone, 4)
}

// An endpoint that has not received a task gets it after a retry, at once.
func TestRetryMissing(t *testing.T) {
	w := newWorld(t)
	h := &counting{}
	w.serve(w.store, h, quiet)
	first := w.post("first", "null", "a")
	w.await(first, tasker.ResultDone)
	task := w.create("one", "null", "a")
	if _, err := w.store.MarkSent(t.Context(), task, nil); err != nil { // and its message is lost
		t.Fatal(err)
	}
	w.until(func() string { // the first scan may not have ended
		_, err := again.New(w.store, w.broker, w.log).Retry(t.Context(), tasker.RetryRequest{
			Type: task.Type, Identifier: task.Identifier, Class: tasker.RetryMissing, By: "ann",
		})
		if r, _ := w.result(task, "a"); r.State == tasker.ResultDone {
			return ""
		}
		return fmt.Sprintf("the task to be received, the retry returns %v", tasker.CodeOf(err))
	})
	w.publish(w.message(task)) // the message was only late
	w.await(w.post("last", "null", "a"), tasker.ResultDone)
	if n := h.of("one"); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// A result is retried while its endpoint is lost, and its run goes on there: when the
// endpoint is back that run ends, its end is not stored, and the new attempt follows.
func TestRetryOfALostRun(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	s := w.serve(f, g)
	task := w.post("one", "null", "a")
	g.until(w, 1)
	f.set("heartbeat", away)
	w.until(func() string {
		if _, err := w.store.MarkLost(t.Context(), w.store.Now().Add(-200*time.Millisecond), 10); err != nil {
			t.Fatal(err)
		}
		o, err := again.New(w.store, w.broker, w.log).Retry(t.Context(), tasker.RetryRequest{
			Type: task.Type, Identifier: task.Identifier, Class: tasker.RetryUnfinished, By: "ann",
		})
		if err == nil && o.Round == 2 {
			return ""
		}
		r, _ := w.result(task, "a")
		return fmt.Sprintf("the result to be lost, it is %s", r.State)
	})
	f.set("heartbeat", 0)
	w.await(task, tasker.Received) // it is back, and the run goes on
	close(g.gate)
	w.ended(task, tasker.ResultDone, 2)
	if most := g.most.Load(); most != 1 || g.started.Load() != 2 {
		t.Errorf("%d runs, %d at once", g.started.Load(), most)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
}

// A task with a retry policy of its own is tried as often as that says, whatever its
// type says, also where it waited or was interrupted.
func TestRetryPolicyOfATask(t *testing.T) {
	w := newWorld(t)
	h := &failing{runs: 100}
	create := func(identifier string, policy tasker.RetryPolicy) tasker.Task {
		task, _, err := w.store.CreateTask(t.Context(), tasker.Task{
			Type: "job", Identifier: identifier, Payload: []byte("null"), Endpoints: []string{"a"}, Retry: &policy,
		})
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	one := jobType(func(j *tasker.TaskType) { j.Retry.Delays, j.Concurrency = []time.Duration{0}, 1 })
	s := w.serve(w.store, h, one)
	often := w.send(create("often", tasker.RetryPolicy{Delays: []time.Duration{0, 0, 0}}))
	never := w.send(create("never", tasker.RetryPolicy{}))
	plain := w.post("plain", "null", "a")
	w.ended(often, tasker.ResultFailed, 4)
	w.ended(never, tasker.ResultFailed, 1)
	w.ended(plain, tasker.ResultFailed, 2)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	f := newFaulty(w.store, false, map[string]int{})
	g := newGated()
	done := w.start(f, w.broker, g, one)
	killed := w.send(create("killed", tasker.RetryPolicy{}))
	g.until(w, 1)
	f.crash(t, done)
	w.serve(w.store, h, one)
	if r := w.ended(killed, tasker.ResultFailed, 1); r.Errnr != tasker.ErrnrInterrupted {
		t.Errorf("%+v", r)
	}
}
