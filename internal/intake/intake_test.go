package intake_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/intake"
	"github.com/taskerhq/tasker/internal/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBad = errors.New("this one is bad")

// slowStore takes a second for each transaction.
type slowStore struct {
	mu      sync.Mutex
	batches []int // sizes of the transactions
	hangs   bool
	fails   error
}

func (s *slowStore) begin(ctx context.Context, n int) error {
	s.mu.Lock()
	s.batches = append(s.batches, n)
	hangs, fails := s.hangs, s.fails
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(time.Second)
	return fails
}

func (s *slowStore) CreateTasks(ctx context.Context, tasks []tasker.Task) ([]ledger.Creation, error) {
	err := s.begin(ctx, len(tasks))
	got := make([]ledger.Creation, len(tasks))
	for i, t := range tasks {
		got[i] = ledger.Creation{Task: t, Created: true}
		if t.Identifier == "bad" {
			got[i] = ledger.Creation{Err: errBad}
		}
	}
	return got, err
}

func (s *slowStore) MarkSents(ctx context.Context, sent []ledger.Sent) ([]ledger.Marking, error) {
	err := s.begin(ctx, len(sent))
	got := make([]ledger.Marking, len(sent))
	for i, one := range sent {
		got[i].Task = one.Task
		got[i].Task.Status = tasker.Sent
	}
	return got, err
}

// run runs a test with a running intake, in a bubble of its own.
func run(t *testing.T, s *slowStore, test func(t *testing.T, in *intake.Intake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		in := intake.New(s)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { in.Run(ctx) })
		synctest.Wait()
		test(t, in)
		stop()
		running.Wait()
	})
}

// What comes while a transaction runs is written by the next one. One that is
// alone is written at once, and nobody is answered before the commit.
func TestTogether(t *testing.T) {
	t.Parallel()
	s := &slowStore{}
	run(t, s, func(t *testing.T, in *intake.Intake) {
		began := time.Now()
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				name := fmt.Sprint("t", i)
				if i == 7 {
					name = "bad"
				}
				got, created, err := in.CreateTask(t.Context(), tasker.Task{Identifier: name})
				switch {
				case i == 7 && errors.Is(err, errBad):
				case err != nil || !created || got.Identifier != name:
					t.Errorf("%s: got %+v, %t, %v", name, got, created, err)
				}
				if time.Since(began) < time.Second {
					t.Errorf("%s was answered before its commit", name)
				}
			})
			if i == 0 {
				synctest.Wait() // it is being written
			}
		}
		group.Wait()
		if took := time.Since(began); took != 2*time.Second || len(s.batches) != 2 || s.batches[0] != 1 || s.batches[1] != 49 {
			t.Errorf("took %s, in batches of %v", took, s.batches)
		}
		sent, err := in.MarkSent(t.Context(), tasker.Task{Identifier: "t0"}, nil)
		if err != nil || sent.Status != tasker.Sent || sent.Identifier != "t0" {
			t.Errorf("marked %+v, %v", sent, err)
		}
	})
}

// A failed transaction fails all that were in it, one that hangs ends, and a caller
// that leaves does not wait.
func TestFaults(t *testing.T) {
	t.Parallel()
	away := tasker.Errorf(tasker.Unavailable, "away")
	s := &slowStore{fails: away}
	run(t, s, func(t *testing.T, in *intake.Intake) {
		if _, created, err := in.CreateTask(t.Context(), tasker.Task{}); created || !errors.Is(err, away) {
			t.Errorf("got %t, %v", created, err)
		}
		s.hangs = true
		leaving, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		began := time.Now()
		if _, _, err := in.CreateTask(leaving, tasker.Task{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		if _, err := in.MarkSent(t.Context(), tasker.Task{}, nil); tasker.CodeOf(err) != tasker.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}
