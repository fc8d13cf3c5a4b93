package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/manager"
)

func (f *faulty) AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (bool, error) {
	return faultyCall(f, "await", func() (bool, error) { return f.database.AwaitReboot(ctx, key, attempt, step, boot) })
}

func (f *faulty) ResumeAttempts(ctx context.Context, starts []ledger.Start) ([]bool, error) {
	return faultyCall(f, "resume", func() ([]bool, error) { return f.database.ResumeAttempts(ctx, starts) })
}

func booted(id string) option { return func(c *manager.Config) { c.BootID = id } }

// rebooting is a handler that asks for a reboot in all steps but the last and
// remembers its steps.
type rebooting struct {
	last int
	mu   sync.Mutex
	runs []int
}

func (r *rebooting) Handle(_ context.Context, req *handlers.Request) (handlers.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, req.Step)
	req.Line(tasker.StreamStdout, fmt.Sprintf("attempt %d, step %d", req.Attempt, req.Step))
	if req.Step < r.last {
		return nil, fmt.Errorf("now: %w", handlers.ErrContinueAfterReboot)
	}
	return json.Marshal(req.Step)
}

func (r *rebooting) steps() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.runs)
}

// watched is a database that counts how often an attempt was stored as awaiting a
// reboot.
type watched struct {
	*faulty
	awaited atomic.Int64
}

func (s *watched) AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (bool, error) {
	stored, err := s.faulty.AwaitReboot(ctx, key, attempt, step, boot)
	if err == nil && stored {
		s.awaited.Add(1)
	}
	return stored, err
}

func (w *world) watch(lostAnswer bool, count map[string]int) *watched {
	return &watched{faulty: newFaulty(w.store, lostAnswer, count)}
}

// await waits until that many attempts await a reboot.
func (s *watched) await(w *world, n int64) {
	w.t.Helper()
	w.until(func() string {
		if got := s.awaited.Load(); got != n {
			return fmt.Sprintf("%d attempts that await a reboot, there are %d", n, got)
		}
		return ""
	})
}

// An attempt continues after each reboot with its next step and one log. While it
// waits, its slot is free and the manager can stop at once.
func TestReboot(t *testing.T) {
	for name, lostAnswer := range map[string]bool{"answers": false, "lost answers": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := &rebooting{last: 3}
			slots := jobType(func(j *tasker.TaskType) { j.Concurrency = 1 })
			var tasks []tasker.Task
			for _, boot := range []string{"one", "two", "three"} {
				store := w.watch(lostAnswer, map[string]int{"await": 2, "resume": 2})
				s := w.serve(store, h, booted(boot), slots)
				if boot == "one" {
					tasks = []tasker.Task{w.post("one", "null", "a"), w.post("two", "null", "a")}
				}
				if boot == "three" {
					break
				}
				store.await(w, 2)
				for _, task := range tasks {
					if r, _ := w.result(task, "a"); r.State != tasker.Running || r.Attempt != 1 {
						t.Fatalf("%+v", r)
					}
				}
				if err := s.stop(); err != nil {
					t.Fatal(err)
				}
			}
			for _, task := range tasks {
				if r := w.await(task, tasker.ResultDone); r.Attempt != 1 || string(r.Payload) != "3" {
					t.Errorf("%+v", r)
				}
				lines, attempt := w.logOf(task, 1)
				got := strings.Join(texts(lines), ", ")
				if got != "stdout: attempt 1, step 1, stdout: attempt 1, step 2, stdout: attempt 1, step 3" || lines[2].Number != 2 ||
					attempt.Log.Lines != 3 || !attempt.Log.Complete {
					t.Errorf("%s, %+v", got, attempt.Log)
				}
			}
			if got := h.steps(); got != "[1 1 2 2 3 3]" {
				t.Errorf("steps %s", got)
			}
		})
	}
}

// A manager that restarts on a machine that did not reboot does not run the next
// step. It waits like the first one, within the run limit.
func TestNoReboot(t *testing.T) {
	for name, unknown := range map[string]bool{"the same boot": false, "a system that does not tell": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := &rebooting{last: 2}
			boot := booted("one")
			if unknown {
				boot = booted("none")
			}
			first := w.watch(false, map[string]int{})
			s := w.serve(first, h, boot)
			task := w.post("one", "null", "a")
			first.await(w, 1)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			second := newFaulty(w.store, false, map[string]int{})
			s = w.serve(second, h, boot, func(c *manager.Config) { c.CatchUp = 10 * time.Millisecond })
			w.untilCalled(second, "unreceived", 3) // it has looked at what was interrupted again
			if r, _ := w.result(task, "a"); r.State != tasker.Running || h.steps() != "[1]" {
				t.Errorf("%+v, steps %s", r, h.steps())
			}
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			w.serve(w.store, h, boot, jobType(func(j *tasker.TaskType) { j.Timeout = 50 * time.Millisecond }))
			if r := w.await(task, tasker.TimedOut); r.Errmsg != "the run limit of 50ms passed: the machine did not reboot" || h.steps() != "[1]" {
				t.Errorf("%+v, steps %s", r, h.steps())
			}
		})
	}
}

// The run limit also applies in the manager that ran the step, and the last partial
// result is kept.
func TestRebootThatDoesNotCome(t *testing.T) {
	w := newWorld(t)
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		req.Partial(handlers.Result(`"so far"`))
		return nil, handlers.ErrContinueAfterReboot
	}), jobType(func(j *tasker.TaskType) { j.Timeout = 3 * time.Second }))
	r := w.await(w.post("one", "null", "a"), tasker.TimedOut)
	if r.Errmsg != "the run limit of 3s passed: the machine did not reboot" || string(r.Payload) != `"so far"` || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
}

// A manager crashes around the statements of a reboot. Afterwards the next step
// runs if it was stored, and the first one never runs again unless the attempt
// counts as interrupted.
func TestCrashAroundAReboot(t *testing.T) {
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} })
	for name, test := range map[string]struct {
		first, second         map[string]int // calls that fail, of the first two managers
		firstLost, secondLost bool           // after they did their work
		steps                 string
		attempt               int
	}{
		// The reboot was requested and nothing stored.
		"before it awaits":        {first: map[string]int{"await": away}, steps: "[1 1 2]", attempt: 2},
		"when it awaits":          {first: map[string]int{"await": away}, firstLost: true, steps: "[1 2]", attempt: 1},
		"before it is resumed":    {second: map[string]int{"resume": away}, steps: "[1 2]", attempt: 1},
		"when it is resumed":      {second: map[string]int{"resume": away}, secondLost: true, steps: "[1 1 2]", attempt: 2},
		"before its log is known": {second: map[string]int{"attempts": away}, steps: "[1 2]", attempt: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := &rebooting{last: 2}
			calls := 1 + min(len(test.first), 1) // again if it fails
			first := newFaulty(w.store, test.firstLost, test.first)
			done := w.start(first, w.broker, h, retry, booted("one"))
			task := w.post("one", "null", "a")
			w.untilCalledAtLeast(first, "await", calls)
			if test.second != nil {
				w.until(func() string {
					attempts, err := w.store.Attempts(t.Context(), task.ID, "a")
					if err == nil && len(attempts) == 1 && attempts[0].Log.Lines == 1 {
						return ""
					}
					return "the log"
				})
			}
			first.crash(t, done)

			boot := "two"
			if test.second != nil {
				second := newFaulty(w.store, test.secondLost, test.second)
				done := w.start(second, w.broker, h, retry, booted("two"))
				for method := range test.second {
					w.untilCalledAtLeast(second, method, 2)
				}
				second.crash(t, done)
				boot = "three"
			}
			last := w.watch(false, map[string]int{})
			s := w.serve(last, h, retry, booted(boot))
			if test.attempt == 2 { // which asks for a reboot again
				last.await(w, 1)
				if err := s.stop(); err != nil {
					t.Fatal(err)
				}
				w.serve(w.store, h, retry, booted("four"))
			}
			if r := w.await(task, tasker.ResultDone); r.Attempt != test.attempt || h.steps() != test.steps {
				t.Errorf("attempt %d, steps %s; want %d, %s", r.Attempt, h.steps(), test.attempt, test.steps)
			}
			if history, err := w.store.Attempts(t.Context(), task.ID, "a"); err != nil ||
				test.attempt == 2 && history[0].Errnr != tasker.ErrnrInterrupted {
				t.Errorf("%+v, %v", history, err)
			}
		})
	}
}

// untilCalledAtLeast waits until a method was called that often in total.
func (w *world) untilCalledAtLeast(f *faulty, method string, n int) {
	w.t.Helper()
	w.until(func() string {
		if f.called(method) < n {
			return method + " to be called"
		}
		return ""
	})
}

func (f *faulty) Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error) {
	return faultyCall(f, "attempts", func() ([]tasker.Attempt, error) { return f.database.Attempts(ctx, taskID, endpoint) })
}

// A handler that always asks for a reboot does not keep the machine rebooting.
func TestTooManyReboots(t *testing.T) {
	w := newWorld(t)
	h := &rebooting{last: 1000}
	var task tasker.Task
	for boot := range 31 {
		store := w.watch(false, map[string]int{})
		s := w.serve(store, h, booted(fmt.Sprint("boot ", boot)))
		if boot == 0 {
			task = w.post("one", "null", "a")
		}
		store.await(w, 1)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	w.serve(w.store, h, booted("last"), jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} }))
	if r := w.await(task, tasker.ResultFailed); r.Errmsg != "too many reboots: the handler asked for number 32" || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
}

// More attempts await a reboot than are read at once and than there are slots: all
// continue, and interrupted ones behind them are judged.
func TestManyReboots(t *testing.T) {
	w := newWorld(t)
	const dead, tasks = "01DEADDEADDEADDEADDEADDEAD", 110
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var all []tasker.Task
	for i := range tasks + 1 {
		task := w.create(fmt.Sprint("t", i), "null", "a")
		arrival := ledger.Incoming{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Identifier: task.Identifier, Type: "job",
			State: tasker.Running, Manager: dead,
		}
		if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{arrival}); err != nil {
			t.Fatal(err)
		}
		if i < tasks {
			if stored, err := w.store.AwaitReboot(t.Context(), arrival.ResultKey, 1, 2, "one"); err != nil || !stored {
				t.Fatal(stored, err)
			}
		}
		all = append(all, task)
	}
	// At first the machine has not rebooted.
	h := &rebooting{last: 2}
	s := w.serve(w.store, h, booted("one"))
	if r := w.await(all[tasks], tasker.ResultFailed); r.Errnr != tasker.ErrnrInterrupted {
		t.Errorf("%+v", r)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, h, booted("two"))
	for _, task := range all[:tasks] {
		if r := w.await(task, tasker.ResultDone); r.Attempt != 1 || string(r.Payload) != "2" {
			t.Fatalf("%+v", r)
		}
	}
}

// The machine reboots only after it is stored that the attempt continues. A failed
// reboot ends the attempt.
func TestRebootIsAskedForLast(t *testing.T) {
	w := newWorld(t)
	store := w.watch(false, map[string]int{})
	asked := make(chan int64, 2)
	w.serve(store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		return nil, fmt.Errorf("now: %w", handlers.RebootAndContinue(func(context.Context) error {
			asked <- store.awaited.Load()
			if req.Identifier == "fails" {
				return errors.New("shutdown is missing")
			}
			return nil
		}))
	}))
	w.post("one", "null", "a")
	if n := <-asked; n != 1 {
		t.Error("machine rebooted before the attempt was stored")
	}
	r := w.await(w.post("fails", "null", "a"), tasker.ResultFailed)
	if r.Errmsg != "shutdown is missing" || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
}
