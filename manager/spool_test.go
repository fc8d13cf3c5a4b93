package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/spool"
	"github.com/taskerhq/tasker/manager"
)

const away = 1 << 20 // more calls than a test makes

// spooled waits until the spool of endpoint a holds n results.
func (w *world) spooled(dir string, n int) {
	w.t.Helper()
	s, err := spool.Open(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.until(func() string {
		entries, err := s.Entries("a")
		if err != nil {
			w.t.Fatal(err)
		}
		if len(entries) == n {
			return ""
		}
		return fmt.Sprintf("%d results in the spool, there are %d", n, len(entries))
	})
}

func inSpool(dir string) option { return func(c *manager.Config) { c.SpoolDir = dir } }

func (f *faulty) set(method string, calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[method] = calls
}

// returning is a handler that returns what it ran.
var returning = handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
	if req.Identifier == "bad" {
		return handlers.Result(`"some"`), handlers.Permanent(handlers.WithCode(32, errors.New("no space")))
	}
	return json.Marshal(req.Identifier)
})

// The database is unavailable when handlers end and until the manager has stopped.
// The next manager stores their results, and they do not count as interrupted.
func TestResultsOutliveTheManager(t *testing.T) {
	for name, crash := range map[string]bool{"stopped": false, "ended at once": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			dir := t.TempDir()
			f := newFaulty(w.store, false, map[string]int{"finish": away})
			s := w.serve(f, returning, inSpool(dir))
			good, bad := w.post("good", "null", "a"), w.post("bad", "null", "a")
			w.spooled(dir, 2)
			if crash {
				// Its work ends abruptly, as after a takeover.
				f.mu.Lock()
				f.held = false
				f.mu.Unlock()
				if err := <-s.done; !errors.Is(err, manager.ErrLeaseLost) {
					t.Fatalf("manager ended with %v", err)
				}
			} else if err := s.stop(); err != nil {
				t.Fatalf("manager stopped with %v", err)
			}
			for _, task := range []tasker.Task{good, bad} {
				if r, _ := w.result(task, "a"); r.State != tasker.Running {
					t.Fatalf("%+v, want it unfinished", r)
				}
			}
			runs := &counting{}
			w.serve(w.store, runs, inSpool(dir))
			w.spooled(dir, 0)
			if r := w.await(good, tasker.ResultDone); string(r.Payload) != `"good"` || r.Attempt != 1 || r.Errnr != 0 {
				t.Errorf("good: %+v", r)
			}
			if r := w.await(bad, tasker.ResultFailed); string(r.Payload) != `"some"` || r.Errnr != 32 || r.Errmsg != "no space" {
				t.Errorf("bad: %+v", r)
			}
			if runs.of("good")+runs.of("bad") > 0 {
				t.Errorf("they ran again: %v", runs.runs)
			}
		})
	}
}

// If the database becomes available before the manager ends, the spool is empty.
func TestSpoolIsEmptyInTheEnd(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	f := newFaulty(w.store, false, map[string]int{"finish": away})
	w.serve(f, returning, inSpool(dir))
	task := w.post("one", "null", "a")
	w.spooled(dir, 1)
	f.set("finish", 0)
	w.await(task, tasker.ResultDone)
	w.spooled(dir, 0)
}

// If a manager on another machine has judged the attempt as interrupted, the result
// is too late and must not change that.
func TestSpooledResultOfALostAttempt(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	f := newFaulty(w.store, false, map[string]int{"finish": away})
	s := w.serve(f, returning, inSpool(dir))
	task := w.post("one", "null", "a")
	w.spooled(dir, 1)
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	if err := <-s.done; !errors.Is(err, manager.ErrLeaseLost) {
		t.Fatalf("manager ended with %v", err)
	}
	elsewhere := w.serve(w.store, returning)
	if r := w.await(task, tasker.ResultFailed); r.Errnr != tasker.ErrnrInterrupted {
		t.Fatalf("%+v, want it interrupted", r)
	}
	if err := elsewhere.stop(); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, returning, inSpool(dir))
	w.spooled(dir, 0)
	if r, _ := w.result(task, "a"); r.State != tasker.ResultFailed || r.Errnr != tasker.ErrnrInterrupted {
		t.Errorf("%+v, want it unchanged", r)
	}
}

// A message and the bindings of the queue are lost while the consumer lives.
func TestCatchesUpFromTimeToTime(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	w.serve(w.store, c, func(cfg *manager.Config) { cfg.CatchUp = 50 * time.Millisecond })
	w.await(w.post("before", "null"), tasker.ResultDone)
	var lost []tasker.Task
	for i := range 3 {
		lost = append(lost, w.create(fmt.Sprint("lost-", i), "null"))
	}
	if _, err := w.store.MarkSent(t.Context(), lost[0], nil); err != nil {
		t.Fatal(err)
	}
	for _, task := range lost {
		w.await(task, tasker.ResultDone)
		if n := c.of(task.Identifier); n != 1 {
			t.Errorf("%s ran %d times", task.Identifier, n)
		}
	}
}

// A manager that could not renew its lease may have lost the endpoint: an attempt
// that is already counted waits for the renewal.
func TestNoAttemptBeginsWithoutALease(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	f := newFaulty(w.store, false, map[string]int{"heartbeat": away})
	w.serve(f, c)
	silent := time.Now()
	w.until(func() string {
		if time.Since(silent) < time.Second { // twice its lease
			return "the lease to pass"
		}
		return ""
	})
	task := w.post("one", "null", "a")
	w.await(task, tasker.Running)
	next := w.post("two", "null", "a")
	w.await(next, tasker.Running)
	if n := c.of("one"); n != 0 {
		t.Fatalf("handler started %d times without a lease", n)
	}
	f.set("heartbeat", 0)
	w.await(task, tasker.ResultDone)
	w.await(next, tasker.ResultDone)
	if n := c.of("one"); n != 1 {
		t.Errorf("handler started %d times", n)
	}
}
