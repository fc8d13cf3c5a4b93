package manager

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// rows is a database with results that wait, and that are due.
type rows struct {
	Work
	waiting, due []ledger.Work
}

func (r *rows) WaitingWork(_ context.Context, _, _ string, limit int) ([]ledger.Work, error) {
	return slices.Clone(r.waiting[:min(limit, len(r.waiting))]), nil
}

func (r *rows) DueWork(_ context.Context, _, _ string, limit int) ([]ledger.Work, error) {
	return slices.Clone(r.due[:min(limit, len(r.due))]), nil
}

func (r *rows) NextRetry(context.Context, string, string) (time.Time, bool, error) {
	return time.Time{}, len(r.due) > 0, nil
}

// feederOf returns the feeder of a pool for a database.
func feederOf(p *pool, r *rows) *feeder {
	log := slog.New(slog.DiscardHandler)
	return &feeder{pool: p, work: r, database: nothing{}, db: &database{log: log}, log: log}
}

// received returns a result that waits, with its place.
func received(id, order int64) ledger.Work {
	return ledger.Work{Task: tasker.Task{ID: id, Type: "job"}, State: tasker.Received, StartOrder: order}
}

// retrying returns a result whose next attempt is due, with its place.
func retrying(id, order int64) ledger.Work {
	return ledger.Work{Task: tasker.Task{ID: id, Type: "job"}, State: tasker.Retrying, Attempt: 1, StartOrder: order}
}

// enqueueAll enqueues work and returns the tasks that memory did not take.
func enqueueAll(p *pool, work ...ledger.Work) (left []int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range work {
		if !p.enqueue(w) {
			left = append(left, w.Task.ID)
		}
	}
	return left
}

// inMemory returns the tasks that wait in memory.
func inMemory(p *pool) (tasks []int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.waiting {
		tasks = append(tasks, p.waiting[i].Task.ID)
	}
	return tasks
}

// What waits starts in the order of its places, whenever it has come; of two with the
// same order the task that is older. An attempt that has begun comes before all.
func TestStartsByPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 1)
		arrive(t.Context(), p, 100)
		<-r.begun
		reboot := ledger.Work{Task: tasker.Task{ID: 9}, State: tasker.Running, AwaitsReboot: "before", StartOrder: 99}
		enqueueAll(p, received(1, 50), received(3, 40), received(2, 40), retrying(4, 45), reboot, received(5, -7))
		for _, want := range []int64{9, 5, 2, 3, 4, 1} {
			r.end <- followUp{}
			if id := <-r.begun; id != want {
				t.Errorf("task %d began, want %d", id, want)
			}
		}
		r.end <- followUp{}
		if !isIdle(p) {
			t.Error("a task runs")
		}
	})
}

// fullPool returns a pool whose slot is taken and whose memory is full: task i has the
// place 10 i.
func fullPool(t *testing.T, r *blocking) *pool {
	t.Helper()
	p := poolOf(r, 1)
	arrive(t.Context(), p, 10_000)
	<-r.begun
	for id := range int64(maxWaiting) {
		enqueueAll(p, received(id+1, 10*(id+1)))
	}
	if len(inMemory(p)) != maxWaiting || p.behind {
		t.Fatalf("%d wait in memory, behind %t", len(p.waiting), p.behind)
	}
	return p
}

// If memory is full, it keeps what comes first, and takes nothing that something may
// come before which the database alone has.
func TestFullMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := fullPool(t, r)
		left := enqueueAll(p, received(1000, 15), received(1001, 10*maxWaiting+5), retrying(1002, 10*maxWaiting+5), retrying(1003, 12))
		if !slices.Equal(left, []int64{1001, 1002}) {
			t.Errorf("memory did not take %v", left)
		}
		got := inMemory(p)
		if len(got) != maxWaiting || !slices.Equal(got[:4], []int64{1, 1003, 1000, 2}) || got[maxWaiting-1] != maxWaiting-2 || !p.behind {
			t.Errorf("memory has %d, first %v, last %d; behind %t", len(got), got[:4], got[len(got)-1], p.behind)
		}
		// One more displaces the next one, although there is room for the task itself.
		p.Cancel(1, nil)
		if left := enqueueAll(p, received(1004, 10*maxWaiting-10)); len(left) != 1 {
			t.Error("memory took a task that may come after one that it has forgotten")
		}
		r.end <- followUp{}
		if id := <-r.begun; id != 1003 {
			t.Errorf("task %d began", id)
		}
		p.suspend()
		r.end <- followUp{}
		isIdle(p)
	})
}

// When the database may have something that memory does not know, it is read before the
// next task starts; what memory has stays in its place.
func TestReadsBeforeItStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 1)
		arrive(t.Context(), p, 100)
		<-r.begun
		enqueueAll(p, received(1, 10), retrying(3, 7))
		f := feederOf(p, &rows{waiting: []ledger.Work{received(2, 5), received(1, 10)}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.run(ctx, t.Context()); close(done) }()
		p.rescan()
		for _, want := range []int64{2, 3, 1} {
			r.end <- followUp{}
			if id := <-r.begun; id != want {
				t.Errorf("task %d began, want %d", id, want)
			}
		}
		r.end <- followUp{}
		if !isIdle(p) || p.behind {
			t.Error("something is left")
		}
		cancel()
		<-done
	})
}

// A result that is recorded while the feeder reads is not lost, whatever its place: the
// read may not have seen it.
func TestRecordedDuringARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := poolOf(newBlocking(), 1)
		p.doubt()
		full := &rows{}
		for id := range int64(2 * maxWaiting) {
			full.waiting = append(full.waiting, received(id+1, 10*(id+1)))
		}
		f := feederOf(p, full)
		f.work = &meanwhile{full, func() { enqueueAll(p, received(1000, 15), received(1001, 20*maxWaiting+1)) }}
		if read, err := f.refill(t.Context()); !read || err != nil {
			t.Fatal(read, err)
		}
		got := inMemory(p)
		if len(got) != maxWaiting || !slices.Equal(got[:3], []int64{1, 1000, 2}) || !p.behind || p.outdated() {
			t.Errorf("memory has %d, first %v; behind %t", len(got), got[:3], p.behind)
		}
		p.suspend()
	})
}

// A task whose run was about to begin when the feeder read that it waits, and has ended
// since, does not wait.
func TestEndedDuringARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlocking()
		p := poolOf(r, 2)
		enqueueAll(p, received(1, 10))
		p.mu.Lock()
		p.startWaiting(t.Context())
		p.doubt()
		p.mu.Unlock()
		<-r.begun
		f := feederOf(p, nil)
		f.work = &meanwhile{&rows{waiting: []ledger.Work{received(1, 10), received(2, 20)}}, func() {
			r.end <- followUp{}
			synctest.Wait()
		}}
		if read, err := f.refill(t.Context()); !read || err != nil {
			t.Fatal(read, err)
		}
		if got := inMemory(p); !slices.Equal(got, []int64{2}) || !isIdle(p) {
			t.Errorf("memory has %v", got)
		}
	})
}

// meanwhile is a database where something happens while what waits is read first.
type meanwhile struct {
	*rows
	do func()
}

func (m *meanwhile) WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	work, err := m.rows.WaitingWork(ctx, endpoint, taskType, limit)
	if m.do != nil {
		m.do()
		m.do = nil
	}
	return work, err
}

// A retry that is due takes its place among what waits in memory, or waits until the
// database's results before it have been read.
func TestDueAmongWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := poolOf(newBlocking(), 1)
		p.doubt()
		db := &rows{due: []ledger.Work{retrying(1000, 15), retrying(1001, 20*maxWaiting)}}
		for id := range int64(maxWaiting) {
			db.waiting = append(db.waiting, received(id+1, 10*(id+1)))
		}
		f := feederOf(p, db)
		if err := f.fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := f.enqueueDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := inMemory(p); len(got) != maxWaiting || !slices.Equal(got[:3], []int64{1, 1000, 2}) || !f.dueLeft {
			t.Errorf("memory has %d, first %v; left %t", len(got), got[:3], f.dueLeft)
		}
		p.mu.Lock()
		p.waiting, p.queued = nil, map[int64]bool{} // they have run
		p.mu.Unlock()
		db.waiting, db.due = []ledger.Work{received(2000, 20*maxWaiting-1)}, db.due[1:]
		if err := f.fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := inMemory(p); !slices.Equal(got, []int64{2000, 1001}) || f.dueLeft || p.behind {
			t.Errorf("memory has %v; left %t, behind %t", got, f.dueLeft, p.behind)
		}
	})
}
