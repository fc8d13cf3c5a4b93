package manager

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// nothing is a store and a broker that nobody asks for anything.
type nothing struct{ Store }

func (nothing) Now() time.Time                                     { return time.Time{} }
func (nothing) Consume(context.Context, broker.Subscription) error { return nil }
func (nothing) Notify(context.Context, string, []byte) error       { return nil }

// idle is a manager that is not run.
func idle(t *testing.T, h handlers.Handler) *Manager {
	t.Helper()
	registry := handlers.NewRegistry()
	if err := registry.Register("job", h); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}}
	m, err := New(cfg, nothing{}, nothing{}, registry, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// slow is a handler whose Close waits for a look at the executor.
type slow struct {
	handlers.Handler
	look func()
}

func (s *slow) Close() error {
	looked := make(chan struct{})
	go func() { s.look(); close(looked) }()
	<-looked
	return nil
}

// A redelivery that finds nothing to do may be what used a replaced handler
// last. That one's end, which may take long, holds nothing up.
func TestKnownClosesAHandler(t *testing.T) {
	h := &slow{Handler: handlers.Func(nil)}
	m := idle(t, h)
	e := m.executor(broker.Queue{TaskType: "job", Endpoint: "a"})
	e.behind = false
	_, how := e.admit(wire.Task{TaskID: 1, Identifier: "one", Type: "job"})
	if how == nil {
		t.Fatal("there is no slot")
	}
	closed := false
	h.look = func() { e.busy(); closed = true }
	e.retire()
	m.keep(nil)
	done := make(chan struct{})
	go func() {
		e.known(t.Context(), how, ledger.Recording{Outcome: ledger.Duplicate, State: tasker.ResultDone})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the executor waits for its own handler")
	}
	if !closed || e.busy() != 0 {
		t.Errorf("closed: %v, %d slots are taken", closed, e.busy())
	}
}
