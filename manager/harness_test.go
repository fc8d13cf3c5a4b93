package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a database, a broker and the sending side, without a manager.
type world struct {
	t      *testing.T
	file   string // of the database
	store  *storetest.Flat
	broker *local.Broker
	fleet  manager.Fleet  // usually nil
	places manager.Places // nil if the managers take no places
	log    *slog.Logger
	made   func(*manager.Manager) // called before a manager runs, if set
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	file := filepath.Join(t.TempDir(), "tasker.db")
	s, err := store.Open(store.Config{URI: "sqlite://" + file}, log)
	if err != nil {
		t.Fatal(err)
	}
	b := local.New(log)
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	storetest.Migrate(t, s)
	return &world{t: t, file: file, store: storetest.Flatten(s), broker: b, log: log}
}

// post stores and publishes a task of type job.
func (w *world) post(identifier, payload string, endpoints ...string) tasker.Task {
	w.t.Helper()
	return w.send(w.create(identifier, payload, endpoints...))
}

// send publishes a task. On a busy machine the broker may confirm it later.
func (w *world) send(task tasker.Task) tasker.Task {
	w.t.Helper()
	sent, err := dispatch.New(dispatch.Config{Timeout: dispatch.MaxTimeout}, w.store, w.broker, w.log).Dispatch(w.t.Context(), task)
	switch {
	case err == nil:
		return sent
	case !errors.Is(err, dispatch.ErrOutstanding):
		w.t.Fatal(err)
	}
	return task
}

func (w *world) create(identifier, payload string, endpoints ...string) tasker.Task {
	w.t.Helper()
	task, _, err := w.store.CreateTask(w.t.Context(), tasker.Task{
		Type: "job", Identifier: identifier, Payload: json.RawMessage(payload), Endpoints: endpoints,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

// publish sends a message body as it is to all endpoints of type job.
func (w *world) publish(body string) {
	w.t.Helper()
	_, err := w.broker.Publish(w.t.Context(), broker.Publication{TaskType: "job", Target: broker.ToAll(), MessageID: "m", Body: []byte(body)})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) message(task tasker.Task) string {
	w.t.Helper()
	body, err := wire.EncodeTask(task)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

// patience is how long a test waits without progress. Only a failing test spends
// it, so it is generous for busy machines.
const patience = 2 * time.Minute

// until polls a condition, which returns what it still waits for, or "".
func (w *world) until(condition func() string) {
	w.t.Helper()
	deadline, last := time.Now().Add(patience), ""
	for {
		missing := condition()
		if missing == "" {
			return
		}
		if missing != last {
			deadline, last = time.Now().Add(patience), missing
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("timed out waiting for %s", missing)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		}
	}
}

func (w *world) result(task tasker.Task, endpoint string) (tasker.TaskResult, bool) {
	w.t.Helper()
	results, err := w.store.TaskResults(w.t.Context(), task.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range results {
		if r.Endpoint == endpoint {
			return r, true
		}
	}
	return tasker.TaskResult{}, false
}

// await waits until the result of a task at endpoint a has a state.
func (w *world) await(task tasker.Task, state tasker.ResultState) tasker.TaskResult {
	w.t.Helper()
	var r tasker.TaskResult
	w.until(func() string {
		r, _ = w.result(task, "a")
		if r.State == state {
			return ""
		}
		return fmt.Sprintf("task %s to be %s, it is %+v", task.Identifier, state, r)
	})
	return r
}

// serving is a running manager.
type serving struct {
	stop func() error // stops it and returns the error of Run
	done <-chan error
}

// database is what a manager needs of the store, as one interface for wrappers.
type database interface {
	manager.Endpoints
	manager.Results
	manager.Attempts
	manager.Work
	manager.Live
	manager.Database
}

func parts(d database) manager.Store {
	return manager.Store{Endpoints: d, Results: d, Attempts: d, Work: d, Live: d, Database: d}
}

type option func(*manager.Config)

func jobType(change func(*tasker.TaskType)) option {
	return func(c *manager.Config) { change(&c.TaskTypes[0]) }
}

// serve runs a manager of endpoint a and waits until it is subscribed.
func (w *world) serve(s database, h handlers.Handler, options ...option) *serving {
	w.t.Helper()
	cfg := manager.Config{
		Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}},
		Heartbeat: 50 * time.Millisecond, Lease: 500 * time.Millisecond,
		ShutdownTimeout: 20 * time.Second, AbandonAfter: 2 * time.Second,
	}
	for _, option := range options {
		option(&cfg)
	}
	registry := handlers.NewRegistry()
	if h != nil {
		if err := registry.Register("job", h); err != nil {
			w.t.Fatal(err)
		}
	}
	b := signaling{Broker: w.broker, ready: make(chan struct{}, 1)}
	db := w.parts(s)
	db.Fleet = w.fleet
	m, err := manager.New(cfg, db, b, registry, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.made != nil {
		w.made(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx); close(done) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	w.t.Cleanup(func() {
		if err := stop(); err != nil && !w.t.Failed() {
			w.t.Errorf("the manager ended with: %v", err)
		}
	})
	select {
	case <-b.ready:
	case err := <-done:
		w.t.Fatalf("the manager ended with: %v", err)
	}
	return &serving{stop: stop, done: done}
}

// signaling is a broker that signals when a consumer is registered.
type signaling struct {
	*local.Broker
	ready chan struct{}
}

func (b signaling) Consume(ctx context.Context, s broker.Subscription) error {
	if s.Queue.Endpoint == "" {
		return b.Broker.Consume(ctx, s)
	}
	forward := s.Ready
	s.Ready = func(registered bool) {
		forward(registered)
		select {
		case b.ready <- struct{}{}:
		default:
		}
	}
	return b.Broker.Consume(ctx, s)
}

// counting is a handler that counts the runs of each task.
type counting struct {
	mu   sync.Mutex
	runs map[string]int
	list []string
}

func (c *counting) Handle(_ context.Context, req *handlers.Request) (handlers.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = map[string]int{}
	}
	c.runs[req.Identifier]++
	c.list = append(c.list, req.Identifier)
	return nil, nil
}

func (c *counting) of(identifier string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[identifier]
}

// gated is a handler that waits for the gate or the end of its context.
type gated struct {
	gate    chan struct{}
	started atomic.Int64
	now     atomic.Int64
	most    atomic.Int64
	causes  chan error
}

func newGated() *gated { return &gated{gate: make(chan struct{}), causes: make(chan error, 100)} }

func (g *gated) Handle(ctx context.Context, _ *handlers.Request) (handlers.Result, error) {
	g.started.Add(1)
	now := g.now.Add(1)
	defer g.now.Add(-1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	select {
	case <-g.gate:
		return nil, nil
	case <-ctx.Done():
		g.causes <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	}
}
