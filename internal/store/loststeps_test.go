package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
)

// manyUnfinished makes many results of an endpoint in a state.
func manyUnfinished(t *testing.T, f fixture, n int, state tasker.ResultState) {
	t.Helper()
	now := f.Now().Format("2006-01-02 15:04:05.000000")
	db := raw(t, f.uri)
	_, _ = db.ExecContext(t.Context(), "SET SESSION max_recursive_iterations = 100000")
	for _, statement := range []string{
		"INSERT INTO tasks (type, identifier, request_hash, status, payload, expected, start_time, sent_time, last_modified_time)" +
			" WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < " + fmt.Sprint(n) + ")" +
			" SELECT 'worker', CONCAT('" + string(state) + "-', i), '', 'SENT', '{}', '[\"a\"]', '" + now + "', '" + now + "', '" + now + "' FROM n",
		"INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time)" +
			" SELECT id, 'a', '" + string(state) + "', 1, '', 7, 'before', '" + now + "', '" + now + "' FROM tasks WHERE identifier LIKE '" +
			string(state) + "-%'",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func countStates(t *testing.T, f fixture) map[tasker.ResultState]int {
	t.Helper()
	rows, err := raw(t, f.uri).QueryContext(t.Context(),
		"SELECT state, COUNT(*) FROM task_results WHERE errmsg = 'before' OR lost_errmsg = 'before' GROUP BY state")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	counts := map[tasker.ResultState]int{}
	for rows.Next() {
		var state tasker.ResultState
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			t.Fatal(err)
		}
		counts[state] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return counts
}

// Many results of an endpoint become LOST, and return, in steps; after an
// interruption the next call continues.
func TestLostInSteps(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		f.acquire(t, managerA, "a")
		manyUnfinished(t, f, 1300, tasker.Running)
		manyUnfinished(t, f, 1100, tasker.Retrying)

		// A process that dies after a step.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var once sync.Once
		dying, err := store.Open(store.Config{URI: f.uri, Verbose: true},
			slog.New(whenLogged{slog.DiscardHandler, "UPDATE task_results", func() { once.Do(cancel) }}), store.WithClock(f.clock.Now))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = dying.Close() }()
		for _, s := range []*store.Store{dying, f.Store} {
			if err := s.SyncClock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		f.clock.advance(2 * lease)
		if _, err := dying.Endpoints.MarkLost(ctx, f.Now().Add(-lease), 10); err == nil {
			t.Error("a call that was cut off reports no error")
		}
		if n := countStates(t, f)[tasker.Lost]; n > 500 {
			t.Errorf("one step took %d results", n)
		}
		lost := map[int64]bool{}
		for {
			tasks, err := f.Endpoints.MarkLost(t.Context(), f.Now().Add(-lease), 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range tasks {
				lost[id] = true
			}
			if len(tasks) == 0 {
				break
			}
		}
		if got := countStates(t, f); got[tasker.Lost] != 2400 || len(got) != 1 || len(lost) < 1900 {
			t.Fatalf("the states are %v, and %d tasks were reported", got, len(lost))
		}
		n, err := f.Endpoints.ReturnFromLost(t.Context(), []string{"other", "a"})
		if got := countStates(t, f); err != nil || n != 2400 || got[tasker.Running] != 1300 || got[tasker.Retrying] != 1100 {
			t.Errorf("%d are back, %v: the states are %v", n, err, got)
		}
	})
}

// The endpoints that a task for all expects are not truncated at a limit of the
// server.
func TestManyExpected(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		const n = 16_000
		f.create(t, "first") // asks for the time
		now := f.Now().Format("2006-01-02 15:04:05.000000")
		db := raw(t, f.uri)
		_, _ = db.ExecContext(t.Context(), "SET SESSION max_recursive_iterations = 100000")
		for _, statement := range []string{
			"INSERT INTO endpoints (name, manager, host, pid, version, start_time, last_seen, lease_until)" +
				" WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < " + fmt.Sprint(n) + ")" +
				" SELECT CONCAT('" + strings.Repeat("e", 59) + "', SUBSTR(CONCAT('00000', i), -5)), '', '', 1, '', '" + now + "', '" + now +
				"', '" + now + "' FROM n",
			"INSERT INTO endpoint_task_types (task_type, endpoint) SELECT 'worker', name FROM endpoints",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		f.send(t, "one")
		task, err := f.Tasks.FindTask(t.Context(), "worker", "one")
		if err != nil || task.Status != tasker.Sent || len(task.Expected) != n {
			t.Errorf("status %s, %d endpoints expected, %v", task.Status, len(task.Expected), err)
		}
	})
}
