package manager_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/manager"
)

func TestSecondManagerIsRefused(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	w.serve(w.store, c)
	w.await(w.post("one", "null", "a"), tasker.ResultDone)
	second, err := manager.New(manager.Config{
		Endpoints: []string{"b", "a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}, Heartbeat: 50 * time.Millisecond, Lease: time.Minute,
	}, w.parts(w.store), w.broker, handlers.NewRegistry(), w.log)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Run(t.Context())
	if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), `endpoint "a" is served by another manager`) ||
		!strings.Contains(err.Error(), "pid") {
		t.Fatalf("second manager ended with: %v", err)
	}
	// The endpoint that it had acquired first is released.
	holder, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "b", Manager: "other", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder != nil {
		t.Errorf("endpoint b is held by %+v, %v", holder, err)
	}
	w.await(w.post("two", "null", "a"), tasker.ResultDone)
}

func TestDeadManagersNameIsFree(t *testing.T) {
	w := newWorld(t)
	task := w.create("one", "null", "a")
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.MarkSent(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	arrival := ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Identifier: "one", Type: "job",
		State: tasker.Running, Manager: dead,
	}
	if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{arrival}); err != nil {
		t.Fatal(err)
	}
	waiting := w.create("two", "null", "a")
	arrival = ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: waiting.ID, Endpoint: "a"}, Identifier: "two", Type: "job",
		State: tasker.Received, Manager: dead,
	}
	if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{arrival}); err != nil {
		t.Fatal(err)
	}
	c := &counting{}
	w.serve(w.store, c)
	r := w.await(task, tasker.ResultFailed)
	if r.Errnr != tasker.ErrnrInterrupted || !strings.Contains(r.Errmsg, "during attempt 1") {
		t.Errorf("%+v", r)
	}
	w.await(waiting, tasker.ResultDone)
	if c.of("one") != 0 || c.of("two") != 1 {
		t.Errorf("runs: %v", c.runs)
	}
}

func TestTakenOver(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	s := w.serve(f, g)
	task := w.post("one", "null", "a")
	w.until(func() string {
		if g.started.Load() == 0 {
			return "the handler to start"
		}
		return ""
	})
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	if err := <-s.done; !errors.Is(err, manager.ErrLeaseLost) {
		t.Fatalf("manager ended with %v", err)
	}
	if cause := <-g.causes; cause == nil {
		t.Error("handler not canceled")
	}
	if r, _ := w.result(task, "a"); r.State != tasker.Running {
		t.Errorf("%+v, want it left for the other manager", r)
	}
}
