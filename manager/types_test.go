package manager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/manager"
)

// wants is a schema that accepts only one payload.
type wants string

func (s wants) Validate(payload json.RawMessage) error {
	if string(payload) != string(s) {
		return fmt.Errorf("/payload: want %s", string(s))
	}
	return nil
}

func schema(s tasker.PayloadValidator) option {
	return jobType(func(j *tasker.TaskType) { j.Payloads = s })
}

// A payload that breaks the schema is rejected: it does not reach the handler and
// is not retried.
func TestSchema(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	g := newGated()
	w.serve(w.store, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if _, err := c.Handle(ctx, req); err != nil || req.Identifier != "good" {
			return nil, err
		}
		return g.Handle(ctx, req)
	}), schema(wants(`{"a": 1}`)), jobType(func(j *tasker.TaskType) {
		j.Concurrency, j.Retry = 1, tasker.RetryPolicy{Delays: make([]time.Duration, 3)}
	}))
	bad := w.post("bad", `{"a": 2}`, "a") // with a slot at once
	if r := w.await(bad, tasker.Rejected); r.Errnr != tasker.ErrnrRejected || r.Errmsg != `/payload: want {"a": 1}` || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
	good := w.post("good", `{"a": 1}`, "a")
	w.await(good, tasker.Running)
	waits := w.post("waits", "null", "a")
	w.await(waits, tasker.Received)
	close(g.gate)
	w.await(waits, tasker.Rejected)
	w.await(good, tasker.ResultDone)
	if c.of("bad") != 0 || c.of("waits") != 0 || c.of("good") != 1 {
		t.Errorf("runs: %v", c.runs)
	}
}

func TestLabels(t *testing.T) {
	w := newWorld(t)
	types := func(c *manager.Config) {
		c.Labels = map[string]string{"role": "web", "zone": "eu"}
		c.TaskTypes[0].Labels = map[string]string{"role": "web"}
		c.TaskTypes = append(c.TaskTypes, tasker.TaskType{Name: "other", Labels: map[string]string{"role": "db", "zone": "eu"}},
			tasker.TaskType{Name: "third", Labels: map[string]string{"disk": ""}})
	}
	w.serve(w.store, &counting{}, types)
	list, err := w.store.ListEndpoints(t.Context(), tasker.EndpointQuery{Limit: 1})
	if err != nil || len(list) != 1 || fmt.Sprint(list[0].TaskTypes) != "[job]" ||
		!maps.Equal(list[0].Labels, map[string]string{"role": "web", "zone": "eu"}) {
		t.Errorf("%+v, %v", list, err)
	}
	var log bytes.Buffer
	cfg := manager.Config{Endpoints: []string{"b"}, TaskTypes: []tasker.TaskType{{
		Name:   "other",
		Labels: map[string]string{"role": "db", "zone": "eu"},
	}}}
	_, err = manager.New(cfg, w.parts(w.store), w.broker, handlers.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if tasker.CodeOf(err) != tasker.Invalid || strings.Count(log.String(), "type=other lacks=\"role=db, zone=eu\"") != 1 {
		t.Errorf("%v, log:\n%s", err, log.String())
	}
}

// unable is a handler whose Check fails.
type unable struct{ handlers.Func }

func (unable) Check() error { return errors.New("the program is missing") }

// synced is a buffer for concurrent use.
type synced struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// A handler that cannot work on the machine is logged at the start, and the manager
// serves.
func TestHandlersAreChecked(t *testing.T) {
	w := newWorld(t)
	log := &synced{}
	w.log = slog.New(slog.NewTextHandler(log, nil))
	h := handlers.Wrap(unable{func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, nil }},
		func(h handlers.Handler) handlers.Handler { return handlers.Func(h.Handle) })
	w.serve(w.store, h)
	w.await(w.post("one", "null", "a"), tasker.ResultDone)
	want := `level=ERROR msg="handler cannot work on this machine: its tasks will fail"`
	if text := log.String(); strings.Count(text, want) != 1 || !strings.Contains(text, `type=job err="the program is missing"`) {
		t.Errorf("log:\n%s", text)
	}
}

// prepared is a handler that remembers whether it was prepared.
type prepared struct{ ready atomic.Bool }

func (p *prepared) Prepare(context.Context, *slog.Logger) { p.ready.Store(true) }

func (p *prepared) Handle(context.Context, *handlers.Request) (handlers.Result, error) {
	return json.Marshal(p.ready.Load())
}

func TestPrepare(t *testing.T) {
	w := newWorld(t)
	w.serve(w.store, handlers.Wrap(&prepared{}, func(h handlers.Handler) handlers.Handler { return handlers.Func(h.Handle) }))
	if r := w.await(w.post("one", "null", "a"), tasker.ResultDone); string(r.Payload) != "true" {
		t.Errorf("ran unprepared: %s", r.Payload)
	}
}
