package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errRefused = fmt.Errorf("%w: it is odd", broker.ErrRefused)
	// slow is a timeout generous enough for a slow machine.
	slow    = dispatch.Config{Timeout: 10 * time.Second, RelayTimeout: time.Minute}
	errAway = tasker.Errorf(tasker.Unavailable, "the database is away")
)

// fakeBroker records what is published and answers as the test tells it to.
type fakeBroker struct {
	notReady  error
	publish   func(ctx context.Context) (broker.Receipt, error)
	most      int // see MaxBody
	mu        sync.Mutex
	published []broker.Publication
	waiting   map[string]bool // message ids that await a confirm
	twice     bool            // one of them was published again before its confirm
}

func (f *fakeBroker) MaxBody() int { return f.most }

// targets returns the endpoints of what was published, in order.
func (f *fakeBroker) targets() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.published {
		all = append(all, p.Target.Endpoints()...)
	}
	return all
}

func (f *fakeBroker) Ready() error { return f.notReady }

func (f *fakeBroker) Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error) {
	f.mu.Lock()
	f.published = append(f.published, p)
	if f.waiting == nil {
		f.waiting = map[string]bool{}
	}
	f.twice = f.twice || f.waiting[p.MessageID]
	f.waiting[p.MessageID] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.waiting, p.MessageID)
	}()
	if f.publish == nil {
		return broker.Receipt{}, ctx.Err()
	}
	return f.publish(ctx)
}

// faultyStore fails as the test tells it to.
type faultyStore struct {
	*storetest.Flat
	markFails, releaseFails, registryFails bool
	marked                                 atomic.Int32
}

func (f *faultyStore) RegisteredEndpoints(ctx context.Context, taskType string, among []string) ([]string, error) {
	if f.registryFails {
		return nil, errAway
	}
	return f.Flat.RegisteredEndpoints(ctx, taskType, among)
}

func (f *faultyStore) MarkSent(ctx context.Context, task tasker.Task, unserved []string) (tasker.Task, error) {
	f.marked.Add(1)
	if f.markFails {
		return task, errAway
	}
	return f.Flat.MarkSent(ctx, task, unserved)
}

func (f *faultyStore) ReleaseTask(ctx context.Context, r ledger.Release) error {
	if f.releaseFails {
		return errAway
	}
	return f.Flat.ReleaseTask(ctx, r)
}

// fixture is a stored task and its dispatcher.
type fixture struct {
	*faultyStore
	broker *fakeBroker
	task   tasker.Task
	clock  *time.Duration // how far it is ahead
}

func setUp(t *testing.T, endpoints ...string) fixture {
	t.Helper()
	t.Parallel()
	ahead := new(time.Duration)
	s, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}, slog.New(slog.DiscardHandler),
		store.WithClock(func() time.Time { return time.Now().Add(*ahead) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	storetest.Migrate(t, s)
	task, _, err := s.Tasks.CreateTask(t.Context(), tasker.Task{
		Type: "worker", Identifier: "one", Payload: []byte(`{"foo":"bar"}`), Endpoints: endpoints,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{&faultyStore{Flat: storetest.Flatten(s)}, &fakeBroker{}, task, ahead}
	f.register(t, endpoints...)
	return f
}

// register registers endpoints that read the newest version of messages.
func (f fixture) register(t *testing.T, endpoints ...string) {
	t.Helper()
	f.registerReading(t, wire.Version, endpoints...)
}

func (f fixture) registerReading(t *testing.T, protocol int, endpoints ...string) {
	t.Helper()
	for _, name := range endpoints {
		e := tasker.Endpoint{Name: name, Manager: "01AAAAAAAAAAAAAAAAAAAAAAAA", TaskTypes: []string{"worker"}, Protocol: protocol}
		if _, err := f.AcquireEndpoint(t.Context(), e, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}

func (f fixture) dispatcher(t *testing.T, cfg dispatch.Config) *dispatch.Dispatcher {
	t.Helper()
	d := dispatch.New(cfg, f.faultyStore, f.broker, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(d.Close)
	return d
}

func (f fixture) dispatch(ctx context.Context, t *testing.T, cfg dispatch.Config) (tasker.Task, error) {
	t.Helper()
	return f.dispatcher(t, cfg).Dispatch(ctx, f.task)
}

func (f fixture) stored(t *testing.T) tasker.Task {
	t.Helper()
	task, err := f.FindTask(t.Context(), "worker", "one")
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// claimable reports whether the relay can claim the task now.
func (f fixture) claimable(t *testing.T) bool {
	t.Helper()
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return len(claimed) == 1
}

// count returns how often a message was published.
func (f *fakeBroker) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.published)
}
