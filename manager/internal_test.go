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

// nothing is a database and a broker that are not used.
type nothing struct{}

func (nothing) Now() time.Time                                     { return time.Time{} }
func (nothing) Answered(error) bool                                { return false }
func (nothing) Consume(context.Context, broker.Subscription) error { return nil }
func (nothing) Notify(context.Context, string, []byte) error       { return nil }

func (nothing) ListenControl(context.Context, []string, func([]byte)) error { return nil }

// idle returns a manager that does not run.
func idle(t *testing.T, h handlers.Handler) *Manager {
	t.Helper()
	registry := handlers.NewRegistry()
	if err := registry.Register("job", h); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}}
	m, err := New(cfg, Store{Database: nothing{}}, nothing{}, registry, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// slow is a handler whose Close waits for a look at the pool.
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

// A duplicate may be the last user of a replaced handler. Closing that, which may
// take long, does not hold up the pool.
func TestDuplicateClosesAHandler(t *testing.T) {
	h := &slow{Handler: handlers.Func(nil)}
	m := idle(t, h)
	p := m.pools.get(broker.Queue{TaskType: "job", Endpoint: "a"})
	p.behind = false
	_, b := p.acquire(wire.Task{TaskID: 1, Identifier: "one", Type: "job"}, false)
	if b == nil {
		t.Fatal("no slot")
	}
	closed := false
	h.look = func() { p.busy(); closed = true }
	p.bind(nil)
	m.reloader.setRegistered(nil)
	done := make(chan struct{})
	go func() {
		p.onDuplicate(t.Context(), b, ledger.Recording{Outcome: ledger.Duplicate, State: tasker.ResultDone})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the pool waits for the handler")
	}
	if !closed || p.busy() != 0 {
		t.Errorf("closed: %v, %d slots taken", closed, p.busy())
	}
}

// large is a fleet of ten thousand endpoints.
type large struct{}

func (large) CountSeen(context.Context, time.Time) (int, error) { return 10_000, nil }

// In a large fleet an endpoint looks less often for what was lost.
func TestScansAreRareInALargeFleet(t *testing.T) {
	cfg := Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}}
	m, err := New(cfg, Store{Database: nothing{}, Fleet: large{}}, nothing{}, handlers.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if period := m.resync.stretch(time.Minute); period != time.Minute {
		t.Errorf("%s before the fleet is counted", period)
	}
	m.resync.count(t.Context())
	if period := m.resync.stretch(time.Minute); period != 10*time.Minute {
		t.Errorf("%s", period)
	}
}
