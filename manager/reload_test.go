package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/manager"
)

// closing is a handler that checks that it is closed once, after its last run.
type closing struct {
	handlers.Handler
	t      *testing.T
	runs   atomic.Int64
	closed atomic.Int64
}

func (c *closing) Handle(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
	c.runs.Add(1)
	defer c.runs.Add(-1)
	if c.closed.Load() > 0 {
		c.t.Errorf("task %s ran with a closed handler", req.Identifier)
	}
	return c.Handler.Handle(ctx, req)
}

func (c *closing) Close() error {
	if c.runs.Load() > 0 {
		c.t.Error("running handler closed")
	}
	if c.closed.Add(1) > 1 {
		c.t.Error("handler closed twice")
	}
	return nil
}

// reloadable is a running manager of endpoint a.
type reloadable struct {
	*manager.Manager
	stop   func() error
	broker *counted
}

// counted is a broker that counts the consumers of each task type.
type counted struct {
	*local.Broker
	mu       sync.Mutex
	consumed map[string]int
}

func (b *counted) Consume(ctx context.Context, s broker.Subscription) error {
	forward := s.Ready
	s.Ready = func(registered bool) {
		forward(registered)
		b.mu.Lock()
		defer b.mu.Unlock()
		if registered {
			b.consumed[s.Queue.TaskType]++
		} else {
			b.consumed[s.Queue.TaskType]--
		}
	}
	return b.Broker.Consume(ctx, s)
}

// consumers waits until a type has that many consumers.
func (r *reloadable) consumers(w *world, taskType string, n int) {
	w.t.Helper()
	w.until(func() string {
		r.broker.mu.Lock()
		defer r.broker.mu.Unlock()
		if got := r.broker.consumed[taskType]; got != n {
			return fmt.Sprintf("%d consumers of %s, there are %d", n, taskType, got)
		}
		return ""
	})
}

// registry returns a registry of handlers by task type.
func registry(t *testing.T, list map[string]handlers.Handler) *handlers.Registry {
	t.Helper()
	r := handlers.NewRegistry()
	for name, h := range list {
		if err := r.Register(name, h); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (w *world) reloadable(types []tasker.TaskType, list map[string]handlers.Handler) *reloadable {
	w.t.Helper()
	return w.reloadableOn(w.store, types, list)
}

func (w *world) reloadableOn(s database, types []tasker.TaskType, list map[string]handlers.Handler) *reloadable {
	w.t.Helper()
	cfg := manager.Config{
		Endpoints: []string{"a"}, TaskTypes: types,
		Heartbeat: 50 * time.Millisecond, Lease: 500 * time.Millisecond, ShutdownTimeout: 20 * time.Second,
		CatchUp: time.Hour, // nothing is found by the time that passes
	}
	b := &counted{Broker: w.broker, consumed: map[string]int{}}
	m, err := manager.New(cfg, w.parts(s), b, registry(w.t, list), w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	r := &reloadable{Manager: m, broker: b}
	ended := false
	r.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	w.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			w.t.Error(err)
		}
	})
	r.consumers(w, types[0].Name, 1)
	return r
}

// postOf stores and publishes a task of a type for endpoint a.
func (w *world) postOf(taskType, identifier string) tasker.Task {
	w.t.Helper()
	task, _, err := w.store.CreateTask(w.t.Context(), tasker.Task{
		Type: taskType, Identifier: identifier, Payload: json.RawMessage("null"), Endpoints: []string{"a"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(task)
}

func (w *world) registered(types ...string) {
	w.t.Helper()
	w.until(func() string {
		list, err := w.store.ListEndpoints(w.t.Context(), tasker.EndpointQuery{Limit: 1})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(list) == 1 && slices.Equal(list[0].TaskTypes, types) {
			return ""
		}
		return fmt.Sprintf("the types %v, there are %+v", types, list)
	})
}

func reload(t *testing.T, m *reloadable, types []tasker.TaskType, list map[string]handlers.Handler) {
	t.Helper()
	if err := m.Reload(types, registry(t, list)); err != nil {
		t.Fatal(err)
	}
}

func (g *gated) until(w *world, started int64) {
	w.t.Helper()
	w.until(func() string {
		if n := g.started.Load(); n != started {
			return fmt.Sprintf("%d runs, there are %d", started, n)
		}
		return ""
	})
}

// A run keeps the handler that it began with, however often that is replaced, and
// the handler is closed after the run.
func TestReloadReplacesHandlers(t *testing.T) {
	w := newWorld(t)
	oldGate, newGate := newGated(), newGated()
	before, after := &closing{Handler: oldGate, t: t}, &closing{Handler: newGate, t: t}
	job := []tasker.TaskType{{Name: "job"}}
	m := w.reloadable(job, map[string]handlers.Handler{"job": before})
	first := w.post("first", "null", "a")
	oldGate.until(w, 1)
	reload(t, m, job, map[string]handlers.Handler{"job": after})
	second := w.post("second", "null", "a")
	newGate.until(w, 1)
	if n := before.closed.Load(); n != 0 {
		t.Errorf("closed %d times", n)
	}
	reload(t, m, job, map[string]handlers.Handler{"job": after}) // the same: it stays
	close(oldGate.gate)
	w.await(first, tasker.ResultDone)
	w.until(func() string {
		if before.closed.Load() == 1 {
			return ""
		}
		return "the old handler to be closed"
	})
	close(newGate.gate)
	w.await(second, tasker.ResultDone)
	if n := after.closed.Load(); n != 0 {
		t.Errorf("new handler closed %d times", n)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if before.closed.Load() != 1 || after.closed.Load() != 1 {
		t.Errorf("closed: %d, %d", before.closed.Load(), after.closed.Load())
	}
	if err := m.Reload(job, registry(t, nil)); tasker.CodeOf(err) != tasker.Conflict {
		t.Errorf("after the end: %v", err)
	}
}

// More slots are available at once; fewer take effect as runs end.
func TestReloadChangesSlots(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	slots := func(n int) []tasker.TaskType { return []tasker.TaskType{{Name: "job", Concurrency: n}} }
	list := map[string]handlers.Handler{"job": g}
	m := w.reloadable(slots(1), list)
	for i := range 8 {
		w.post(fmt.Sprint("t", i), "null", "a")
	}
	g.until(w, 1)
	reload(t, m, slots(3), list)
	g.until(w, 3)
	reload(t, m, slots(2), list)
	g.gate <- struct{}{} // one ends: its slot is gone
	g.gate <- struct{}{} // this one's is not
	g.until(w, 4)
	if now := g.now.Load(); now != 2 {
		t.Errorf("%d runs at once", now)
	}
	close(g.gate)
	g.until(w, 8)
	if most := g.most.Load(); most != 3 {
		t.Errorf("%d ran at once", most)
	}
}

// Attempts that start later have the new limits.
func TestReloadChangesLimits(t *testing.T) {
	w := newWorld(t)
	list := map[string]handlers.Handler{"job": handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "fails" {
			return nil, context.Canceled
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})}
	m := w.reloadable([]tasker.TaskType{{Name: "job", Concurrency: 1}}, list)
	w.await(w.post("fails", "null", "a"), tasker.ResultFailed)
	reload(t, m, []tasker.TaskType{{Name: "job", Concurrency: 1, Timeout: 50 * time.Millisecond}}, list)
	w.await(w.post("slow", "null", "a"), tasker.TimedOut)
	reload(t, m, []tasker.TaskType{{Name: "job", Payloads: wants("1")}}, list)
	w.await(w.post("rejected", "null", "a"), tasker.Rejected)
}

// A type that is added is registered and performed, including tasks sent before.
// One that is removed is not performed until it comes back.
func TestReloadChangesTypes(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	g := newGated()
	gate := &closing{Handler: g, t: t}
	job, other := tasker.TaskType{Name: "job", Concurrency: 1}, tasker.TaskType{Name: "other"}
	m := w.reloadable([]tasker.TaskType{job}, map[string]handlers.Handler{"job": gate})
	w.await(w.post("running", "null", "a"), tasker.Running)
	g.until(w, 1)
	waits := w.post("waits", "null", "a")
	w.await(waits, tasker.Received)
	early := w.postOf("other", "early") // nobody is there

	reload(t, m, []tasker.TaskType{job, other}, map[string]handlers.Handler{"job": gate, "other": c})
	w.registered("job", "other")
	w.await(early, tasker.ResultDone)
	w.await(w.postOf("other", "later"), tasker.ResultDone)

	reload(t, m, []tasker.TaskType{other}, map[string]handlers.Handler{"other": c})
	w.registered("other")
	m.consumers(w, "job", 0)
	late := w.post("late", "null", "a")
	w.await(w.postOf("other", "another"), tasker.ResultDone)
	if n := gate.closed.Load(); n != 0 {
		t.Errorf("running handler closed %d times", n)
	}
	close(g.gate) // what runs ends, and what waits does not begin
	w.until(func() string {
		if gate.closed.Load() == 1 {
			return ""
		}
		return "the handler to be closed"
	})
	w.await(w.postOf("other", "last"), tasker.ResultDone)
	if r, _ := w.result(waits, "a"); r.State != tasker.Received {
		t.Errorf("%+v", r)
	}
	if r, ok := w.result(late, "a"); ok {
		t.Errorf("%+v", r)
	}

	reload(t, m, []tasker.TaskType{job}, map[string]handlers.Handler{"job": c})
	w.registered("job")
	w.await(waits, tasker.ResultDone)
	w.await(late, tasker.ResultDone)
	w.await(w.post("end", "null", "a"), tasker.ResultDone)
	if n := c.of("waits") + c.of("late") + c.of("end"); n != 3 {
		t.Errorf("%d runs: %v", n, c.runs)
	}
}

// An invalid configuration changes nothing.
func TestReloadRefuses(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	m := w.reloadable([]tasker.TaskType{{Name: "job"}}, map[string]handlers.Handler{"job": c})
	for name, types := range map[string][]tasker.TaskType{
		"no type":  nil,
		"bad type": {{Name: "v1"}},
		"twice":    {{Name: "x"}, {Name: "x"}},
		"labels":   {{Name: "x", Labels: map[string]string{"role": "web"}}},
	} {
		if err := m.Reload(types, registry(t, nil)); tasker.CodeOf(err) != tasker.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.await(w.post("one", "null", "a"), tasker.ResultDone)
}

// During reloads that change, add and remove types, no task is lost or runs twice.
func TestReloadUnderLoad(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	job := tasker.TaskType{Name: "job", Concurrency: 3}
	m := w.reloadable([]tasker.TaskType{job}, map[string]handlers.Handler{"job": &closing{Handler: c, t: t}})
	var tasks []tasker.Task
	for i := range 60 {
		tasks = append(tasks, w.post(fmt.Sprint("t", i), "null", "a"))
		job.Concurrency = 1 + i%4
		types := []tasker.TaskType{job, {Name: "other"}}
		if i%5 == 4 {
			types = types[1:]
		}
		reload(t, m, types, map[string]handlers.Handler{"job": &closing{Handler: c, t: t}, "other": c})
	}
	reload(t, m, []tasker.TaskType{job}, map[string]handlers.Handler{"job": c})
	for _, task := range tasks {
		w.await(task, tasker.ResultDone)
		if n := c.of(task.Identifier); n != 1 {
			t.Errorf("%s ran %d times", task.Identifier, n)
		}
	}
}

// A handler in the registry stays open while its type is removed and is closed once
// in the end, as is one whose type is never performed.
func TestReloadKeepsHandlersOfTheRegistry(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	job, other := tasker.TaskType{Name: "job"}, tasker.TaskType{Name: "other"}
	never := &closing{Handler: c, t: t}
	list := map[string]handlers.Handler{"job": &closing{Handler: c, t: t}, "other": &closing{Handler: c, t: t}, "never": never}
	m := w.reloadable([]tasker.TaskType{job, other}, list)
	w.await(w.post("first", "null", "a"), tasker.ResultDone)
	reload(t, m, []tasker.TaskType{other}, list)
	w.registered("other")
	reload(t, m, []tasker.TaskType{job}, list)
	w.await(w.post("second", "null", "a"), tasker.ResultDone)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	for name, h := range list {
		if n := h.(*closing).closed.Load(); n != 1 {
			t.Errorf("handler of %s closed %d times", name, n)
		}
	}
}

// A handler comes back during a run from before: the end of the run does not close
// it.
func TestReloadTakesAHandlerBack(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	back := &closing{Handler: g, t: t}
	job := []tasker.TaskType{{Name: "job"}}
	m := w.reloadable(job, map[string]handlers.Handler{"job": back})
	first := w.post("first", "null", "a")
	g.until(w, 1)
	reload(t, m, job, map[string]handlers.Handler{"job": &counting{}})
	reload(t, m, job, map[string]handlers.Handler{"job": back})
	close(g.gate)
	w.await(first, tasker.ResultDone)
	w.await(w.post("second", "null", "a"), tasker.ResultDone)
}

// byValue is a handler that is not comparable.
type byValue struct {
	*closing
	_ []string
}

// An incomparable handler that remains in the registry is recognized.
func TestReloadKnowsHandlersThatCannotBeCompared(t *testing.T) {
	w := newWorld(t)
	one := &closing{Handler: &counting{}, t: t}
	list := map[string]handlers.Handler{"job": byValue{closing: one}}
	job := []tasker.TaskType{{Name: "job"}}
	m := w.reloadable(job, list)
	reload(t, m, job, list)
	w.await(w.post("first", "null", "a"), tasker.ResultDone)
	if n := one.closed.Load(); n != 0 {
		t.Errorf("closed %d times", n)
	}
}

// lateRegistration is a database that registers the type "new" only when the gate
// opens and signals each scan for its tasks.
type lateRegistration struct {
	database
	gate   chan struct{}
	looked chan struct{}
}

func (s *lateRegistration) AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (*tasker.Endpoint, error) {
	if slices.Contains(e.TaskTypes, "new") {
		<-s.gate
	}
	return s.database.AcquireEndpoint(ctx, e, lease)
}

func (s *lateRegistration) UnreceivedTasks(
	ctx context.Context, endpoint string, types []string, since time.Time, after ledger.SentPosition, limit int,
) ([]tasker.Task, ledger.SentPosition, error) {
	tasks, next, err := s.database.UnreceivedTasks(ctx, endpoint, types, since, after, limit)
	if slices.Contains(types, "new") {
		select {
		case s.looked <- struct{}{}:
		default:
		}
	}
	return tasks, next, err
}

// A task sent after the scan for a new type and before the type is registered is
// published to nobody. The manager scans again after the registration.
func TestReloadFindsWhatWasSentBeforeItsRegistration(t *testing.T) {
	w := newWorld(t)
	s := &lateRegistration{database: w.store, gate: make(chan struct{}), looked: make(chan struct{}, 1)}
	open := sync.OnceFunc(func() { close(s.gate) })
	list := map[string]handlers.Handler{"job": &counting{}, "new": &counting{}}
	m := w.reloadableOn(s, []tasker.TaskType{{Name: "job"}}, list)
	t.Cleanup(open) // before the manager stops
	reload(t, m, []tasker.TaskType{{Name: "job"}, {Name: "new"}}, list)
	m.consumers(w, "new", 1)
	<-s.looked
	task := w.postOf("new", "early")
	if !slices.Equal(task.Unserved, []string{"a"}) {
		t.Fatalf("published to an unregistered endpoint: %+v", task)
	}
	open()
	w.await(task, tasker.ResultDone)
}

// TestReloadOfARetryPolicy: an attempt that begins after the policy was replaced
// follows the new one.
func TestReloadOfARetryPolicy(t *testing.T) {
	w := newWorld(t)
	fails := handlers.Func(func(context.Context, *handlers.Request) (handlers.Result, error) { return nil, fmt.Errorf("busy") })
	list := map[string]handlers.Handler{"job": fails}
	m := w.reloadable([]tasker.TaskType{{Name: "job"}}, list)
	w.await(w.post("before", "null", "a"), tasker.ResultFailed)
	policy := tasker.RetryPolicy{Delays: []time.Duration{0, 24 * time.Hour}, Jitter: true}
	reload(t, m, []tasker.TaskType{{Name: "job", Retry: policy}}, list)
	after := w.post("after", "null", "a")
	w.until(func() string {
		r, _ := w.result(after, "a")
		if r.State == tasker.Retrying && r.Attempt == 2 && r.RetryTime.Sub(r.LastModifiedTime) < 24*time.Hour {
			return ""
		}
		return fmt.Sprintf("a second attempt that failed, it is %+v", r)
	})
	policy.Delays = policy.Delays[:1]
	reload(t, m, []tasker.TaskType{{Name: "job", Retry: policy}}, list)
	w.await(w.post("last", "null", "a"), tasker.ResultFailed)
}
