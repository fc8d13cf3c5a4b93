package manager_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
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

func (f *faulty) ReturnAttempts(ctx context.Context, starts []ledger.Start) ([]bool, error) {
	return faultyCall(f, "give back", func() ([]bool, error) { return f.database.ReturnAttempts(ctx, starts) })
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
