package manager

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// blocking is a jobRunner whose jobs run until they are canceled or ended.
type blocking struct {
	begun  chan int64
	causes chan error
	end    chan followUp
}

func newBlocking() *blocking {
	return &blocking{begun: make(chan int64, 100), causes: make(chan error, 100), end: make(chan followUp)}
}

func (b *blocking) run(_, running context.Context, j job) followUp {
	b.begun <- j.Task.ID
	select {
	case next := <-b.end:
		return next
	case <-running.Done():
		b.causes <- context.Cause(running)
		return followUp{}
	}
}

func (b *blocking) start(taking, running context.Context, j job) followUp {
	return b.run(taking, running, j)
}

func (b *blocking) awaitReboot(taking, running context.Context, j job) followUp {
	return b.run(taking, running, j)
}

func (b *blocking) giveBack(work []ledger.Work) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(work)), nil
}

// poolOf returns a pool with so many slots, for jobs that r runs. Nothing waits in
// the database.
func poolOf(r jobRunner, slots int) *pool {
	b := &binding{TaskType: tasker.TaskType{Name: "job", Concurrency: slots}}
	b.handler = (&handlerSet{}).add(handlers.Func(nil), slog.New(slog.DiscardHandler))
	p := newPool(broker.Queue{TaskType: "job", Endpoint: "a"}, b, r, time.Now, func() {}, signal.New())
	p.behind = false
	return p
}

// arrive has a task arrive and recorded, and returns its state.
func arrive(ctx context.Context, p *pool, id int64) tasker.ResultState {
	in, b := p.acquire(wire.Task{TaskID: id, Identifier: "one", Type: "job"}, false)
	p.onRecorded(ctx, in.State, ledger.Recording{Task: tasker.Task{ID: id, Type: "job"}}, b)
	return in.State
}

func isIdle(p *pool) bool {
	synctest.Wait()
	select {
	case <-p.live.none():
		return true
	default:
		return false
	}
}

// The end of a task starts the next one, and Cancel ends a run with its cause or
// drops a waiting task.
func TestPoolCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 1)
		for id := range int64(4) {
			want := tasker.Received
			if id == 0 {
				want = tasker.Running
			}
			if state := arrive(t.Context(), p, id); state != want {
				t.Errorf("task %d is %s, want %s", id, state, want)
			}
		}
		if id := <-r.begun; id != 0 || p.busy() != 1 || isIdle(p) {
			t.Errorf("task %d began, %d slots taken", id, p.busy())
		}
		if !p.Cancel(1, handlers.ErrCanceled) || p.Cancel(1, handlers.ErrCanceled) || p.Cancel(77, handlers.ErrCanceled) {
			t.Error("Cancel of a waiting task, again and of an unknown one")
		}
		if !p.Cancel(0, handlers.ErrCanceled) {
			t.Error("Cancel of a running task: not found")
		}
		if cause := <-r.causes; !errors.Is(cause, handlers.ErrCanceled) {
			t.Errorf("canceled with cause %v", cause)
		}
		if id := <-r.begun; id != 2 {
			t.Errorf("task %d began next, want 2", id)
		}
		r.end <- followUp{}
		if id := <-r.begun; id != 3 {
			t.Errorf("task %d began last, want 3", id)
		}
		r.end <- followUp{}
		if !isIdle(p) || p.busy() != 0 || p.Cancel(3, handlers.ErrCanceled) {
			t.Errorf("in the end %d slots are taken", p.busy())
		}
	})
}

// While a pool is paused nothing starts: what runs goes on, and what arrives waits.
func TestPoolPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 2)
		arrive(t.Context(), p, 1)
		<-r.begun
		p.Pause()
		if state := arrive(t.Context(), p, 2); state != tasker.Received {
			t.Errorf("while paused a task was recorded as %s", state)
		}
		r.end <- followUp{}
		if !isIdle(p) {
			t.Error("a task started in a paused pool")
		}
		f := &feeder{pool: p, database: nothing{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.run(ctx, t.Context()); close(done) }()
		if !isIdle(p) {
			t.Error("the feeder started a task in a paused pool")
		}
		p.Resume()
		if id := <-r.begun; id != 2 {
			t.Errorf("task %d began", id)
		}
		r.end <- followUp{}
		cancel()
		<-done
	})
}

// What a job leaves to do is done when its task is no longer active.
func TestPoolFollowUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 1)
		suspected := 0
		p.suspect = func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.active) == 0 {
				suspected++
			}
		}
		p.retries.clear()
		arrive(t.Context(), p, 1)
		at := time.Now().Add(time.Minute)
		r.end <- followUp{suspect: true, retryAt: at}
		if !isIdle(p) || suspected != 1 || p.retries.until(time.Now()) != time.Minute || p.behind {
			t.Errorf("suspected %d times, next retry in %v", suspected, p.retries.until(time.Now()))
		}
		arrive(t.Context(), p, 2)
		r.end <- followUp{rescan: true}
		if !isIdle(p) || !p.behind || p.retries.until(time.Now()) != 0 {
			t.Errorf("after a rescan: next retry in %v", p.retries.until(time.Now()))
		}
	})
}

// A task that waits once more, since it was retried right after its run, while that has
// not returned yet, is read again when it has. One whose start is under way is not.
func TestPoolReadsWhatWaitsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 2)
		arrive(t.Context(), p, 1)
		<-r.begun
		p.mu.Lock()
		p.enqueue(ledger.Work{Task: tasker.Task{ID: 2}, State: tasker.Received})
		p.startWaiting(t.Context())
		p.mu.Unlock()
		<-r.begun
		for _, test := range []struct {
			id      int64
			attempt int
			behind  bool
		}{{2, 0, false}, {1, 1, true}} {
			p.mu.Lock()
			p.enqueue(ledger.Work{Task: tasker.Task{ID: test.id}, State: tasker.Received, Attempt: test.attempt})
			if len(p.waiting) > 0 {
				t.Errorf("task %d waits in memory", test.id)
			}
			p.mu.Unlock()
		}
		for _, want := range []bool{false, true} {
			p.mu.Lock()
			id := int64(2)
			if want {
				id = 1
			}
			p.active[id].cancel(handlers.ErrCanceled)
			p.mu.Unlock()
			if cause := <-r.causes; !errors.Is(cause, handlers.ErrCanceled) {
				t.Errorf("task %d: got %v", id, cause)
			}
			synctest.Wait()
			if p.behind != want {
				t.Errorf("after the end of task %d: behind is %t", id, p.behind)
			}
		}
		if !isIdle(p) {
			t.Error("a task runs")
		}
	})
}
