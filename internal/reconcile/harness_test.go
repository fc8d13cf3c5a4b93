package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/conductor"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	manager = "01AAAAAAAAAAAAAAAAAAAAAAAA"
	wait    = time.Minute // for endpoints
	month   = 30 * 24 * time.Hour
)

var (
	errAway    = tasker.Errorf(tasker.Unavailable, "the database is away")
	errRefused = fmt.Errorf("%w: it is odd", broker.ErrRefused)
)

// fakeClock is a clock that a test moves.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// faultyStore is a real store whose methods fail at the test's wish, and count
// their calls.
type faultyStore struct {
	*storetest.Flat
	mu    sync.Mutex
	fails map[string]bool
	calls map[string]int
}

func (f *faultyStore) fail(method string, fails bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[method] = fails
}

func (f *faultyStore) enter(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	if f.fails[method] {
		return errAway
	}
	return nil
}

func (f *faultyStore) called(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *faultyStore) ClaimUnsent(ctx context.Context, limit int, lease time.Duration) ([]ledger.Unsent, error) {
	if err := f.enter("ClaimUnsent"); err != nil {
		return nil, err
	}
	return f.Flat.ClaimUnsent(ctx, limit, lease)
}

func (f *faultyStore) MarkSent(ctx context.Context, task tasker.Task, unserved []string) (tasker.Task, error) {
	if err := f.enter("MarkSent"); err != nil {
		return task, err
	}
	return f.Flat.MarkSent(ctx, task, unserved)
}

func (f *faultyStore) ReleaseTask(ctx context.Context, r ledger.Release) error {
	if err := f.enter("ReleaseTask"); err != nil {
		return err
	}
	return f.Flat.ReleaseTask(ctx, r)
}

func (f *faultyStore) MarkLost(ctx context.Context, notSeenSince time.Time, limit int) ([]int64, error) {
	if err := f.enter("MarkLost"); err != nil {
		return nil, err
	}
	return f.Flat.MarkLost(ctx, notSeenSince, limit)
}

func (f *faultyStore) Aggregate(ctx context.Context, ids []int64, wait time.Duration) (int, error) {
	if err := f.enter("Aggregate"); err != nil {
		return 0, err
	}
	return f.Flat.Aggregate(ctx, ids, wait)
}

// flakyBroker is a local broker that a test can take down, and that refuses the
// first publish of some tasks.
type flakyBroker struct {
	*local.Broker
	mu        sync.Mutex
	away      bool
	refuse    map[string]bool
	bad       map[string]bool // these are refused always
	hanging   map[string]bool // these are never confirmed
	published map[string]int  // by message id
}

func (f *flakyBroker) setAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *flakyBroker) Ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return broker.ErrNotConnected
	}
	return nil
}

func (f *flakyBroker) Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error) {
	f.mu.Lock()
	refuse := f.refuse[p.MessageID] || f.bad[p.MessageID]
	hangs := f.hanging[p.MessageID]
	delete(f.refuse, p.MessageID)
	if !refuse || f.bad[p.MessageID] {
		f.published[p.MessageID]++
	}
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return broker.Receipt{}, context.Cause(ctx)
	}
	if refuse {
		return broker.Receipt{}, errRefused
	}
	return f.Broker.Publish(ctx, p)
}

// world is what the loops work with.
type world struct {
	*faultyStore
	t      *testing.T
	clock  *fakeClock
	broker *flakyBroker
	log    *slog.Logger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := &fakeClock{now: time.Date(2026, 5, 6, 1, 14, 24, 123456000, time.UTC)}
	s, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}, log, store.WithClock(c.Now))
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
	return &world{
		faultyStore: &faultyStore{Flat: storetest.Flatten(s), fails: map[string]bool{}, calls: map[string]int{}},
		t:           t, clock: c, log: log,
		broker: &flakyBroker{
			Broker: b, refuse: map[string]bool{}, bad: map[string]bool{}, hanging: map[string]bool{},
			published: map[string]int{},
		},
	}
}

// parts are the parts of the store.
func (w *world) parts() Store {
	return Store{
		Leases: w, Schedule: w, Endpoints: w, Expired: w, Unsent: w, Statuses: w, Lost: w, Retention: w, DeadLetters: w, Census: w, Holds: w,
		Rollouts: w, Conductor: w.conductor(w.dispatcher()),
	}
}

// conductor returns a conductor on the store, whose waves a sender sends.
func (w *world) conductor(sender conductor.Sender) *conductor.Conductor {
	c := conductor.New(conductor.Deps{Store: w.Rollouts, Statuses: w, Sender: sender, Broker: w.broker, Log: w.log}, time.Minute)
	w.t.Cleanup(c.Wait)
	return c
}

func (w *world) dispatcher() *dispatch.Dispatcher {
	return w.dispatcherThatWaits(time.Minute)
}

// dispatcherThatWaits for the broker as long as the caller says.
func (w *world) dispatcherThatWaits(patience time.Duration) *dispatch.Dispatcher {
	d := dispatch.New(dispatch.Config{RelayTimeout: patience}, w.faultyStore, w.broker, w.log)
	w.t.Cleanup(d.Close)
	return d
}

func (w *world) create(identifier string, endpoints ...string) tasker.Task {
	w.t.Helper()
	task, _, err := w.CreateTask(w.t.Context(), tasker.Task{Type: "worker", Identifier: identifier, Endpoints: endpoints})
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

func (w *world) createMany(count int, endpoints ...string) []tasker.Task {
	w.t.Helper()
	tasks := make([]tasker.Task, count)
	for i := range tasks {
		tasks[i] = w.create(fmt.Sprintf("t%d", i), endpoints...)
	}
	return tasks
}

// send makes a sent task.
func (w *world) send(identifier string, endpoints ...string) tasker.Task {
	w.t.Helper()
	return w.sent(w.create(identifier, endpoints...))
}

func (w *world) sent(task tasker.Task) tasker.Task {
	w.t.Helper()
	task, err := w.Flat.MarkSent(w.t.Context(), task, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

// register registers endpoints with a running lease.
func (w *world) register(endpoints ...string) {
	w.t.Helper()
	for _, name := range endpoints {
		holder, err := w.AcquireEndpoint(w.t.Context(), tasker.Endpoint{
			Name: name, Manager: manager, TaskTypes: []string{"worker"}, Host: "host", PID: 1,
		}, time.Second)
		if err != nil || holder != nil {
			w.t.Fatalf("AcquireEndpoint: holder %v, %v", holder, err)
		}
	}
}

// receive records a task as running at endpoints.
func (w *world) receive(task tasker.Task, endpoints ...string) {
	w.t.Helper()
	messages := make([]ledger.Incoming, len(endpoints))
	for i, name := range endpoints {
		messages[i] = ledger.Incoming{
			ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: name},
			Identifier: task.Identifier, Type: task.Type, State: tasker.Running, Manager: manager,
		}
	}
	recordings, err := w.ReceiveResults(w.t.Context(), messages)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range recordings {
		if a.Outcome != ledger.Recorded {
			w.t.Fatalf("not recorded: %+v", a)
		}
	}
}

// finish ends a task's first attempt at endpoints.
func (w *world) finish(task tasker.Task, state tasker.ResultState, endpoints ...string) {
	w.t.Helper()
	ends := make([]ledger.End, len(endpoints))
	for i, name := range endpoints {
		ends[i] = ledger.End{ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: name}, Attempt: 1, State: state}
	}
	stored, err := w.FinishAttempts(w.t.Context(), ends)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range stored {
		if !stored[i] {
			w.t.Fatalf("the end of %+v was not stored", ends[i].ResultKey)
		}
	}
}

func (w *world) stored(task tasker.Task) tasker.Task {
	w.t.Helper()
	stored, err := w.FindTask(w.t.Context(), task.Type, task.Identifier)
	if err != nil {
		w.t.Fatal(err)
	}
	return stored
}

// expect checks the stored status of tasks.
func (w *world) expect(status tasker.TaskStatus, tasks ...tasker.Task) {
	w.t.Helper()
	for _, task := range tasks {
		if stored := w.stored(task); stored.Status != status {
			w.t.Errorf("task %s is %s, want %s", task.Identifier, stored.Status, status)
		}
	}
}

func (w *world) summary(task tasker.Task) tasker.Summary {
	w.t.Helper()
	var outcomes []tasker.Outcome
	for _, r := range w.results(task) {
		outcomes = append(outcomes, tasker.Outcome{Endpoint: r.Endpoint, State: r.State})
	}
	return tasker.Summarize(w.stored(task).Expected, outcomes)
}

func (w *world) results(task tasker.Task) []tasker.TaskResult {
	w.t.Helper()
	results, err := w.TaskResults(w.t.Context(), task.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return results
}

// run runs one step of a loop, which must succeed. Its context ends with it, as that of
// a step of the loop does.
func (w *world) run(runOnce func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	if err := runOnce(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// until polls a condition.
func (w *world) until(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		}
	}
}

// EndOver ends holds in the database alone.
func (w *world) EndOver(ctx context.Context) error {
	_, err := w.EndHolds(ctx, pageSize)
	return err
}
