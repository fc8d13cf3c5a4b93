package store_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// end moves a task to DONE or FAILED, with one result at each endpoint.
func (f fixture) end(t *testing.T, task tasker.Task, state tasker.ResultState, endpoints ...string) {
	t.Helper()
	for _, endpoint := range endpoints {
		wantOutcomes(t, f.receive(t, managerA, incoming(task, endpoint, tasker.Running)), ledger.Recorded)
		if stored := f.finish(t, finish(task, endpoint, 1, state)); !stored[0] {
			t.Fatal("the end was not stored")
		}
	}
	f.aggregate(t, task.ID)
	if status := f.status(t, task); !status.Final() {
		t.Fatalf("the task is %s", status)
	}
}

func (f fixture) aggregate(t *testing.T, ids ...int64) {
	t.Helper()
	if _, err := f.Statuses.Aggregate(t.Context(), ids, month); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) purgeTasks(t *testing.T, before time.Time, except []int64, limit int) (purged int, unfinished []int64) {
	t.Helper()
	purged, unfinished, err := f.Retention.PurgeTasks(t.Context(), "worker", before, except, limit)
	if err != nil {
		t.Fatal(err)
	}
	return purged, unfinished
}

func (f fixture) purgeResults(t *testing.T, before time.Time, limit int) (deleted int, more bool) {
	t.Helper()
	deleted, more, err := f.Retention.PurgeResults(t.Context(), before, limit)
	if err != nil {
		t.Fatal(err)
	}
	return deleted, more
}

// rows counts the rows of a table.
func (f fixture) rows(t *testing.T, table string) int64 {
	t.Helper()
	tables, err := f.Schema.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tables, func(x store.Table) bool { return x.Name == table })
	if i < 0 {
		t.Fatalf("there is no table %s", table)
	}
	return tables[i].Rows
}

// A task that ended before the given time is deleted, whatever its final
// status; one that has not ended never is.
func TestPurgeTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		done := f.send(t, "done", "a", "b")
		f.end(t, done, tasker.ResultDone, "a", "b")
		failed := f.send(t, "failed", "a")
		f.end(t, failed, tasker.ResultFailed, "a")
		created := f.create(t, "created", "a")
		sent := f.send(t, "sent", "a", "b")
		f.receive(t, managerA, incoming(sent, "a", tasker.Running))
		f.finish(t, finish(sent, "a", 1, tasker.ResultDone))
		incomplete := f.send(t, "incomplete", "away")
		if _, err := f.Statuses.Aggregate(t.Context(), []int64{incomplete.ID}, 0); err != nil || f.status(t, incomplete) != tasker.Incomplete {
			t.Fatalf("%s, %v", f.status(t, incomplete), err)
		}
		ended := f.Now()
		f.clock.advance(time.Hour)
		young := f.send(t, "young", "a")
		f.end(t, young, tasker.ResultDone, "a")

		if n, _ := f.purgeTasks(t, ended, nil, 10); n != 0 {
			t.Errorf("%d tasks were deleted that ended at that time, and not before it", n)
		}
		n, unfinished := f.purgeTasks(t, ended.Add(time.Microsecond), nil, 10)
		if n != 2 || len(unfinished) != 0 {
			t.Errorf("%d tasks were deleted, %v are unfinished", n, unfinished)
		}
		for _, task := range []tasker.Task{done, failed} {
			_, err := f.Tasks.FindTask(t.Context(), task.Type, task.Identifier)
			wantCode(t, err, tasker.NotFound)
		}
		for _, task := range []tasker.Task{created, sent, incomplete, young} {
			f.status(t, task)
		}

		// Its results are deleted later, when nobody reads them any more.
		if n, more := f.purgeResults(t, f.Now(), 10); n != 0 || more {
			t.Errorf("%d results were deleted too early, more: %v", n, more)
		}
		if n, more := f.purgeResults(t, f.Now().Add(time.Microsecond), 10); n != 3 || more {
			t.Errorf("%d results were deleted, more: %v", n, more)
		}
		if n := f.rows(t, "purged_tasks"); n != 0 {
			t.Errorf("%d ids are left", n)
		}
		if n := f.rows(t, "task_results"); n != 2 {
			t.Errorf("%d results are left, want those of the unfinished and the young task", n)
		}

		// Other types are untouched.
		if n, _, err := f.Retention.PurgeTasks(t.Context(), "backup", f.Now().Add(month), nil, 10); n != 0 || err != nil {
			t.Errorf("%d tasks of another type were deleted, %v", n, err)
		}
	})
}

// A late message of a deleted task is refused, and its identifier is free.
func TestPurgedTaskIsGone(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one", "a")
		f.end(t, task, tasker.ResultDone, "a")
		if n, _ := f.purgeTasks(t, f.Now().Add(time.Second), nil, 10); n != 1 {
			t.Fatalf("%d tasks were deleted", n)
		}
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "a", tasker.Running)), ledger.Refused)
		again := f.create(t, "one", "b")
		if again.ID == task.ID {
			t.Errorf("the id %d is given again", task.ID)
		}
		if results, err := f.Results.TaskResults(t.Context(), again.ID); len(results) != 0 || err != nil {
			t.Errorf("the new task has results: %v, %v", results, err)
		}
		if n, more := f.purgeResults(t, f.Now().Add(time.Second), 10); n != 1 || more {
			t.Errorf("%d results were deleted, more: %v", n, more)
		}
		f.status(t, again)
	})
}

// The results of a task are deleted in parts, and after a crash the next run
// continues.
func TestPurgeResultsInParts(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		var endpoints []string
		for i := range 25 {
			endpoints = append(endpoints, fmt.Sprintf("e%02d", i))
		}
		f.acquire(t, managerA, endpoints...)
		for _, name := range []string{"first", "second", "third"} {
			f.end(t, f.send(t, name, endpoints...), tasker.ResultDone, endpoints...)
		}
		kept := f.send(t, "kept", endpoints...)
		f.receive(t, managerA, incoming(kept, "e00", tasker.Received))
		later := f.Now().Add(time.Second)
		if n, _ := f.purgeTasks(t, later, nil, 2); n != 2 {
			t.Fatalf("%d tasks were deleted, want as many as were asked for", n)
		}
		if n, _ := f.purgeTasks(t, later, nil, 2); n != 1 {
			t.Fatalf("%d tasks were deleted, want the last one", n)
		}
		for part, want := range []struct {
			deleted int
			ids     int64 // left after it
			more    bool
		}{{20, 3, true}, {20, 2, true}, {20, 1, true}, {15, 0, false}, {0, 0, false}} {
			deleted, more := f.purgeResults(t, later, 20)
			if ids := f.rows(t, "purged_tasks"); deleted != want.deleted || more != want.more || ids != want.ids {
				t.Errorf("part %d: %d deleted, %d ids left, more %v; want %+v", part, deleted, ids, more, want)
			}
		}
		if states := f.states(t, kept); len(states) != 1 {
			t.Errorf("the task that is kept has results %v", states)
		}
	})
}

// A task that has ended with an unfinished result must not exist. If it does,
// it is kept and reported, and does not hold up others.
func TestPurgeKeepsUnfinished(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		broken, whole := f.send(t, "broken", "a"), f.send(t, "whole", "a")
		f.end(t, broken, tasker.ResultDone, "a")
		f.clock.advance(time.Second)
		f.end(t, whole, tasker.ResultDone, "a")
		f.exec(t, fmt.Sprintf("UPDATE task_results SET state = 'LOST' WHERE task_id = %d", broken.ID))
		later := f.Now().Add(time.Second)
		n, unfinished := f.purgeTasks(t, later, nil, 1)
		if n != 0 || !slices.Equal(unfinished, []int64{broken.ID}) {
			t.Fatalf("%d tasks were deleted, %v are unfinished", n, unfinished)
		}
		if n, unfinished = f.purgeTasks(t, later, unfinished, 1); n != 1 || len(unfinished) != 0 {
			t.Errorf("%d tasks were deleted, %v are unfinished", n, unfinished)
		}
		f.status(t, broken)
		f.purgeResults(t, later, 10)
		if states := f.states(t, broken); states["a"] != tasker.Lost {
			t.Errorf("its results are %v", states)
		}
	})
}

// Several processes share the work, and nothing is done twice.
func TestPurgeTogether(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const tasks = 60
		f.acquire(t, managerA, "a")
		for i := range tasks {
			f.end(t, f.send(t, fmt.Sprint("t", i), "a"), tasker.ResultDone, "a")
		}
		later := f.Now().Add(time.Second)
		var mu sync.Mutex
		var purged, deleted int
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					n, _, err := f.Retention.PurgeTasks(t.Context(), "worker", later, nil, 7)
					mu.Lock()
					purged += n
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					if err != nil || n < 7 {
						break
					}
				}
				for {
					n, more, err := f.Retention.PurgeResults(t.Context(), later, 7)
					mu.Lock()
					deleted += n
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					if err != nil || !more {
						break
					}
				}
			})
		}
		group.Wait()
		// Those that one skipped because another held them.
		for n := 1; n > 0; purged += n {
			n, _ = f.purgeTasks(t, later, nil, 7)
		}
		for more := true; more; {
			var n int
			n, more = f.purgeResults(t, later, 7)
			deleted += n
		}
		if purged != tasks || deleted != tasks {
			t.Errorf("%d tasks and %d results were deleted, want %d each", purged, deleted, tasks)
		}
		for _, table := range []string{"tasks", "task_results", "purged_tasks"} {
			if n := f.rows(t, table); n != 0 {
				t.Errorf("%s has %d rows", table, n)
			}
		}
	})
}

func TestNextTaskType(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		for i, name := range []string{"worker", "Backup", "deploy", "worker"} {
			if _, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: name, Identifier: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		for name := ""; ; {
			var err error
			if name, err = f.Retention.NextTaskType(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if name == "" {
				break
			}
			names = append(names, name)
		}
		if want := []string{"Backup", "deploy", "worker"}; !slices.Equal(names, want) {
			t.Errorf("the types are %v, want %v", names, want)
		}
	})
}

// exec changes the database directly.
func (f fixture) exec(t *testing.T, statement string) {
	t.Helper()
	db := f.behind(t)
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func (f fixture) behind(t *testing.T) *sql.DB {
	t.Helper()
	file, isFile := strings.CutPrefix(f.uri, "sqlite://")
	if !isFile {
		return admin(t, f.uri)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Every statement uses an index, and for tasks the ordered one, so that only
// the deleted ones are locked.
func TestPurgeReadsByIndex(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, db, list := listening(t)

	if _, err := s.Retention.NextTaskType(ctx, "t0"); err != nil {
		t.Fatal(err)
	}
	before := s.Now().Add(time.Hour)
	n, unfinished, err := s.Retention.PurgeTasks(ctx, "t1", before, []int64{1}, 200)
	if err != nil || n == 0 || n+len(unfinished) != 200 {
		t.Fatalf("%d tasks were deleted, %v", n, err)
	}
	if _, err := db.ExecContext(ctx, "ANALYZE TABLE tasks, task_results, purged_tasks, attempts, log_chunks"); err != nil {
		t.Fatal(err)
	}
	if deleted, more, err := s.Retention.PurgeResults(ctx, before, 100); deleted != 100 || !more || err != nil {
		t.Fatalf("%d results were deleted, more %v, %v", deleted, more, err)
	}
	slices.Sort(*list)
	explained, inOrder := 0, 0
	for _, statement := range slices.Compact(*list) {
		if strings.HasPrefix(statement, "INSERT") {
			continue
		}
		explained++
		for _, problem := range explain(t, db, statement) {
			t.Errorf("%s:\n%s", problem, statement)
		}
		if strings.Contains(statement, "FROM `tasks`") && strings.Contains(statement, "SKIP LOCKED") {
			inOrder++
			if plan := plan(t, db, statement); !strings.Contains(plan, "tasks_ended") || strings.Contains(plan, "filesort") {
				t.Errorf("not in the order of the index: %s\n%s", plan, statement)
			}
		}
	}
	if explained < 7 || inOrder == 0 {
		t.Errorf("%d statements were explained, %d of them look for tasks:\n%s", explained, inOrder, strings.Join(*list, "\n"))
	}
}

// plan returns the server's plan for a statement on one table.
func plan(t *testing.T, db *sql.DB, statement string) string {
	t.Helper()
	var text string
	if err := db.QueryRowContext(t.Context(), "EXPLAIN FORMAT=JSON "+statement).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
