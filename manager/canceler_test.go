package manager_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/cancel"
	"github.com/taskerhq/tasker/internal/ledger"
)

// cancel cancels a task with the production wiring.
func (w *world) cancel(task tasker.Task, endpoints ...string) tasker.CancelOutcome {
	w.t.Helper()
	outcome, err := w.tryCancel(task, endpoints...)
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome
}

func (w *world) tryCancel(task tasker.Task, endpoints ...string) (tasker.CancelOutcome, error) {
	return cancel.New(w.store, w.broker, w.log).Cancel(w.t.Context(), tasker.CancelRequest{
		Type: task.Type, Identifier: task.Identifier, Endpoints: endpoints, By: "ann", Reason: "wrong file",
	})
}

// A run that is canceled ends with the cause, a task that waits never starts, and the
// slot is free for the next one.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	w.serve(w.store, g, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	running := w.post("running", "null", "a")
	g.until(w, 1)
	waiting, next := w.post("waiting", "null", "a"), w.post("next", "null", "a")
	w.await(waiting, tasker.Received)
	w.await(next, tasker.Received)
	if o := w.cancel(waiting); !slices.Equal(o.Stopped, []string{"a"}) || o.Task.Status != tasker.Canceled {
		t.Errorf("%+v", o)
	}
	if o := w.cancel(running); !slices.Equal(o.Stopping, []string{"a"}) || o.Task.Status != tasker.Canceling {
		t.Errorf("%+v", o)
	}
	if cause := <-g.causes; !errors.Is(cause, handlers.ErrCanceled) {
		t.Errorf("the run ended with %v", cause)
	}
	r := w.await(running, tasker.ResultCanceled)
	if r.Errnr != tasker.ErrnrCanceled || r.Errmsg != "canceled by ann: wrong file" || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
	g.until(w, 2)
	close(g.gate)
	w.await(next, tasker.ResultDone)
	if r, _ := w.result(waiting, "a"); r.Attempt != 0 {
		t.Errorf("it ran: %+v", r)
	}
	if o := w.cancel(running); !slices.Equal(o.Stopped, []string{"a"}) {
		t.Errorf("again: %+v", o)
	}
}

// mute is a broker that brings no hints.
type mute struct{ *local.Broker }

func (mute) ListenControl(ctx context.Context, _ []string, _ func([]byte)) error {
	<-ctx.Done()
	return nil
}

// Without a hint a manager finds the cancellation after its next heartbeat.
func TestCancelWithoutHint(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	if err := w.serve(w.store, g).stop(); err != nil { // declares the queue
		t.Fatal(err)
	}
	f := newFaulty(w.store, false, map[string]int{})
	done := w.start(f, mute{w.broker}, g)
	task := w.post("one", "null", "a")
	g.until(w, 1)
	w.cancel(task)
	w.await(task, tasker.ResultCanceled)
	// And a second one, which the next look must find, too.
	another := w.post("two", "null", "a")
	g.until(w, 2)
	w.cancel(another)
	w.await(another, tasker.ResultCanceled)
	f.crash(t, done)
}

// A manager is killed with a run that is then canceled: the next one stores CANCELED,
// whatever the policy of retries says, and runs nothing.
func TestCancelWhileAway(t *testing.T) {
	w := newWorld(t)
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0, 0} })
	g := newGated()
	if err := w.serve(w.store, g, retry).stop(); err != nil {
		t.Fatal(err)
	}
	task := w.post("one", "null", "a")
	f := newFaulty(w.store, false, map[string]int{})
	done := w.start(f, w.broker, g, retry)
	g.until(w, 1)
	f.crash(t, done)
	w.until(func() string {
		if o := w.cancel(task); slices.Equal(o.Unreachable, []string{"a"}) {
			return ""
		}
		return "the endpoint to be unreachable"
	})
	c := &counting{}
	w.serve(w.store, c, retry)
	if r := w.await(task, tasker.ResultCanceled); r.Attempt != 1 || r.Errnr != tasker.ErrnrCanceled {
		t.Errorf("%+v", r)
	}
	if c.of("one") != 0 {
		t.Error("it ran again")
	}
}

// A handler that fails after it was told to stop is not retried.
func TestCanceledRunIsNotRetried(t *testing.T) {
	w := newWorld(t)
	begun, end := make(chan struct{}, 10), make(chan struct{})
	deafHandler := handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) {
		begun <- struct{}{}
		<-end // whatever becomes of the context
		return nil, errors.New("it failed")
	})
	f := newFaulty(w.store, false, map[string]int{})
	if err := w.serve(w.store, &counting{}).stop(); err != nil {
		t.Fatal(err)
	}
	task := w.post("one", "null", "a")
	done := w.start(f, mute{w.broker}, deafHandler, jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} }))
	<-begun
	if o := w.cancel(task); !slices.Equal(o.Stopping, []string{"a"}) {
		t.Errorf("%+v", o)
	}
	close(end)
	w.await(task, tasker.ResultCanceled)
	if len(begun) > 0 {
		t.Error("it was retried")
	}
	f.crash(t, done)
}

// lostStart is a database that starts an attempt and loses the answer.
type lostStart struct {
	database
	lose func()
	once sync.Once
}

func (d *lostStart) StartAttempts(ctx context.Context, starts []ledger.Start) (started []bool, err error) {
	started, err = d.database.StartAttempts(ctx, starts)
	d.once.Do(func() {
		d.lose()
		started, err = nil, tasker.Errorf(tasker.Unavailable, "the answer is lost")
	})
	return started, err
}

// A task is canceled between the start of an attempt and its answer, which is lost:
// the handler is not called, and the result does not stay RUNNING.
func TestCancelBetweenStartAndAnswer(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	var second tasker.Task
	d := &lostStart{database: w.store, lose: func() { w.cancel(second) }}
	first := w.create("first", "null", "a")
	second = w.create("second", "null", "a")
	w.serve(d, g, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	for _, task := range []tasker.Task{first, second} {
		w.publish(w.message(task))
	}
	g.until(w, 1)
	w.await(second, tasker.Received)
	close(g.gate)
	w.await(second, tasker.ResultCanceled)
	w.await(first, tasker.ResultDone)
	if n := g.started.Load(); n != 1 {
		t.Errorf("%d handlers were called", n)
	}
}

// rounds is how often [TestCancelRacesWithFinish] races.
var rounds = flag.Int("cancel-rounds", 200, "how often a cancellation races with the end of a run")

// racing is a handler that notes which tasks run, and returns at once or, for every
// third, when it is told to stop.
type racing struct {
	counting
}

func (h *racing) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	if _, err := h.counting.Handle(ctx, req); err != nil {
		return nil, err
	}
	if strings.HasSuffix(req.Identifier, "0") {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return nil, nil
}

// A cancellation races with the arrival, the start and the end of a run. One wins, and
// the answer says which: what was stopped never runs, and no answer contradicts the
// row.
func TestCancelRacesWithFinish(t *testing.T) {
	w := newWorld(t)
	h := &racing{}
	w.serve(w.store, h, jobType(func(j *tasker.TaskType) { j.Concurrency = 2 }))
	type answer struct {
		task    tasker.Task
		outcome tasker.CancelOutcome
		runs    int
		err     error
	}
	answers := make([]answer, *rounds)
	for i := range answers {
		a := &answers[i]
		a.task = w.create(fmt.Sprintf("race-%d", i), "null", "a")
		var both sync.WaitGroup
		both.Go(func() { w.publish(w.message(a.task)) })
		both.Go(func() {
			for range i % 7 * 100 {
				_ = h.of(a.task.Identifier) // lets some time pass, more in some rounds than in others
			}
			a.outcome, a.err = w.tryCancel(a.task)
			a.runs = h.of(a.task.Identifier)
		})
		both.Wait()
	}
	for _, a := range answers {
		var r tasker.TaskResult
		w.until(func() string {
			if r, _ = w.result(a.task, "a"); r.State.Finished() {
				return ""
			}
			return "the end of " + a.task.Identifier
		})
		runs := h.of(a.task.Identifier)
		switch {
		case tasker.CodeOf(a.err) == tasker.Conflict, a.err == nil && len(a.outcome.FinishedBefore) == 1:
			if r.State != tasker.ResultDone || runs != 1 {
				t.Errorf("%s had finished, and it is %s after %d runs", a.task.Identifier, r.State, runs)
			}
		case a.err != nil:
			t.Errorf("%s: %v", a.task.Identifier, a.err)
		case len(a.outcome.Stopped) == 1:
			if r.State != tasker.ResultCanceled || r.Attempt != 0 || runs != a.runs || runs != 0 {
				t.Errorf("%s was stopped, and it is %s after %d runs", a.task.Identifier, r.State, runs)
			}
		case len(a.outcome.Stopping)+len(a.outcome.Unreachable) == 1: // the latter where heartbeats are late
			if r.State != tasker.ResultCanceled && r.State != tasker.ResultDone || runs > 1 || r.State == tasker.ResultDone && runs == 0 {
				t.Errorf("%s was stopping, and it is %s after %d runs", a.task.Identifier, r.State, runs)
			}
		default:
			t.Errorf("%s: %+v", a.task.Identifier, a.outcome)
		}
	}
}
