package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
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
	if _, _, err := s.Schema.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
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

func TestDispatch(t *testing.T) {
	for name, test := range map[string]struct {
		endpoints []string
		target    broker.Target
	}{
		"to all":          {nil, broker.ToAll()},
		"to those listed": {[]string{"console1", "console2"}, broker.To("console1", "console2")},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, test.endpoints...)
			sent, err := f.dispatch(t.Context(), t, dispatch.Config{})
			if err != nil || sent.Status != tasker.Sent || sent.SentTime == nil {
				t.Fatalf("got %+v, %v", sent, err)
			}
			if stored := f.stored(t); stored.Status != tasker.Sent {
				t.Errorf("stored task: %s", stored.Status)
			}
			if f.claimable(t) {
				t.Error("the relay can claim a sent task")
			}
			body, err := wire.EncodeTask(f.task)
			if err != nil {
				t.Fatal(err)
			}
			want := []broker.Publication{{
				TaskType: "worker", Target: test.target, MessageID: wire.MessageID(f.task.ID), Body: body, Once: true,
				Transient: true, Copies: len(test.endpoints),
			}}
			if !reflect.DeepEqual(f.broker.published, want) {
				t.Errorf("published %+v, want %+v", f.broker.published, want)
			}
		})
	}
}

// A task whose listed endpoints were all removed is for none, not for all.
func TestDispatchToNobody(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.task.RemovedEndpoints = []string{"console1", "console2"}
	if sent, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || sent.Status != tasker.Sent {
		t.Fatalf("got %+v, %v", sent, err)
	}
	if len(f.broker.published) > 0 {
		t.Errorf("published %+v", f.broker.published)
	}
}

// After a failed publish the task stays CREATED, and the relay can claim it after
// a pause.
func TestPublishFails(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	if f.claimable(t) {
		t.Fatal("the relay can claim a task that the API is publishing")
	}
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if !errors.Is(err, errRefused) || task.ID != f.task.ID || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if f.marked.Load() != 0 || f.stored(t).Status != tasker.Created {
		t.Errorf("the task was marked as sent: %s", f.stored(t).Status)
	}
	if f.claimable(t) {
		t.Error("no pause after the broker refused the task")
	}
	if total, refused, err := f.RefusedTasks(t.Context(), 10); err != nil || total != 1 || refused[0].Reason != errRefused.Error() {
		t.Errorf("refused: %d %+v, %v", total, refused, err)
	}
	*f.clock = 7 * time.Second
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("the relay cannot claim the task: %v, %v", claimed, err)
	}
	// From now on it is published apart, with growing pauses.
	if _, err := f.dispatcher(t, slow).Resume(t.Context(), claimed[0]); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	if p := f.broker.published; len(p) != 2 || p[0].Apart || !p[1].Apart {
		t.Errorf("published %+v", p)
	}
	*f.clock = 7*time.Second + 9*time.Second
	if f.claimable(t) {
		t.Error("the second pause is not longer than the first")
	}
	*f.clock += 5 * time.Second
	if !f.claimable(t) {
		t.Error("the relay cannot claim the task after the second pause")
	}
}

// A publish that takes too long goes on without its caller until the confirm, and
// nobody publishes the task again meanwhile.
func TestPublishTakesTooLong(t *testing.T) {
	f := setUp(t)
	confirm := make(chan struct{})
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		<-confirm
		return broker.Receipt{}, ctx.Err()
	}
	d := f.dispatcher(t, dispatch.Config{Timeout: time.Millisecond})
	if task, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, dispatch.ErrOutstanding) || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if f.claimable(t) {
		t.Error("the relay can claim a task that may still be confirmed")
	}
	*f.clock = time.Hour // as if the claim had not been renewed
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	if _, err := d.Resume(t.Context(), claimed[0]); !errors.Is(err, dispatch.ErrOutstanding) {
		t.Errorf("got %v", err)
	}
	close(confirm)
	for deadline := time.Now().Add(time.Minute); f.stored(t).Status != tasker.Sent; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("task is %s", f.stored(t).Status)
		}
	}
	d.Close()
	if n := len(f.broker.published); n != 1 {
		t.Errorf("task published %d times", n)
	}
}

// Close releases the task to the relay.
func TestCloseEndsAttempts(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		<-ctx.Done()
		return broker.Receipt{}, context.Cause(ctx)
	}
	d := f.dispatcher(t, dispatch.Config{Timeout: time.Millisecond})
	if _, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, dispatch.ErrOutstanding) {
		t.Errorf("got %v", err)
	}
	d.Close()
	if f.claimable(t) {
		t.Error("the relay can claim the task without a pause")
	}
	*f.clock = 2 * time.Second
	if !f.claimable(t) {
		t.Error("the relay cannot claim the task")
	}
}

// If the release fails as well, the relay claims the task later; the error
// returned is that of the publish.
func TestReleaseFails(t *testing.T) {
	f := setUp(t)
	f.releaseFails = true
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, errRefused }
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{}); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	if stored := f.stored(t); stored.Status != tasker.Created {
		t.Errorf("stored task: %s", stored.Status)
	}
}

// A dispatch does not wait for a broker that is not ready.
func TestNotReady(t *testing.T) {
	f := setUp(t)
	f.broker.notReady = broker.ErrNotConnected
	task, err := f.dispatch(t.Context(), t, dispatch.Config{})
	if !errors.Is(err, broker.ErrNotConnected) || task.Status != tasker.Created {
		t.Errorf("got %+v, %v", task, err)
	}
	if len(f.broker.published) != 0 {
		t.Error("published to a broker that is not ready")
	}
	if !f.claimable(t) {
		t.Error("the relay cannot claim the task")
	}
}

// If marking the task as sent fails, it stays CREATED, and the relay publishes its
// message again with the same id.
func TestMarkSentFails(t *testing.T) {
	f := setUp(t)
	f.markFails = true
	task, err := f.dispatch(t.Context(), t, slow)
	if tasker.CodeOf(err) != tasker.Unavailable || task.ID != f.task.ID {
		t.Errorf("got %+v, %v", task, err)
	}
	if stored := f.stored(t); stored.Status != tasker.Created || stored.SentTime != nil {
		t.Errorf("stored task: %+v", stored)
	}
	if n := f.marked.Load(); n < 2 {
		t.Errorf("tried to mark the task %d times before publishing it again", n)
	}
	f.markFails = false
	if task, err = f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
		t.Errorf("the second time: %+v, %v", task, err)
	}
	if p := f.broker.published; len(p) != 2 || p[0].MessageID != p[1].MessageID || !slices.Equal(p[0].Body, p[1].Body) {
		t.Errorf("published %+v", p)
	}
}

// Nothing is published to endpoints that are not registered, and they are reported
// at once even if the broker is away.
func TestNotRegistered(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.task.Endpoints = []string{"console1", "console2", "ghost1", "ghost2"}
	ghosts := f.task.Endpoints[2:]
	d := f.dispatcher(t, slow)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{}, broker.ErrNotConnected }
	if task, err := d.Dispatch(t.Context(), f.task); err == nil || !slices.Equal(task.Unserved, ghosts) {
		t.Errorf("got %+v, %v", task, err)
	}
	f.broker.publish = nil
	f.register(t, "ghost2") // missing from the cache, but found
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 || claimed[0].Attempt != 1 {
		t.Fatal(claimed, err)
	}
	claimed[0].Endpoints = f.task.Endpoints
	sent, err := d.Resume(t.Context(), claimed[0])
	if err != nil || sent.Status != tasker.Sent || !slices.Equal(sent.Unserved, []string{"ghost1"}) {
		t.Errorf("got %+v, %v", sent, err)
	}
	if got, want := f.broker.targets(), []string{"console1", "console2", "console1", "console2", "ghost2"}; !slices.Equal(got, want) {
		t.Errorf("published to %v, want %v", got, want)
	}
	// If the registrations cannot be read, publish to all.
	f.registryFails = true
	sent, err = f.dispatcher(t, dispatch.Config{}).Dispatch(t.Context(), f.task)
	if err != nil || len(f.broker.targets()) != 9 {
		t.Errorf("published to %v: %+v, %v", f.broker.targets(), sent, err)
	}
}

// A long list is published slice by slice; the next attempt continues where one
// was cut off.
func TestLongList(t *testing.T) {
	endpoints := make([]string, 600)
	for i := range endpoints {
		endpoints[i] = fmt.Sprintf("console%03d", i)
	}
	f := setUp(t, endpoints...)
	f.broker.publish = func(context.Context) (broker.Receipt, error) {
		if len(f.broker.targets()) > 300 {
			return broker.Receipt{}, broker.ErrUnconfirmed
		}
		return broker.Receipt{Unserved: []string{"console007"}}, nil
	}
	d := f.dispatcher(t, slow)
	if _, err := d.Dispatch(t.Context(), f.task); !errors.Is(err, broker.ErrUnconfirmed) {
		t.Errorf("got %v", err)
	}
	first := len(f.broker.targets())
	f.broker.publish = nil
	*f.clock = time.Minute
	claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	sent, err := d.Resume(t.Context(), claimed[0])
	if err != nil || sent.Status != tasker.Sent || !slices.Equal(sent.Unserved, []string{"console007"}) {
		t.Errorf("got %v %v, %v", sent.Status, sent.Unserved, err)
	}
	second := f.broker.targets()[first:]
	if first != 512 || len(second) != 600-256 || second[0] != "console256" {
		t.Errorf("published to %d, and then to %d from %s on", first, len(second), second[0])
	}
}

// What awaits the broker's confirm is bounded by copies, not by tasks. Beyond the
// bound a task is left to the relay, and the backlog drains as the broker confirms.
func TestLoad(t *testing.T) {
	f := setUp(t)
	names := make([]string, 300)
	for i := range names {
		names[i] = fmt.Sprint("console", i)
	}
	f.register(t, names...)
	confirm := make(chan struct{})
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		select {
		case <-confirm:
		case <-ctx.Done():
		}
		return broker.Receipt{}, ctx.Err()
	}
	const tasks = 40
	d := f.dispatcher(t, dispatch.Config{Timeout: 50 * time.Millisecond})
	var posts sync.WaitGroup
	for i := range tasks {
		task, _, err := f.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: fmt.Sprint("t", i)})
		if err != nil {
			t.Fatal(err)
		}
		posts.Go(func() {
			if _, err := d.Dispatch(t.Context(), task); !errors.Is(err, dispatch.ErrOutstanding) && !errors.Is(err, dispatch.ErrBusy) {
				t.Errorf("task %d: %v", i, err)
			}
		})
	}
	posts.Wait()
	deadline := time.Now().Add(time.Minute)
	for copies := 0; copies < 8192-len(names); {
		f.broker.mu.Lock()
		copies = len(f.broker.published) * len(names)
		f.broker.mu.Unlock()
		if copies > 8192 || time.Now().After(deadline) {
			t.Fatalf("%d copies await a confirm", copies)
		}
		runtime.Gosched()
	}
	close(confirm)
	for sent := 0; sent < tasks; {
		claimed, err := f.ClaimUnsent(t.Context(), 10, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range claimed {
			_, _ = d.Resume(t.Context(), u)
		}
		list, _, err := f.ListTasks(t.Context(), tasker.TaskQuery{Type: "worker", Status: tasker.Sent, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		if sent = len(list); time.Now().After(deadline) {
			t.Fatalf("%d of %d tasks were sent", sent, tasks)
		}
	}
	f.broker.mu.Lock()
	defer f.broker.mu.Unlock()
	// On a slow machine the database may not store every mark in time.
	if n := len(f.broker.published); f.broker.twice || n > tasks+tasks/2 {
		t.Errorf("%d tasks published %d times, one of them again before its confirm: %t", tasks, n, f.broker.twice)
	}
}

// Check refuses what is larger than the broker accepts: the payload, if the message
// carries it.
func TestCheck(t *testing.T) {
	f := setUp(t, "console1")
	large, huge := 10_000, (1<<30)/5000+1
	check := func(protocol, bytes, endpoints, most int) tasker.Code {
		t.Helper()
		f.registerReading(t, protocol, "console1")
		f.broker.most = most
		task := f.task
		task.Payload, task.Endpoints = make([]byte, bytes), make([]string, endpoints)
		return tasker.CodeOf(f.dispatcher(t, dispatch.Config{MaxPayload: 20_000}).Check(t.Context(), task))
	}
	for name, test := range map[string]struct {
		got, want tasker.Code
	}{
		"without a limit":           {check(2, large, 0, 0), ""},
		"too large":                 {check(2, large, 0, 10_000), tasker.TooLarge},
		"small enough":              {check(2, large, 0, 11_000), ""},
		"not carried":               {check(2, 30_000, 0, 11_000), ""},
		"carried by version 1":      {check(1, 30_000, 0, 11_000), tasker.TooLarge},
		"listed, not carried":       {check(2, huge, 5000, 0), ""},
		"listed, and all too large": {check(1, huge, 5000, 0), tasker.Invalid},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %q, want %q", name, test.got, test.want)
		}
	}
}

// Version 1 is published as long as an endpoint of the type reads only that, and
// while it is unknown what they read.
func TestVersionOfMessages(t *testing.T) {
	const payload = `{"foo":"bar"}`
	for name, test := range map[string]struct {
		protocols []int // of the endpoints
		unknown   bool
		most      int64
		version   int
		carries   bool
	}{
		"no endpoint":          {version: 2, carries: true},
		"all new":              {protocols: []int{2, 2}, version: 2, carries: true},
		"of a later release":   {protocols: []int{3, 3}, version: 2, carries: true},
		"one old":              {protocols: []int{2, 1, 2}, most: 5, version: 1, carries: true},
		"without its protocol": {protocols: []int{0}, version: 1, carries: true},
		"unknown":              {protocols: []int{2}, unknown: true, version: 1, carries: true},
		"large":                {protocols: []int{2}, most: 5, version: 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			for i, protocol := range test.protocols {
				f.registerReading(t, protocol, fmt.Sprint("console", i))
			}
			f.registryFails = test.unknown
			if _, err := f.dispatch(t.Context(), t, dispatch.Config{MaxPayload: test.most}); err != nil {
				t.Fatal(err)
			}
			got, err := wire.DecodeTask(f.broker.published[0].Body)
			if err != nil || got.Version != test.version || test.carries != (string(got.Payload) == payload) {
				t.Errorf("published %s, %v", f.broker.published[0].Body, err)
			}
		})
	}
}

// Listed endpoints without a queue are recorded as unserved and stay expected.
func TestUnserved(t *testing.T) {
	f := setUp(t, "console1", "console2")
	f.broker.publish = func(context.Context) (broker.Receipt, error) {
		return broker.Receipt{Unserved: []string{"console2"}}, nil
	}
	if _, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil {
		t.Fatal(err)
	}
	stored := f.stored(t)
	if stored.Status != tasker.Sent || !slices.Equal(stored.Unserved, []string{"console2"}) ||
		!slices.Equal(stored.Expected, []string{"console1", "console2"}) {
		t.Errorf("stored task: %+v", stored)
	}
}

// A task for all that no queue takes is not an error: it is sent, and INCOMPLETE
// later.
func TestUnrouted(t *testing.T) {
	f := setUp(t)
	f.broker.publish = func(context.Context) (broker.Receipt, error) { return broker.Receipt{Unrouted: true}, nil }
	if task, err := f.dispatch(t.Context(), t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
		t.Errorf("got %+v, %v", task, err)
	}
}

// A dispatch goes on if its caller leaves, before or during it.
func TestCallerLeaves(t *testing.T) {
	f := setUp(t)
	ctx, leave := context.WithCancel(t.Context())
	f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
		leave()
		return broker.Receipt{}, ctx.Err()
	}
	for range 2 {
		if task, err := f.dispatch(ctx, t, dispatch.Config{}); err != nil || task.Status != tasker.Sent {
			t.Errorf("got %+v, %v", task, err)
		}
	}
}

// receive records a task at an endpoint.
func (f fixture) receive(t *testing.T, endpoint string) {
	t.Helper()
	got, err := f.ReceiveResults(t.Context(), []ledger.Incoming{{
		ResultKey: tasker.ResultKey{TaskID: f.task.ID, Endpoint: endpoint}, Manager: "01AAAAAAAAAAAAAAAAAAAAAAAA",
		Identifier: f.task.Identifier, Type: f.task.Type, State: tasker.Received,
	}})
	if err != nil || got[0].Outcome != ledger.Recorded {
		t.Fatal(got, err)
	}
}

// A task for all is sent when an endpoint has received it, however long the confirm
// for all queues takes. If that does not come, the message is published again.
func TestSentWhenReceived(t *testing.T) {
	for name, cut := range map[string]error{"confirmed late": nil, "cut": broker.ErrUnconfirmed} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.register(t, "console1", "console2")
			end := make(chan struct{})
			f.broker.publish = func(ctx context.Context) (broker.Receipt, error) {
				select {
				case <-end:
				case <-ctx.Done():
				}
				if f.broker.count() > 1 {
					return broker.Receipt{}, nil
				}
				return broker.Receipt{}, cut
			}
			d := f.dispatcher(t, slow)
			answered := make(chan tasker.Task, 1)
			go func() {
				sent, err := d.Dispatch(t.Context(), f.task)
				if err != nil {
					t.Error(err)
				}
				answered <- sent
			}()
			f.receive(t, "console1")
			if sent := <-answered; sent.Status != tasker.Sent || f.stored(t).Status != tasker.Sent {
				t.Errorf("answered %+v", sent)
			}
			close(end)
			want := 1
			if cut != nil {
				want = 2
			}
			deadline := time.Now().Add(time.Minute)
			for f.broker.count() < want && time.Now().Before(deadline) {
				runtime.Gosched()
			}
			d.Close()
			if n := f.broker.count(); n != want || f.broker.twice {
				t.Errorf("published %d times, want %d; again before its confirm: %t", n, want, f.broker.twice)
			}
		})
	}
}

// count returns how often a message was published.
func (f *fakeBroker) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.published)
}
