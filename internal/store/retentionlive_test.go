package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// live gives each of a task's endpoints two attempts, the second one ended,
// with chunks of log lines.
func (f fixture) live(t *testing.T, identifier string, chunks int, endpoints ...string) tasker.Task {
	t.Helper()
	task := f.send(t, identifier, endpoints...)
	for _, e := range endpoints {
		f.receive(t, managerA, incoming(task, e, tasker.Running))
		f.finish(t, finish(task, e, 1, tasker.Retrying))
		f.restart(t, task, e, 1)
		for n := range chunks {
			f.save(t, told(task, e, 1+n%2, int64(n), int64(n)))
		}
		f.finish(t, finish(task, e, 2, tasker.ResultDone))
	}
	f.aggregate(t, task.ID)
	return task
}

func (f fixture) wantEmpty(t *testing.T, tables ...string) {
	t.Helper()
	for _, table := range tables {
		if n := f.rows(t, table); n != 0 {
			t.Errorf("%s has %d rows", table, n)
		}
	}
}

// Reports are deleted with the results, in parts, and none of a task that is
// kept.
func TestPurgeLiveInParts(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		endpoints := []string{"a", "b", "c"}
		f.acquire(t, managerA, endpoints...)
		for i := range 4 {
			f.live(t, fmt.Sprint("t", i), 6, endpoints...) // 3 results, 6 attempts, 18 chunks
		}
		later := f.Now().Add(time.Second)
		if n, _ := f.purgeTasks(t, later, nil, 10); n != 4 {
			t.Fatalf("%d tasks were deleted", n)
		}
		f.clock.advance(time.Hour)
		kept := f.live(t, "kept", 6, endpoints...)
		const limit = 5
		before := map[string]int64{}
		tables := []string{"task_results", "attempts", "log_chunks"}
		parts, deleted := 0, 0
		for more := true; more; parts++ {
			for _, table := range tables {
				before[table] = f.rows(t, table)
			}
			var n int
			n, more = f.purgeResults(t, later, limit)
			deleted += n
			for _, table := range tables {
				if gone := before[table] - f.rows(t, table); gone > limit {
					t.Errorf("one part deleted %d rows of %s", gone, table)
				}
			}
			if parts > 100 {
				t.Fatal("it finds no end")
			}
		}
		if deleted != 12 {
			t.Errorf("%d results were deleted, want 12", deleted)
		}
		f.wantEmpty(t, "purged_tasks")
		if r, a, c := f.rows(t, "task_results"), f.rows(t, "attempts"), f.rows(t, "log_chunks"); r != 3 || a != 6 || c != 18 {
			t.Errorf("%d results, %d attempts and %d chunks are left, want those of the one that is kept", r, a, c)
		}
		if a := f.attempts(t, kept, "b"); len(a) != 2 || a[0].Log.Lines == 0 || a[1].Log.Lines == 0 {
			t.Errorf("%+v", a)
		}
	})
}

// Reports about a deleted task stay only until its results go, and none is
// stored after that.
func TestSaveLiveOfAPurgedTask(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		task := f.live(t, "one", 2, "a")
		later := f.Now().Add(time.Second)
		if n, _ := f.purgeTasks(t, later, nil, 10); n != 1 {
			t.Fatalf("%d tasks were deleted", n)
		}
		f.save(t, told(task, "a", 2, 7, 9))
		if _, more := f.purgeResults(t, later, 10); more {
			t.Error("there is more to delete")
		}
		f.save(t, told(task, "a", 2, 10, 12))
		f.wantEmpty(t, "tasks", "task_results", "attempts", "log_chunks", "purged_tasks")
	})
}

// Purging waits for a report that is being stored, and deletes it, too.
func TestPurgeWaitsForSaveLive(t *testing.T) {
	f, r := against(t)
	f.acquire(t, managerA, "a")
	task := f.live(t, "one", 2, "a")
	later := f.Now().Add(time.Second)
	if n, _ := f.purgeTasks(t, later, nil, 10); n != 1 {
		t.Fatalf("%d tasks were deleted", n)
	}
	// SaveLive stops in the middle of its transaction, at the attempt's row.
	r.do("BEGIN")
	r.lock("attempts", fmt.Sprintf("task_id = %d AND attempt = 2", task.ID))
	saved := make(chan error, 1)
	go func() { saved <- f.Live.SaveLive(t.Context(), []ledger.LiveUpdate{told(task, "a", 2, 7, 9)}) }()
	r.awaitWaiter("INSERT")
	purged := make(chan error, 1)
	go func() {
		_, more, err := f.Retention.PurgeResults(t.Context(), later, 10)
		if err == nil && more {
			err = fmt.Errorf("there is more to delete")
		}
		purged <- err
	}()
	r.awaitWaiter("DELETE FROM `task_results`")
	r.do("ROLLBACK")
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if err := <-purged; err != nil {
		t.Error(err)
	}
	f.wantEmpty(t, "tasks", "task_results", "attempts", "log_chunks", "purged_tasks")
}

// Managers that keep reporting, and several processes that delete, leave
// nothing.
func TestPurgeAgainstSaveLive(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		var tasks []tasker.Task
		for i := range 20 {
			tasks = append(tasks, f.live(t, fmt.Sprint("t", i), 2, "a", "b"))
		}
		later := f.Now().Add(time.Second)
		stop := make(chan struct{})
		var tellers, purgers sync.WaitGroup
		for _, endpoint := range []string{"a", "b"} {
			tellers.Go(func() {
				for n := int64(10); ; n++ {
					var updates []ledger.LiveUpdate
					for _, task := range tasks {
						updates = append(updates, told(task, endpoint, 2, n, n))
					}
					if err := f.Live.SaveLive(t.Context(), updates); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		for range 2 {
			purgers.Go(func() {
				for purged := false; ; {
					n, _, err := f.Retention.PurgeTasks(t.Context(), "worker", later, nil, 3)
					if err != nil {
						t.Error(err)
						return
					}
					_, more, err := f.Retention.PurgeResults(t.Context(), later, 7)
					if err != nil {
						t.Error(err)
						return
					}
					if purged && !more {
						return
					}
					purged = n < 3
				}
			})
		}
		purgers.Wait()
		close(stop)
		tellers.Wait()
		// Those that one skipped because another held them.
		for n, more := 1, true; n > 0 || more; {
			n, _ = f.purgeTasks(t, later, nil, 10)
			_, more = f.purgeResults(t, later, 10)
		}
		f.wantEmpty(t, "tasks", "task_results", "attempts", "log_chunks", "purged_tasks")
	})
}
