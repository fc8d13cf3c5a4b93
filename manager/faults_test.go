package manager_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

// faulty is a database with injected faults: the next count calls of a method fail,
// either before they reach the database or, with lostAnswer, after they took
// effect.
type faulty struct {
	database
	mu         sync.Mutex
	count      map[string]int
	calls      map[string]int
	lostAnswer bool
	err        error // what fails with it; default errAway
	held       bool  // whether heartbeats still hold the endpoint
}

var errAway = tasker.Errorf(tasker.Unavailable, "the database is away")

func newFaulty(s database, lostAnswer bool, count map[string]int) *faulty {
	return &faulty{database: s, count: count, calls: map[string]int{}, lostAnswer: lostAnswer, held: true}
}

func (f *faulty) called(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *faulty) fails(method string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	if f.count[method] == 0 {
		return false
	}
	f.count[method]--
	return true
}

func faultyCall[T any](f *faulty, method string, do func() (T, error)) (T, error) {
	var none T
	fails, lost, fault := f.fails(method), f.lostAnswer, f.err
	if fault == nil {
		fault = errAway
	}
	if fails && !lost {
		return none, fault
	}
	result, err := do()
	if fails {
		return none, fault
	}
	return result, err
}

func (f *faulty) ReceiveResults(ctx context.Context, a []ledger.Incoming) ([]ledger.Recording, error) {
	return faultyCall(f, "receive", func() ([]ledger.Recording, error) { return f.database.ReceiveResults(ctx, a) })
}

func (f *faulty) StartAttempts(ctx context.Context, starts []ledger.Start) ([]bool, error) {
	return faultyCall(f, "start", func() ([]bool, error) { return f.database.StartAttempts(ctx, starts) })
}

func (f *faulty) FinishAttempts(ctx context.Context, finishes []ledger.End) ([]bool, error) {
	return faultyCall(f, "finish", func() ([]bool, error) { return f.database.FinishAttempts(ctx, finishes) })
}

func (f *faulty) WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	return faultyCall(f, "waiting", func() ([]ledger.Work, error) { return f.database.WaitingWork(ctx, endpoint, taskType, limit) })
}

func (f *faulty) AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (*tasker.Endpoint, error) {
	return faultyCall(f, "acquire", func() (*tasker.Endpoint, error) { return f.database.AcquireEndpoint(ctx, e, lease) })
}

func (f *faulty) ForgetEndpoints(ctx context.Context, m string, endpoints []string) ([]string, error) {
	return faultyCall(f, "forget", func() ([]string, error) { return f.database.ForgetEndpoints(ctx, m, endpoints) })
}

func (f *faulty) Heartbeat(ctx context.Context, m string, endpoints []string, lease time.Duration) (bool, error) {
	held, err := faultyCall(f, "heartbeat", func() (bool, error) { return f.database.Heartbeat(ctx, m, endpoints, lease) })
	f.mu.Lock()
	defer f.mu.Unlock()
	return held && f.held, err
}

// Every statement for a task fails a few times, or takes effect and its answer is
// lost: the task still runs exactly once and ends. A task that failed three times
// to be recorded, while heartbeats succeeded, would be put off and overtaken.
func TestDatabaseFaults(t *testing.T) {
	for name, lostAnswer := range map[string]bool{"fails": false, "lost answer": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := newGated()
			c := &counting{}
			s := newFaulty(w.store, lostAnswer, map[string]int{"acquire": 3, "receive": 2, "start": 3, "finish": 3, "heartbeat": 3})
			w.serve(s, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
				if _, err := c.Handle(ctx, req); err != nil || req.Identifier != "first" {
					return nil, err
				}
				return g.Handle(ctx, req)
			}), jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
			// The first is recorded as RUNNING; the second waits and is started.
			first := w.post("first", "null", "a")
			w.await(first, tasker.Running)
			second := w.post("second", "null", "a")
			w.await(second, tasker.Received)
			close(g.gate)
			for _, task := range []tasker.Task{first, second} {
				if r := w.await(task, tasker.ResultDone); r.Attempt != 1 || c.of(task.Identifier) != 1 {
					t.Errorf("%s: %+v, %d runs", task.Identifier, r, c.of(task.Identifier))
				}
			}
			w.until(func() string { // a row may be as it shall be before the answer is
				s.mu.Lock()
				defer s.mu.Unlock()
				for method, left := range s.count {
					if left != 0 {
						return fmt.Sprintf("%s to fail %d times more", method, left)
					}
				}
				return ""
			})
		})
	}
}

func TestSecondManagerIsRefused(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	w.serve(w.store, c)
	w.await(w.post("one", "null", "a"), tasker.ResultDone)
	second, err := manager.New(manager.Config{
		Endpoints: []string{"b", "a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}, Heartbeat: 50 * time.Millisecond, Lease: time.Minute,
	}, w.parts(w.store), w.broker, handlers.NewRegistry(), w.log)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Run(t.Context())
	if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), `endpoint "a" is served by another manager`) ||
		!strings.Contains(err.Error(), "pid") {
		t.Fatalf("second manager ended with: %v", err)
	}
	// The endpoint that it had acquired first is released.
	holder, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "b", Manager: "other", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder != nil {
		t.Errorf("endpoint b is held by %+v, %v", holder, err)
	}
	w.await(w.post("two", "null", "a"), tasker.ResultDone)
}

func TestDeadManagersNameIsFree(t *testing.T) {
	w := newWorld(t)
	task := w.create("one", "null", "a")
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.MarkSent(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	arrival := ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Identifier: "one", Type: "job",
		State: tasker.Running, Manager: dead,
	}
	if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{arrival}); err != nil {
		t.Fatal(err)
	}
	waiting := w.create("two", "null", "a")
	arrival = ledger.Incoming{
		ResultKey: tasker.ResultKey{TaskID: waiting.ID, Endpoint: "a"}, Identifier: "two", Type: "job",
		State: tasker.Received, Manager: dead,
	}
	if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{arrival}); err != nil {
		t.Fatal(err)
	}
	c := &counting{}
	w.serve(w.store, c)
	r := w.await(task, tasker.ResultFailed)
	if r.Errnr != tasker.ErrnrInterrupted || !strings.Contains(r.Errmsg, "during attempt 1") {
		t.Errorf("%+v", r)
	}
	w.await(waiting, tasker.ResultDone)
	if c.of("one") != 0 || c.of("two") != 1 {
		t.Errorf("runs: %v", c.runs)
	}
}

func TestInterruptedIsRetriedWherePolicyAllows(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0} })
	first := w.serve(w.store, g, retry, func(c *manager.Config) { c.ShutdownTimeout = time.Millisecond })
	task := w.post("one", "null", "a")
	w.until(func() string {
		if g.started.Load() == 0 {
			return "the handler to start"
		}
		return ""
	})
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if cause := <-g.causes; !errors.Is(cause, handlers.ErrShutdown) {
		t.Errorf("handler canceled with cause %v", cause)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.Running {
		t.Fatalf("after the stop: %+v, want RUNNING", r)
	}
	c := &counting{}
	w.serve(w.store, c, retry)
	if r := w.await(task, tasker.ResultDone); r.Attempt != 2 || c.of("one") != 1 {
		t.Errorf("%+v, runs %v", r, c.runs)
	}
}

func TestStopLetsHandlersFinish(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	s := w.serve(w.store, g, jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	task := w.post("one", "null", "a")
	w.await(task, tasker.Running)
	g.until(w, 1) // it is RUNNING before its handler is called
	queued := w.post("two", "null", "a")
	w.await(queued, tasker.Received)
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	// A task that arrives during the stop is not taken.
	select {
	case err := <-ended:
		t.Fatalf("stopped while a handler ran: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(g.gate)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.ResultDone {
		t.Errorf("%+v", r)
	}
	if r, _ := w.result(queued, "a"); r.State != tasker.Received {
		t.Errorf("waiting task started during the stop: %+v", r)
	}
	// The endpoint is released at once.
	holder, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: "other", TaskTypes: []string{"job"}}, time.Second)
	if err != nil || holder != nil {
		t.Errorf("held by %+v, %v", holder, err)
	}
}

func TestTakenOver(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	s := w.serve(f, g)
	task := w.post("one", "null", "a")
	w.until(func() string {
		if g.started.Load() == 0 {
			return "the handler to start"
		}
		return ""
	})
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	if err := <-s.done; !errors.Is(err, manager.ErrLeaseLost) {
		t.Fatalf("manager ended with %v", err)
	}
	if cause := <-g.causes; cause == nil {
		t.Error("handler not canceled")
	}
	if r, _ := w.result(task, "a"); r.State != tasker.Running {
		t.Errorf("%+v, want it left for the other manager", r)
	}
}

func TestBackFromLost(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	w.serve(f, g)
	task := w.post("one", "null", "a")
	w.await(task, tasker.Running)
	f.mu.Lock()
	f.count["heartbeat"] = 20 // silent for longer than its lease
	f.mu.Unlock()
	w.until(func() string {
		lost, err := w.store.MarkLost(t.Context(), w.store.Now().Add(-200*time.Millisecond), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(lost) == 0 {
			return "the endpoint to be silent"
		}
		return ""
	})
	w.await(task, tasker.Running) // heartbeats resume
	close(g.gate)
	w.await(task, tasker.ResultDone)
}

func TestCatchesUp(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	s := w.serve(w.store, c)
	w.await(w.post("before", "null"), tasker.ResultDone)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	// Sent while no manager ran, and lost by the broker.
	lost := w.create("lost", "null")
	if _, err := w.store.MarkSent(t.Context(), lost, nil); err != nil {
		t.Fatal(err)
	}
	w.serve(w.store, c)
	w.await(lost, tasker.ResultDone)
	if c.of("lost") != 1 || c.of("before") != 1 {
		t.Errorf("runs: %v", c.runs)
	}
}

// checkedDelivery checks that its task is recorded when it is acknowledged.
type checkedDelivery struct {
	broker.Delivery
	check func(body []byte)
}

func (d checkedDelivery) Ack() error {
	d.check(d.Body())
	return d.Delivery.Ack()
}

// checkedBroker delivers checked deliveries.
type checkedBroker struct {
	*local.Broker
	check func(body []byte)
}

func (b checkedBroker) Consume(ctx context.Context, s broker.Subscription) error {
	deliver := s.Deliver
	s.Deliver = func(d broker.Delivery) { deliver(checkedDelivery{d, b.check}) }
	return b.Broker.Consume(ctx, s)
}

func TestRowBeforeAcknowledgement(t *testing.T) {
	w := newWorld(t)
	acknowledged := make(chan bool, 10)
	registry := handlers.NewRegistry()
	if err := registry.Register("job", &counting{}); err != nil {
		t.Fatal(err)
	}
	b := checkedBroker{w.broker, func(body []byte) {
		message, err := wire.DecodeTask(body)
		if err != nil {
			t.Error(err)
		}
		_, recorded := w.result(tasker.Task{ID: message.TaskID}, "a")
		acknowledged <- recorded
	}}
	m, err := manager.New(manager.Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}}}, w.parts(w.store), b,
		registry, w.log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for i := 0; len(acknowledged) < 3; i++ { // those before the subscription are caught up with
		w.await(w.post(fmt.Sprint("t", i), "null", "a"), tasker.ResultDone)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range len(acknowledged) {
		if !<-acknowledged {
			t.Error("message acknowledged before its task was recorded")
		}
	}
}

// meddling is a database that lets something happen between its answer that a
// result of the first task is running and the manager's receipt of it.
type meddling struct {
	database
	once    sync.Once
	between func(task tasker.Task)
	done    chan struct{} // closed when between has returned
}

func (m *meddling) ReceiveResults(ctx context.Context, arrivals []ledger.Incoming) ([]ledger.Recording, error) {
	admissions, err := m.database.ReceiveResults(ctx, arrivals)
	for _, a := range admissions {
		if a.Outcome == ledger.Duplicate && a.Task.Identifier == "one" && a.State == tasker.Running {
			m.once.Do(func() {
				m.between(a.Task)
				close(m.done)
			})
		}
	}
	return admissions, err
}

// A message is redelivered while its task runs, and the run ends just after the
// database answered that it is running. The manager must not take that for a run of
// its own that never began.
func TestRedeliveryAtTheEndOfTheRun(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	m := &meddling{database: w.store, done: make(chan struct{})}
	m.between = func(task tasker.Task) {
		close(g.gate)
		deadline := time.After(30 * time.Second)
		for {
			results, err := w.store.TaskResults(w.t.Context(), task.ID)
			if err == nil && len(results) == 1 && results[0].State == tasker.ResultDone {
				break
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-deadline: // the test sees it
				return
			}
		}
		// The manager forgets the run a moment later, which is not observable. A
		// pause here can only make this test miss a bug, never fail.
		<-time.After(50 * time.Millisecond)
	}
	w.serve(m, g)
	task := w.post("one", "null", "a")
	g.until(w, 1)
	// Whichever of the queue and the catch-up brought it first, this is a
	// duplicate.
	w.publish(w.message(task))
	<-m.done
	w.await(w.post("end", "null", "a"), tasker.ResultDone)
	if n := g.started.Load(); n != 2 {
		t.Errorf("handler started %d times for two tasks", n)
	}
	if r, _ := w.result(task, "a"); r.State != tasker.ResultDone || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
}

// A task that waits for a slot while its endpoint is declared lost cannot start. It
// starts after the endpoint's return, although it is not in memory.
func TestWaitingIsBackFromLost(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, false, map[string]int{})
	c := &counting{}
	w.serve(f, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "first" {
			return g.Handle(ctx, req)
		}
		return c.Handle(ctx, req)
	}), jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	first := w.post("first", "null", "a")
	w.await(first, tasker.Running)
	g.until(w, 1) // it is RUNNING before its handler is called
	waits := w.post("waits", "null", "a")
	w.await(waits, tasker.Received)
	f.set("heartbeat", away)
	w.until(func() string {
		if lost, err := w.store.MarkLost(t.Context(), w.store.Now().Add(-200*time.Millisecond), 10); err != nil {
			t.Fatal(err)
		} else if len(lost) == 0 {
			return "the endpoint to be silent"
		}
		return ""
	})
	tries := f.called("start") + f.called("waiting")
	close(g.gate)
	w.await(first, tasker.ResultDone)
	w.until(func() string { // its turn comes, and passes
		if f.called("start")+f.called("waiting") == tries {
			return "an attempt to start what is lost, or to find it"
		}
		return ""
	})
	f.set("heartbeat", 0)
	w.await(waits, tasker.ResultDone)
	if n := c.of("waits"); n != 1 {
		t.Errorf("ran %d times", n)
	}
}
