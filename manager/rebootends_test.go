package manager_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/manager"
)

// An attempt that must not continue after another reboot ends, even if its handler
// asks for it during a stop.
func TestTooManyRebootsAtTheStop(t *testing.T) {
	w := newWorld(t)
	task := w.rebooted("one", 32)
	started := make(chan struct{})
	s := w.serve(w.store, handlers.Func(func(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
		close(started)
		<-ctx.Done()
		return nil, handlers.ErrContinueAfterReboot
	}), booted("two"), func(c *manager.Config) { c.ShutdownTimeout = time.Millisecond })
	<-started
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.ResultFailed || r.Errmsg != "too many reboots: the handler asked for number 32" {
		t.Errorf("%+v", r)
	}
}

// rebooted creates a task whose first attempt awaits a reboot, in boot "one",
// before a step.
func (w *world) rebooted(identifier string, step int) tasker.Task {
	w.t.Helper()
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	if _, err := w.store.AcquireEndpoint(w.t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		300*time.Millisecond); err != nil {
		w.t.Fatal(err)
	}
	task := w.create(identifier, "null", "a")
	arrival := ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Identifier: task.Identifier, Type: "job",
		State: tasker.Running, Manager: dead,
	}
	if _, err := w.store.ReceiveResults(w.t.Context(), []ledger.Incoming{arrival}); err != nil {
		w.t.Fatal(err)
	}
	if stored, err := w.store.AwaitReboot(w.t.Context(), arrival.ResultKey, 1, step, "one"); err != nil || !stored {
		w.t.Fatal(stored, err)
	}
	return task
}

// A rebooting machine asks its manager to stop. Storing that an attempt continues
// is retried for as long as the stop may take, even if there is nothing else to
// wait for.
func TestRebootIsStoredDuringTheStop(t *testing.T) {
	w := newWorld(t)
	h := &rebooting{last: 2}
	f := newFaulty(w.store, false, map[string]int{"await": 7}) // for more than three seconds
	s := w.serve(f, h, booted("one"), inSpool(t.TempDir()))
	task := w.post("one", "null", "a")
	w.untilCalledAtLeast(f, "await", 1)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, h, booted("two"))
	if r := w.await(task, tasker.ResultDone); r.Attempt != 1 || h.steps() != "[1 2]" {
		t.Errorf("%+v, steps %s", r, h.steps())
	}
}

// A manager that awaits a reboot loses the database, and another one takes over and
// continues. The run limit of the first one's step does not end the second one's.
func TestTakenOverWhileItAwaitsAReboot(t *testing.T) {
	w := newWorld(t)
	first := w.watch(false, map[string]int{})
	limit := 1500 * time.Millisecond
	done := w.start(first, w.broker, &rebooting{last: 2}, booted("one"), jobType(func(j *tasker.TaskType) { j.Timeout = limit }))
	begin := time.Now()
	task := w.post("one", "null", "a")
	first.await(w, 1)
	first.set("heartbeat", away)
	w.untilCalled(first.faulty, "heartbeat", 1) // none is under way that would be taken
	g := newGated()
	w.serve(w.store, g, booted("two"))
	g.until(w, 1)
	finished := first.called("finish")
	w.until(func() string {
		if time.Since(begin) < limit+300*time.Millisecond && first.called("finish") == finished {
			return "the run limit to pass"
		}
		return ""
	})
	first.set("heartbeat", 0)
	first.crash(t, done)
	close(g.gate)
	if r := w.await(task, tasker.ResultDone); r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
}

// The code that reboots the machine is the handler's: a panic fails the attempt,
// and if it does not return it is abandoned.
func TestRebootPanics(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.t.Cleanup(func() { close(release) })
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		return nil, handlers.RebootAndContinue(func(context.Context) error {
			if req.Identifier == "hangs" {
				<-release
			}
			panic("oops")
		})
	}), jobType(func(j *tasker.TaskType) { j.Timeout = 3 * time.Second }))
	hangs := w.post("hangs", "null", "a")
	if r := w.await(w.post("panics", "null", "a"), tasker.ResultFailed); r.Errmsg != "the handler panicked: oops" {
		t.Errorf("%+v", r)
	}
	if r := w.await(hangs, tasker.TimedOut); !strings.Contains(r.Errmsg, "did not return") {
		t.Errorf("%+v", r)
	}
}

// A last step that logs nothing completes the log of the earlier steps.
func TestLogOfASilentStep(t *testing.T) {
	w := newWorld(t)
	h := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Step == 1 {
			req.Line(tasker.StreamStdout, "hello")
			return nil, handlers.ErrContinueAfterReboot
		}
		return nil, nil
	})
	store := w.watch(false, map[string]int{})
	s := w.serve(store, h, booted("one"))
	task := w.post("one", "null", "a")
	store.await(w, 1)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, h, booted("two"))
	w.await(task, tasker.ResultDone)
	if lines, attempt := w.logOf(task, 1); len(lines) != 1 || !attempt.Log.Complete || attempt.Log.Lines != 1 {
		t.Errorf("%+v, %+v", lines, attempt.Log)
	}
}

// An attempt that waits for a slot to continue does so after its type was removed
// and has come back.
func TestReloadWhileAnAttemptIsToGoOn(t *testing.T) {
	w := newWorld(t)
	first, second := w.rebooted("first", 2), w.rebooted("second", 2)
	g := newGated()
	job, other := tasker.TaskType{Name: "job", Concurrency: 1}, tasker.TaskType{Name: "other"}
	list := map[string]handlers.Handler{"job": g}
	m := w.reloadable([]tasker.TaskType{job, other}, list)
	g.until(w, 1)
	reload(t, m, []tasker.TaskType{other}, list)
	w.registered("other")
	reload(t, m, []tasker.TaskType{job}, list)
	close(g.gate)
	for _, task := range []tasker.Task{first, second} {
		if r := w.await(task, tasker.ResultDone); r.Attempt != 1 {
			t.Errorf("%+v", r)
		}
	}
}
