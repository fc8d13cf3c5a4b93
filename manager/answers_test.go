package manager_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/manager"
)

func (f *faulty) ReturnFromLost(ctx context.Context, endpoints []string) (int, error) {
	return faultyCall(f, "return", func() (int, error) { return f.database.ReturnFromLost(ctx, endpoints) })
}

// untilCalled waits for n more calls of a method.
func (w *world) untilCalled(f *faulty, method string, n int) {
	w.t.Helper()
	enough := f.called(method) + n
	w.until(func() string {
		if f.called(method) < enough {
			return method + " to be called"
		}
		return ""
	})
}

// A failed attempt is stored as RETRYING and the answer is lost: the next attempt
// still follows.
func TestRetryWhoseAnswerIsLost(t *testing.T) {
	w := newWorld(t)
	f := newFaulty(w.store, true, map[string]int{"finish": 1})
	w.serve(f, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Attempt == 1 {
			return nil, errors.New("the first fails")
		}
		return nil, nil
	}), jobType(func(j *tasker.TaskType) {
		j.Retry = tasker.RetryPolicy{Delays: []time.Duration{50 * time.Millisecond}}
	}))
	if r := w.await(w.post("one", "null", "a"), tasker.ResultDone); r.Attempt != 2 {
		t.Errorf("%+v", r)
	}
}

// An interrupted attempt is adopted and the answer is lost.
func TestAdoptionWhoseAnswerIsLost(t *testing.T) {
	w := newWorld(t)
	const dead = "01DEADDEADDEADDEADDEADDEAD"
	if _, err := w.store.AcquireEndpoint(t.Context(), tasker.Endpoint{Name: "a", Manager: dead, TaskTypes: []string{"job"}},
		300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	task := w.create("one", "null", "a")
	_, err := w.store.ReceiveResults(t.Context(), []ledger.Incoming{{
		ResultKey: tasker.ResultKey{TaskID: task.ID, Endpoint: "a"}, Identifier: "one", Type: "job", State: tasker.Running, Manager: dead,
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.serve(newFaulty(w.store, true, map[string]int{"finish": 1}), &counting{})
	if r := w.await(task, tasker.ResultFailed); r.Errnr != tasker.ErrnrInterrupted {
		t.Errorf("%+v", r)
	}
}

// Lost results are taken back and the answer is lost: those that wait are found.
func TestReturnWhoseAnswerIsLost(t *testing.T) {
	w := newWorld(t)
	g := newGated()
	f := newFaulty(w.store, true, map[string]int{})
	w.serve(f, handlers.Func(func(ctx context.Context, req *handlers.Request) (handlers.Result, error) {
		if req.Identifier == "first" {
			return g.Handle(ctx, req)
		}
		return nil, nil
	}), jobType(func(j *tasker.TaskType) { j.Concurrency = 1 }))
	first := w.post("first", "null", "a")
	w.await(first, tasker.Running)
	waits := w.post("waits", "null", "a")
	w.await(waits, tasker.Received)
	if _, err := w.store.MarkLost(t.Context(), w.store.Now().Add(time.Hour), 10); err != nil { // it is not silent at all
		t.Fatal(err)
	}
	f.set("return", 3)
	close(g.gate)
	w.await(first, tasker.ResultDone)
	w.await(waits, tasker.ResultDone)
}

// A database that hangs while an endpoint is resynced does not delay the heartbeats.
func TestHeartbeatsGoOn(t *testing.T) {
	w := newWorld(t)
	f := &hanging{faulty: newFaulty(w.store, false, map[string]int{}), hangs: make(chan struct{}, 1)}
	w.serve(f, &counting{}, func(cfg *manager.Config) { cfg.CatchUp = 20 * time.Millisecond })
	<-f.hangs
	w.untilCalled(f.faulty, "heartbeat", 20)
}

// An endpoint without unfinished results costs two statements per resync: its lists
// of work are not read.
func TestResyncOfAnIdleEndpoint(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	f := newFaulty(w.store, false, map[string]int{})
	w.serve(f, c, func(cfg *manager.Config) { cfg.CatchUp = 20 * time.Millisecond })
	w.await(w.post("one", "null", "a"), tasker.ResultDone)
	w.untilCalled(f, "unreceived", 10)
	for _, method := range []string{"waiting", "return"} {
		if n := f.called(method); n != 0 {
			t.Errorf("%s called %d times", method, n)
		}
	}
}

// hanging is a database that hangs over the unfinished results.
type hanging struct {
	*faulty
	begun atomic.Bool
	hangs chan struct{}
}

func (h *hanging) UnfinishedWork(ctx context.Context, m, endpoint string) (ledger.Unfinished, error) {
	if !h.begun.Swap(true) {
		return h.database.UnfinishedWork(ctx, m, endpoint) // at the start
	}
	select {
	case h.hangs <- struct{}{}:
	default:
	}
	select {
	case <-ctx.Done():
		return ledger.Unfinished{}, ctx.Err()
	case <-time.After(2 * time.Second):
		return ledger.Unfinished{}, errAway
	}
}

// An unknown database error is retried like others: the attempt remains this
// manager's, and a redelivery does not run it again.
func TestUnknownErrorOfTheDatabase(t *testing.T) {
	w := newWorld(t)
	c := &counting{}
	f := newFaulty(w.store, false, map[string]int{"finish": away})
	f.err = tasker.Errorf(tasker.Internal, "unknown error 9999")
	w.serve(f, c)
	task := w.post("one", "null", "a")
	w.untilCalled(f, "finish", 2)
	received := f.called("receive")
	w.publish(w.message(task))
	w.until(func() string {
		if f.called("receive") == received {
			return "the message to come again"
		}
		return ""
	})
	f.set("finish", 0)
	w.await(task, tasker.ResultDone)
	if n := c.of("one"); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// A scan right after a task was sent skips it, as its message is on its way. One
// right after the task became INCOMPLETE does not.
func TestCatchUpOfWhatBecomesIncomplete(t *testing.T) {
	w := newWorld(t)
	var ahead atomic.Int64
	s, err := store.Open(store.Config{URI: "sqlite://" + filepath.Join(t.TempDir(), "tasker.db")}, w.log,
		store.WithClock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.store = storetest.Flatten(s)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	storetest.Migrate(t, s)
	f := newFaulty(w.store, false, map[string]int{})
	w.serve(f, &counting{}, func(cfg *manager.Config) { cfg.CatchUp = 50 * time.Millisecond })
	task, err := s.Outbox.MarkSent(t.Context(), w.create("one", "null", "a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.untilCalled(f, "unreceived", 2)
	if _, ok := w.result(task, "a"); ok {
		return // on a machine so slow that the task is no news any more
	}
	ahead.Store(int64(61 * time.Second))
	if n, err := s.Statuses.Aggregate(t.Context(), []int64{task.ID}, time.Minute); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	w.await(task, tasker.ResultDone)
}

func (f *faulty) UnreceivedTasks(ctx context.Context, endpoint string, taskTypes []string, since time.Time,
	after ledger.SentPosition, limit int,
) ([]tasker.Task, ledger.SentPosition, error) {
	var next ledger.SentPosition
	tasks, err := faultyCall(f, "unreceived", func() (tasks []tasker.Task, err error) {
		tasks, next, err = f.database.UnreceivedTasks(ctx, endpoint, taskTypes, since, after, limit)
		return tasks, err
	})
	return tasks, next, err
}
