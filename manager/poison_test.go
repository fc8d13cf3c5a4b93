package manager_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/spool"
)

// picky is a database that breaks the connection on more than limit bytes of
// payload, as a server does above its max_allowed_packet.
type picky struct {
	database
	limit int

	mu     sync.Mutex
	broken int
}

func (p *picky) breaks(payload json.RawMessage) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(payload) <= p.limit {
		return false
	}
	p.broken++
	return true
}

func (p *picky) FinishAttempts(ctx context.Context, finishes []ledger.End) ([]bool, error) {
	for _, f := range finishes {
		if p.breaks(f.Payload) {
			return nil, errAway
		}
	}
	return p.database.FinishAttempts(ctx, finishes)
}

func (p *picky) SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error {
	for _, u := range updates {
		if p.breaks(u.Partial) {
			return errAway
		}
	}
	return p.database.SaveLive(ctx, updates)
}

// sized is a handler whose result has the size that its payload says.
var sized = handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
	var size int
	if err := json.Unmarshal(req.Payload, &size); err != nil {
		return nil, err
	}
	return json.Marshal(strings.Repeat("x", size))
})

// One result breaks the connection each time it is stored. The others of its batch
// are stored, and it is stored as failed without its payload.
func TestPoisonResult(t *testing.T) {
	w := newWorld(t)
	w.serve(&picky{database: w.store, limit: 1000}, sized, inSpool(t.TempDir()), jobType(func(j *tasker.TaskType) { j.Concurrency = 8 }))
	poison := w.post("poison", "5000", "a")
	var others []tasker.Task
	for _, name := range []string{"b", "c", "d", "e"} {
		others = append(others, w.post(name, "10", "a"))
	}
	for _, task := range others {
		w.await(task, tasker.ResultDone)
	}
	r := w.await(poison, tasker.ResultFailed)
	if r.Errnr != tasker.ErrnrBadResult || !strings.Contains(r.Errmsg, "5002 bytes") ||
		!strings.Contains(r.Errmsg, "could not be stored") || r.Payload != nil {
		t.Errorf("%+v", r)
	}
}

// A spooled result that cannot be stored does not keep the next manager from
// serving.
func TestServesBesideTheSpool(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	f := newFaulty(w.store, false, map[string]int{"finish": away})
	s := w.serve(f, sized, inSpool(dir))
	poison, good := w.post("poison", "5000", "a"), w.post("good", "10", "a")
	w.spooled(dir, 2)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	c := newFaulty(&picky{database: w.store, limit: 1000}, false, map[string]int{"finish": away})
	s = w.serve(c, sized, inSpool(dir))
	// It takes tasks while no spooled result can be stored, and does not judge
	// those as interrupted.
	next := w.post("next", "10", "a")
	w.await(next, tasker.Running)
	for _, task := range []tasker.Task{poison, good} {
		if r, _ := w.result(task, "a"); r.State != tasker.Running || r.Errnr != 0 {
			t.Errorf("%+v, want it to wait for the spool", r)
		}
	}
	c.set("finish", 0)
	w.await(good, tasker.ResultDone)
	w.await(next, tasker.ResultDone)
	if r := w.await(poison, tasker.ResultFailed); r.Errnr != tasker.ErrnrBadResult || r.Payload != nil || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
	w.spooled(dir, 0)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// An attempt whose end was in the spool is retried when it is due.
func TestRetryOutOfTheSpool(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	kept, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	task := w.create("one", "null", "a")
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	key := tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}
	if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{{ResultKey: key, Identifier: "one", Type: "job", State: tasker.Running, Manager: dead}}); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Keep(ledger.End{
		ResultKey: key, Attempt: 1, State: tasker.Retrying, Errnr: 1, Errmsg: "again", RetryDelay: 20 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, returning, inSpool(dir), jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{time.Hour} }))
	if r := w.await(task, tasker.ResultDone); r.Attempt != 2 {
		t.Errorf("%+v", r)
	}
	w.spooled(dir, 0)
}

// A partial result breaks the connection: the reports of other runs are stored.
func TestPoisonPartial(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	defer close(g.gate)
	p := &picky{database: w.store, limit: 1000}
	w.serve(p, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "poison" {
			req.Partial(handlers.Result(`"` + strings.Repeat("x", 5000) + `"`))
		} else {
			req.Line(tasker.StreamStdout, "hello")
		}
		return g.Handle(ctx, req)
	}))
	w.post("poison", "null", "a")
	w.until(func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.broken == 0 {
			return "the partial result to break the connection"
		}
		return ""
	})
	other := w.post("other", "null", "a")
	w.await(other, tasker.Running)
	w.until(func() string {
		if lines, _ := w.logOf(other, 1); len(lines) == 1 {
			return ""
		}
		return "the other's line"
	})
}
