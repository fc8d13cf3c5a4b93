package manager_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Rows that the API would refuse may be in the database all the same. They do not
// reach a handler, however they are found.
func TestRowsThatNoAPITakes(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	var bad []tasker.Task
	for identifier, payload := range map[string]string{"../../evil 1": "null", "$(reboot)": "null", "deep": deep} {
		task := w.create(identifier, payload, "a")
		if _, err := w.store.MarkSent(t.Context(), task, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		bad = append(bad, task)
	}
	// One was received by an earlier manager and waits.
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	waits := w.create("../waits", "null", "a")
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{{
		ResultKey: tasker.ResultKey{TaskID: waits.ID, Endpoint: "a"}, Identifier: waits.Identifier, Type: "job", State: tasker.Received, Manager: dead,
	}}); err != nil {
		t.Fatal(err)
	}
	c := &counting{}
	w.serve(w.store, c)
	for _, task := range append(bad, waits) {
		r := w.await(task, tasker.Rejected)
		if r.Errnr != tasker.ErrnrRejected || !strings.Contains(r.Errmsg, "identifier") && !strings.Contains(r.Errmsg, "payload") {
			t.Errorf("%s: %+v", task.Identifier, r)
		}
		if n := c.of(task.Identifier); n != 0 {
			t.Errorf("%s ran %d times", task.Identifier, n)
		}
	}
}

// A step after a reboot is checked against the schema like the first one.
func TestSchemaOfALaterStep(t *testing.T) {
	w := newWorld(t)
	h := &rebooting{last: 2}
	first := w.watch(false, map[string]int{})
	s := w.serve(first, h, booted("one"), schema(wants("1")))
	task := w.post("one", "1", "a")
	first.await(w, 1)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, h, booted("two"), schema(wants("2")))
	if r := w.await(task, tasker.Rejected); r.Errmsg != "/payload: want 2" || h.steps() != "[1]" {
		t.Errorf("%+v, steps %s", r, h.steps())
	}
}

// Large payloads are not in memory while their tasks wait, and complete when they
// run.
func TestLargePayloads(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	got := make(chan string, 10)
	w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		got <- fmt.Sprint(req.Identifier, " ", len(req.Payload))
		return g.Handle(ctx, req)
	}), oneSlot)
	large := `"` + strings.Repeat("x", 200_000) + `"`
	running := w.post("runs", large, "a")
	if s := <-got; s != "runs 200002" {
		t.Error(s)
	}
	waits := w.post("waits", large, "a")
	w.await(waits, tasker.Received)
	close(g.gate)
	if s := <-got; s != "waits 200002" {
		t.Error(s)
	}
	w.await(running, tasker.ResultDone)
	w.await(waits, tasker.ResultDone)
}

var oneSlot = jobType(func(j *tasker.TaskType) { j.Concurrency = 1 })
