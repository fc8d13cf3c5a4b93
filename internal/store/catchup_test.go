package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/testservices"
)

// manyTasks makes 20,000 tasks that have ended and 6,000 open ones, and
// endpoint "a" has received all but one; it returns that one.
func manyTasks(t *testing.T, db *sql.DB, now time.Time) string {
	t.Helper()
	const numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
	// Each one microsecond after the one before.
	at := func(d time.Duration) string {
		return "CONCAT('" + now.Add(d).UTC().Format("2006-01-02 15:04:05.") + "', SUBSTR(CONCAT('000000', i), -6))"
	}
	const open = 6000
	const missed = "open-4711"
	insert := func(n int, identifier, status, sent string) string {
		return "INSERT INTO tasks" +
			" (type, identifier, request_hash, status, payload, endpoints, targets, start_time, sent_time, last_modified_time) " +
			fmt.Sprintf(numbers, n) + "SELECT CONCAT('t', i % 5), CONCAT('" + identifier + "-', i), '', '" + status +
			"', '{}', '[\"a\"]', 1, " + sent + ", " + sent + ", " + sent + " FROM n"
	}
	for _, statement := range []string{
		"SET SESSION max_recursive_iterations = 100000",
		"SET SESSION cte_max_recursion_depth = 100000",
		insert(20_000, "ended", "DONE", at(-5*24*time.Hour)),
		insert(open, "open", "SENT", at(-2*time.Second)),
		"INSERT INTO task_targets (task_id, endpoint) SELECT id, 'a' FROM tasks",
		"INSERT INTO task_results (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time)" +
			" SELECT id, 'a', 'RUNNING', 1, '', 0, '', start_time, start_time FROM tasks WHERE status = 'SENT' AND identifier <> '" + missed + "'",
		"ANALYZE TABLE tasks, task_targets, task_results",
	} {
		if strings.HasPrefix(statement, "SET") || strings.HasPrefix(statement, "ANALYZE") {
			_, _ = db.ExecContext(t.Context(), statement) // one of each kind of server
			continue
		}
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%.200s: %v", statement, err)
		}
	}
	return missed
}

var manyTypes = []string{"t0", "t1", "t2", "t3", "t4"}

// catchUp reads all pages and returns the identifiers found.
func (f fixture) catchUp(t *testing.T, endpoint string, since time.Time, limit int) (found []string) {
	t.Helper()
	for after := (ledger.SentPosition{}); ; {
		tasks, next, err := f.Inbox.UnreceivedTasks(t.Context(), endpoint, manyTypes, since, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			found = append(found, task.Identifier)
		}
		if next == (ledger.SentPosition{}) {
			return found
		}
		if next.Compare(after) <= 0 {
			t.Fatalf("the page behind %v is followed by %v", after, next)
		}
		after = next
	}
}

// The search for missed tasks reads the open tasks, and not those that have
// ended, however many are open.
func TestCatchUpReadsOpenTasksOnly(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db, list := verbose(t, uri(t))
			if err := s.SyncClock(t.Context()); err != nil {
				t.Fatal(err)
			}
			missed := manyTasks(t, db, s.Now())
			for look, since := range map[string]time.Time{"first": {}, "next": s.Now().Add(-5 * time.Minute)} {
				*list = nil
				if found := (fixture{Store: s}).catchUp(t, "a", since, 100); !slices.Equal(found, []string{missed}) {
					t.Errorf("%s look: found %v, want %s", look, found, missed)
				}
				statements := slices.Compact(slices.Sorted(slices.Values(*list)))
				if len(statements) == 0 {
					t.Fatal("no statement was seen")
				}
				for _, statement := range statements {
					for _, problem := range scans(t, db, name, statement) {
						t.Errorf("%s look: %s:\n%.400s", look, problem, statement)
					}
				}
				if name == "sqlite" {
					continue
				}
				// What the server really does.
				if n := handlerReads(t, db, statements); n > 36_000 {
					t.Errorf("%s look: %d rows were read, with 6,000 open tasks and 20,000 ended ones", look, n)
				}
			}
		})
	}
}

// scans returns the tables of a statement that are fully read.
func scans(t *testing.T, db *sql.DB, kind, statement string) (problems []string) {
	t.Helper()
	if kind == "mysql" {
		return explain(t, db, statement)
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement)
	if err != nil {
		t.Fatalf("%.400s: %v", statement, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(detail, "SCAN") && !strings.Contains(detail, "INDEX") {
			problems = append(problems, detail)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return problems
}

// handlerReads runs statements and returns how many rows the server read.
func handlerReads(t *testing.T, db *sql.DB, statements []string) (n int64) {
	t.Helper()
	count := func() (n int64) {
		rows, err := db.QueryContext(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			var value int64
			if err := rows.Scan(&name, &value); err != nil {
				t.Fatal(err)
			}
			n += value
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	for _, statement := range statements {
		rows, err := db.QueryContext(t.Context(), statement)
		if err != nil {
			t.Fatalf("%.200s: %v", statement, err)
		}
		for rows.Next() { //nolint:revive // reading is all
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return count() - before
}

func TestCatchUpPages(t *testing.T) {
	eachBackend(t, func(t *testing.T, f fixture) {
		db := raw(t, f.uri)
		f.acquire(t, managerA, "a")
		missed := manyTasks(t, db, f.Now())
		if found := f.catchUp(t, "a", time.Time{}, 100); !slices.Equal(found, []string{missed}) {
			t.Errorf("found %v, want %s", found, missed)
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE tasks SET status = 'INCOMPLETE' WHERE status = 'SENT' AND id % 3 = 0"); err != nil {
			t.Fatal(err)
		}
		const unsend = "UPDATE tasks SET status = 'CREATED', sent_time = NULL WHERE status = 'SENT' AND id % 3 = 1"
		if _, err := db.ExecContext(t.Context(), unsend); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "DELETE FROM task_results"); err != nil {
			t.Fatal(err)
		}
		found := f.catchUp(t, "a", time.Time{}, 317)
		if n := len(found); n != 6000 {
			t.Errorf("found %d tasks, want 6000", n)
		}
		slices.Sort(found)
		if n := len(slices.Compact(found)); n != 6000 {
			t.Errorf("found %d different tasks, want 6000", n)
		}
		// A task sent before is not looked at; one that is CREATED is.
		if n := len(f.catchUp(t, "a", f.Now(), 100)); n != 2000 {
			t.Errorf("found %d tasks since now, want the 2000 that are CREATED", n)
		}
	})
}
