package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/wire"
)

// Rows that the API would refuse may be in the database all the same. They do not
// reach a handler, however they are found.
func TestRowsThatNoAPITakes(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	var bad []tasker.Task
	for identifier, payload := range map[string]string{"../../evil 1": "null", "$(reboot)": "null", "deep": deep} {
		task := w.create(identifier, payload, "a")
		if _, err := w.store.MarkSent(t.Context(), task, nil); err != nil {
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

// swapped is a database in which a payload was changed after its task was accepted.
type swapped struct {
	*storetest.Flat
	payload string
}

func (s swapped) TaskPayload(context.Context, int64) (json.RawMessage, error) {
	return json.RawMessage(s.payload), nil
}

// A payload that is not the one that was accepted is never run, and the result says
// why.
func TestChangedPayload(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	w.serve(swapped{w.store, `"` + strings.Repeat("y", 200_000) + `"`}, c)
	task := w.post("changed", `"`+strings.Repeat("x", 200_000)+`"`, "a")
	r := w.await(task, tasker.Rejected)
	if !strings.Contains(r.Errmsg, "payload was changed") || c.of("changed") != 0 {
		t.Errorf("got %+v after %d runs", r, c.of("changed"))
	}
}

// A message whose payload has another digest than the stored one is a dead letter,
// and does not run: what runs, however it is found, is the stored payload.
func TestMessageOfAnotherPayload(t *testing.T) {
	w := newWorld(t)
	payloads := make(chan string, 10)
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		payloads <- string(req.Payload)
		return nil, nil
	}))
	task := w.create("one", `{"a":1}`, "a")
	forged := task
	forged.Payload = json.RawMessage(`{"a":2}`)
	w.publish(w.message(forged))
	w.until(func() string {
		if len(w.broker.DeadLetters()) == 0 {
			return "a dead letter"
		}
		return ""
	})
	if d := w.broker.DeadLetters()[0]; !strings.Contains(d.Reason, "but the message says "+wire.PayloadSHA256(forged.Payload)) {
		t.Errorf("the reason is %q", d.Reason)
	}
	w.publish(w.message(task))
	w.await(task, tasker.ResultDone)
	if got := <-payloads; got != `{"a":1}` || len(payloads) > 0 {
		t.Errorf("%s ran, and %d more", got, len(payloads))
	}
}

// Messages of each version and size are read side by side, each with its payload.
func TestMessagesOfAllForms(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 10)
	w.serve(w.store, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		got <- string(req.Payload)
		return nil, nil
	}))
	for i, form := range []wire.Form{{Version: 1}, {Version: 2, MaxPayload: 1000}, {Version: 2}} {
		payload := fmt.Sprintf(`{"n": %d}`, i)
		task := w.create(fmt.Sprint("task", i), payload, "a")
		body, err := form.Encode(task)
		if err != nil {
			t.Fatal(err)
		}
		w.publish(string(body))
		w.await(task, tasker.ResultDone)
		if s := <-got; s != payload {
			t.Errorf("%+v: got %s, want %s", form, s, payload)
		}
	}
}
