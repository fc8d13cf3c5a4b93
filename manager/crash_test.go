package manager_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/manager"
)

// crash ends a manager as a kill does: nothing that is in progress gets any
// further.
func (f *faulty) crash(t *testing.T, done <-chan error) {
	t.Helper()
	f.mu.Lock()
	f.held = false
	f.mu.Unlock()
	if err := <-done; !errors.Is(err, manager.ErrLeaseLost) {
		t.Fatalf("manager ended with %v", err)
	}
}

// start runs a manager of endpoint a, to be ended by a crash.
func (w *world) start(s database, b manager.Broker, h handlers.Handler, options ...option) <-chan error {
	w.t.Helper()
	cfg := manager.Config{
		Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job"}},
		Heartbeat: 50 * time.Millisecond, Lease: 500 * time.Millisecond, AbandonAfter: 100 * time.Millisecond,
	}
	for _, option := range options {
		option(&cfg)
	}
	registry := handlers.NewRegistry()
	if err := registry.Register("job", h); err != nil {
		w.t.Fatal(err)
	}
	m, err := manager.New(cfg, w.parts(s), b, registry, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.made != nil {
		w.made(m)
	}
	done := make(chan error, 1)
	go func() { done <- m.Run(w.t.Context()) }()
	return done
}

// deaf is a broker that receives no acknowledgement.
type deaf struct {
	*local.Broker
	acknowledged chan string
}

type unacknowledged struct {
	broker.Delivery
	broker deaf
}

func (d unacknowledged) Ack() error {
	d.broker.acknowledged <- d.MessageID()
	return errors.New("the connection is gone")
}

func (b deaf) Consume(ctx context.Context, s broker.Subscription) error {
	deliver := s.Deliver
	s.Deliver = func(d broker.Delivery) { deliver(unacknowledged{d, b}) }
	return b.Broker.Consume(ctx, s)
}

// hearing is a broker that signals each acknowledgement of a redelivered message.
type hearing struct {
	*local.Broker
	again chan string
}

type heard struct {
	broker.Delivery
	broker hearing
}

func (d heard) Ack() error {
	err := d.Delivery.Ack()
	if err == nil && d.Redelivered() {
		d.broker.again <- d.MessageID()
	}
	return err
}

func (b hearing) Consume(ctx context.Context, s broker.Subscription) error {
	deliver := s.Deliver
	s.Deliver = func(d broker.Delivery) { deliver(heard{d, b}) }
	return b.Broker.Consume(ctx, s)
}

// A manager crashes after it has recorded a task and before it acknowledges the
// message. The message is redelivered to the next manager and is not run again,
// whether or not the first run had ended.
func TestCrashBetweenRowAndAcknowledgement(t *testing.T) {
	for name, test := range map[string]struct {
		ends    bool // before the crash
		attempt int  // of the row in the end
		runs    int  // of the next manager
	}{
		"while it runs":  {false, 2, 1},
		"when it is run": {true, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0, 0} })
			// Declare the queue, so that the task arrives by its message.
			if err := w.serve(w.store, &counting{}, retry).stop(); err != nil {
				t.Fatal(err)
			}
			task := w.post("one", "null", "a")
			g := newGated()
			if test.ends {
				close(g.gate)
			}
			f := newFaulty(w.store, false, map[string]int{})
			first := deaf{w.broker, make(chan string, 10)}
			done := w.start(f, first, g, retry)
			id := <-first.acknowledged
			if test.ends {
				w.await(task, tasker.ResultDone)
			} else {
				w.await(task, tasker.Running)
				g.until(w, 1) // it is RUNNING before its handler is called
			}
			f.crash(t, done)

			c := &counting{}
			next := newFaulty(w.store, false, map[string]int{})
			second := hearing{w.broker, make(chan string, 10)}
			done = w.start(next, second, c, retry)
			if again := <-second.again; again != id {
				t.Errorf("acknowledged %s, want %s", again, id)
			}
			if r := w.await(task, tasker.ResultDone); r.Attempt != test.attempt {
				t.Errorf("%+v, want attempt %d", r, test.attempt)
			}
			// A later task shows that nothing of it is left.
			w.await(w.post("two", "null", "a"), tasker.ResultDone)
			if n := c.of("one"); n != test.runs {
				t.Errorf("next manager ran it %d times, want %d", n, test.runs)
			}
			if n := g.started.Load(); n != 1 {
				t.Errorf("first manager ran it %d times", n)
			}
			next.crash(t, done)
		})
	}
}

// stalling is a database that stores the first batch of ends and is unavailable
// from then on.
type stalling struct {
	*faulty
	mu      sync.Mutex
	calls   int
	stalled chan struct{}
}

func (s *stalling) FinishAttempts(ctx context.Context, finishes []ledger.End) ([]bool, error) {
	s.mu.Lock()
	s.calls++
	calls := s.calls
	s.mu.Unlock()
	switch calls {
	case 1:
		return s.faulty.FinishAttempts(ctx, finishes)
	case 2:
		close(s.stalled)
	}
	return nil, errAway
}

// A manager crashes after it has adopted some of the interrupted results. The next
// one adopts the rest, and none twice.
func TestCrashDuringAdoption(t *testing.T) {
	w := newWorld(t)
	const dead, tasks = "01DEADDEADDEADDEADDEADDEAD", 150 // more than a batch
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var all []tasker.Task
	for i := range tasks {
		task, err := w.store.MarkSent(t.Context(), w.create(fmt.Sprint("t", i), "null", "a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		arrival := ledger.Incoming{
			ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Identifier: task.Identifier, Type: "job",
			State: tasker.Running, Manager: dead,
		}
		if _, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{arrival}); err != nil {
			t.Fatal(err)
		}
		all = append(all, task)
	}
	retry := jobType(func(j *tasker.TaskType) { j.Retry.Delays = []time.Duration{0, 0} })
	s := &stalling{faulty: newFaulty(w.store, false, map[string]int{}), stalled: make(chan struct{})}
	c := &counting{}
	done := w.start(s, w.broker, c, retry)
	<-s.stalled
	s.crash(t, done)
	states := map[tasker.ResultState]int{}
	for _, task := range all {
		r, _ := w.result(task, "a")
		states[r.State]++
	}
	if states[tasker.Retrying] == 0 || states[tasker.Running] == 0 || len(c.runs) != 0 {
		t.Fatalf("at the crash: %v, %d runs, want some adopted and none run", states, len(c.runs))
	}

	w.serve(w.store, c, retry)
	for _, task := range all {
		if r := w.await(task, tasker.ResultDone); r.Attempt != 2 || c.of(task.Identifier) != 1 {
			t.Errorf("%s: %+v, %d runs, want the second attempt and one run", task.Identifier, r, c.of(task.Identifier))
		}
	}
}
