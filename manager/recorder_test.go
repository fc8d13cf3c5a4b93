package manager_test

import (
	"context"
	"fmt"
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
