package store_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/testservices"
)

// count counts rows.
func (f fixture) count(t *testing.T, from string) (n int) {
	t.Helper()
	if err := f.behind(t).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// wantTargets checks whom a task is for, and that the task says how many.
func (f fixture) wantTargets(t *testing.T, task tasker.Task, want ...string) {
	t.Helper()
	if got := f.find(t, task).Expected; !slices.Equal(got, want) {
		t.Errorf("%s expects %v, want %v", task.Identifier, got, want)
	}
	var stored, rows int
	row := f.behind(t).QueryRowContext(t.Context(),
		fmt.Sprintf("SELECT targets, (SELECT COUNT(*) FROM task_targets WHERE task_id = %d) FROM tasks WHERE id = %[1]d", task.ID))
	if err := row.Scan(&stored, &rows); err != nil || stored != len(want) || rows != len(want) {
		t.Errorf("%s says that it has %d targets and has %d, %v; want %d", task.Identifier, stored, rows, err, len(want))
	}
}

// Whom a task is for is decided when it is accepted; an endpoint that gets a copy
// all the same joins.
func TestTargets(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "gone")
		f.clock.advance(8 * 24 * time.Hour)
		f.acquire(t, managerA, "a", "b")
		all, some := f.create(t, "all"), f.create(t, "some", "b", "x")
		f.acquire(t, managerA, "late")
		f.wantTargets(t, all, "a", "b")
		f.wantTargets(t, some, "b", "x")
		for _, task := range []tasker.Task{all, some} {
			if _, err := f.Outbox.MarkSent(t.Context(), task, nil); err != nil {
				t.Fatal(err)
			}
		}
		f.wantTargets(t, all, "a", "b")
		wantOutcomes(t, f.receive(t, managerA, incoming(all, "a", tasker.Running), incoming(all, "late", tasker.Running),
			incoming(some, "late", tasker.Running)), ledger.Recorded, ledger.Recorded, ledger.Refused)
		wantOutcomes(t, f.receive(t, managerA, incoming(all, "late", tasker.Running)), ledger.Duplicate)
		f.wantTargets(t, all, "a", "b", "late")
		f.wantTargets(t, some, "b", "x")
		// For older programs.
		var expected string
		if err := f.behind(t).QueryRowContext(t.Context(), "SELECT expected FROM tasks WHERE identifier = 'all'").Scan(&expected); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(expected, " ", ""); got != `["a","b"]` {
			t.Errorf("older programs read %s", got)
		}
		// It waits for who joined.
		f.finish(t, finish(all, "a", 1, tasker.ResultDone))
		f.receive(t, managerA, incoming(all, "b", tasker.Running))
		f.finish(t, finish(all, "b", 1, tasker.ResultDone))
		f.aggregate(t, all.ID)
		if status := f.status(t, all); status != tasker.Sent {
			t.Errorf("the task is %s although an endpoint that joined runs it", status)
		}
		f.finish(t, finish(all, "late", 1, tasker.ResultDone))
		f.aggregate(t, all.ID)
		if status := f.status(t, all); status != tasker.Done {
			t.Errorf("the task is %s", status)
		}
	})
}

// A task is stored with its targets, or not at all.
func TestNoTaskWithoutTargets(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		f.exec(t, "ALTER TABLE task_targets RENAME TO away")
		for _, listed := range [][]string{nil, {"a"}} {
			_, _, err := f.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "one", Endpoints: listed})
			if err == nil {
				t.Error("no error")
			}
		}
		if n := f.rows(t, "tasks"); n != 0 {
			t.Errorf("%d tasks were stored", n)
		}
		f.exec(t, "ALTER TABLE away RENAME TO task_targets")
		f.wantTargets(t, f.create(t, "one"), "a")
	})
}

// What an arrival reads does not depend on how many endpoints its task has.
func TestArrivalReadsItsOwnRows(t *testing.T) {
	t.Parallel()
	s, db, list := verbose(t, testservices.MySQL(t))
	f := fixture{Store: s}
	ctx := context.Background()
	endpoints := make([]string, 2000)
	for i := range endpoints {
		endpoints[i] = fmt.Sprintf("e%04d", i)
	}
	f.acquire(t, managerA, endpoints[:20]...)
	opens := f.send(t, "opens", endpoints[5:7]...) // their gates are closed since they registered
	f.receive(t, managerA, incoming(opens, endpoints[5], tasker.Running), incoming(opens, endpoints[6], tasker.Running))
	tasks := map[int]tasker.Task{}
	for _, n := range []int{10, 2000} {
		tasks[n] = f.send(t, fmt.Sprint("task", n), endpoints[:n]...)
	}
	if _, err := db.ExecContext(ctx, "ANALYZE TABLE tasks, task_targets, task_results, endpoints"); err != nil {
		t.Fatal(err)
	}
	reads := map[int]int64{}
	for n, task := range tasks {
		*list = nil
		first, second := endpoints[5], endpoints[6]
		wantOutcomes(t, f.receive(t, managerA, incoming(task, first, tasker.Running)), ledger.Recorded)
		statements := make([]string, len(*list)) // the same at another endpoint
		for i, statement := range *list {
			statements[i] = strings.ReplaceAll(statement, first, second)
		}
		if len(statements) != 2 {
			t.Errorf("an arrival at one of %d takes %d statements:\n%s", n, len(statements), strings.Join(statements, "\n"))
		}
		reads[n] = handlerReads(t, db, statements)
		if got := f.states(t, task); len(got) != 2 {
			t.Errorf("%d results were measured", len(got))
		}
	}
	if reads[10] != reads[2000] || reads[10] > 50 {
		t.Errorf("rows read by the number of endpoints: %v", reads)
	}
}

// asOld gives a task the form that older programs give it.
func (f fixture) asOld(t *testing.T, task tasker.Task, expected string) tasker.Task {
	t.Helper()
	f.exec(t, fmt.Sprintf("DELETE FROM task_targets WHERE task_id = %d", task.ID))
	f.exec(t, fmt.Sprintf("UPDATE tasks SET targets = NULL, expected = %s WHERE id = %d", expected, task.ID))
	return task
}

// oldRecord stores a result by the statement of older programs.
func (f fixture) oldRecord(t *testing.T, task tasker.Task, endpoint string) {
	t.Helper()
	f.exec(t, fmt.Sprintf("INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time)"+
		" SELECT %d, name, 'RUNNING', 1, manager, 0, '', last_seen, last_seen FROM endpoints WHERE name = '%s'", task.ID, endpoint))
}

// Programs of the last version and of this one work side by side: tasks that the
// older ones accepted get their targets wherever they are met.
func TestTasksOfOlderPrograms(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		const ab = `'["a","b"]'`
		arrives, lists := f.asOld(t, f.send(t, "arrives"), ab), f.asOld(t, f.send(t, "lists", "a", "b"), "NULL")
		unsent, listed := f.asOld(t, f.create(t, "unsent"), "NULL"), f.asOld(t, f.create(t, "listed", "a", "b"), "NULL")
		ends, ended := f.asOld(t, f.send(t, "ends"), ab), f.asOld(t, f.send(t, "ended"), ab)
		f.exec(t, fmt.Sprintf("UPDATE tasks SET status = 'DONE' WHERE id = %d", ended.ID))

		// Unsent ones: recorded before they are sent, by whoever gets a copy.
		wantOutcomes(t, f.receive(t, managerA, incoming(unsent, "c", tasker.Running), incoming(listed, "c", tasker.Running),
			incoming(listed, "a", tasker.Running)), ledger.Recorded, ledger.Refused, ledger.Recorded)
		f.acquire(t, managerA, "d")
		for _, task := range []tasker.Task{unsent, listed} {
			if sent, err := f.Outbox.MarkSent(t.Context(), task, nil); err != nil || sent.Status != tasker.Sent {
				t.Fatal(sent, err)
			}
		}
		f.wantTargets(t, unsent, "a", "b", "c", "d")
		f.wantTargets(t, listed, "a", "b")

		// An arrival.
		wantOutcomes(t, f.receive(t, managerA, incoming(arrives, "a", tasker.Running), incoming(arrives, "c", tasker.Running),
			incoming(lists, "c", tasker.Running)), ledger.Recorded, ledger.Recorded, ledger.Refused)
		f.wantTargets(t, arrives, "a", "b", "c")
		f.wantTargets(t, lists, "a", "b")

		// Aggregation, beside an older manager whose endpoint joins.
		f.oldRecord(t, ends, "a")
		f.oldRecord(t, ends, "c")
		f.finish(t, finish(ends, "a", 1, tasker.ResultDone), finish(ends, "c", 1, tasker.ResultDone))
		f.aggregate(t, ends.ID)
		if status := f.status(t, ends); status != tasker.Sent {
			t.Errorf("the task is %s although b has not received it", status)
		}
		f.oldRecord(t, ends, "b")
		f.finish(t, finish(ends, "b", 1, tasker.ResultDone))
		f.aggregate(t, ends.ID)
		if status := f.status(t, ends); status != tasker.Done {
			t.Errorf("the task is %s", status)
		}
		f.wantTargets(t, ends, "a", "b")

		// Those that have ended stay as they are.
		if task := f.find(t, ended); !slices.Equal(task.Expected, []string{"a", "b"}) {
			t.Errorf("the ended task expects %v", task.Expected)
		}
		if n := f.count(t, "task_targets WHERE task_id = "+fmt.Sprint(ended.ID)); n != 0 {
			t.Errorf("the ended task has %d targets", n)
		}
	})
}

// The reconciler and the catch-up convert what nobody meets, and later what older
// programs send since.
func TestConvertTasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		var tasks []tasker.Task
		for i := range 45 {
			tasks = append(tasks, f.asOld(t, f.send(t, fmt.Sprint("t", i)), `'["a"]'`))
		}
		f.exec(t, fmt.Sprintf("UPDATE tasks SET status = 'INCOMPLETE' WHERE id = %d", tasks[7].ID))
		if err := f.Statuses.ConvertTasks(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks[5:10] {
			f.wantTargets(t, task, "a")
		}
		if n := f.count(t, "tasks WHERE targets IS NULL"); n != 0 {
			t.Errorf("%d tasks were not converted", n)
		}
		f.clock.advance(10 * time.Second)
		f.asOld(t, f.send(t, "next"), `'["b"]'`)
		found, _, err := f.Inbox.UnreceivedTasks(t.Context(), "b", []string{"worker"}, time.Time{}, ledger.SentPosition{}, 10)
		if err != nil || len(found) != 1 || found[0].Identifier != "next" {
			t.Errorf("found %v, %v", found, err)
		}
	})
}

// An older program that removes an endpoint does not know of targets.
func TestRemovedByAnOlderProgram(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b")
		task := f.send(t, "one")
		f.exec(t, `UPDATE tasks SET expected = '["a"]', removed_endpoints = '["b"]'`)
		found, _, err := f.Inbox.UnreceivedTasks(t.Context(), "b", []string{"worker"}, time.Time{}, ledger.SentPosition{}, 10)
		if err != nil || len(found) != 0 {
			t.Errorf("b catches up with %v, %v", found, err)
		}
		wantOutcomes(t, f.receive(t, managerA, incoming(task, "a", tasker.Running), incoming(task, "b", tasker.Running)),
			ledger.Recorded, ledger.Refused)
		f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		f.aggregate(t, task.ID)
		if status := f.status(t, task); status != tasker.Done {
			t.Errorf("the task is %s", status)
		}
		f.wantTargets(t, task, "a")
	})
}

// A task with many results is counted by the database, and one transaction does
// not count too many.
func TestAggregateManyResults(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 6000
		const numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 6000) "
		f.acquire(t, managerA, "a")
		db := f.behind(t)
		_, _ = db.ExecContext(t.Context(), "SET SESSION max_recursive_iterations = 10000")
		_, _ = db.ExecContext(t.Context(), "SET SESSION cte_max_recursion_depth = 10000")
		var ids []int64
		name := "CONCAT('e', i)"
		if strings.HasPrefix(f.uri, "sqlite") {
			name = "'e' || i"
		}
		for i := range 3 {
			task := f.send(t, fmt.Sprint("t", i), "a")
			ids = append(ids, task.ID)
			for _, statement := range []string{
				fmt.Sprintf("INSERT INTO task_targets (task_id, endpoint) %s SELECT %d, %s FROM n", numbers, task.ID, name),
				fmt.Sprintf("INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time)"+
					" %s SELECT %d, %s, 'DONE', 1, '', 0, '', '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000' FROM n",
					numbers, task.ID, name),
				fmt.Sprintf("UPDATE tasks SET targets = %d WHERE id = %d", n+1, task.ID),
			} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
		}
		if looks, err := f.Statuses.LookAtTasks(t.Context(), ids, time.Hour); err != nil || len(looks) != 3 ||
			looks[0] != (ledger.Look{ID: ids[0], Results: n}) {
			t.Errorf("looks %+v, %v", looks, err)
		}
		f.aggregate(t, ids...)
		for i := range ids {
			task := tasker.Task{ID: ids[i], Type: "worker", Identifier: fmt.Sprint("t", i)}
			if i == 2 {
				f.clock.advance(2 * time.Hour)
				if _, err := f.Statuses.Aggregate(t.Context(), ids, time.Hour); err != nil {
					t.Fatal(err)
				}
				if status := f.status(t, task); status != tasker.Incomplete {
					t.Errorf("the task that lacks one is %s", status)
				}
			}
			f.receive(t, managerA, incoming(task, "a", tasker.Running))
			f.finish(t, finish(task, "a", 1, tasker.ResultDone))
		}
		f.aggregate(t, ids...)
		got := map[string]tasker.TaskStatus{}
		for i := range ids {
			got[fmt.Sprint("t", i)] = f.status(t, tasker.Task{ID: ids[i], Type: "worker", Identifier: fmt.Sprint("t", i)})
		}
		if !maps.Equal(got, map[string]tasker.TaskStatus{"t0": tasker.Done, "t1": tasker.Done, "t2": tasker.Done}) {
			t.Errorf("the tasks are %v", got)
		}
	})
}

// An older program deletes tasks without their targets.
func TestPurgedByAnOlderProgram(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a", "b", "c")
		f.send(t, "one")
		f.send(t, "two")
		kept := f.send(t, "kept")
		f.exec(t, "DELETE FROM tasks WHERE identifier <> 'kept'")
		for _, want := range []int{5, 3, 3} {
			if n, more := f.purgeResults(t, f.Now().Add(time.Second), 4); n != 0 || more != (want == 5) {
				t.Errorf("%d results were deleted, more: %v", n, more)
			}
			if n := f.count(t, "task_targets"); n != want {
				t.Errorf("%d targets are left, want %d", n, want)
			}
		}
		f.wantTargets(t, kept, "a", "b", "c")
	})
}
