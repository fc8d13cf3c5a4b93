package store_test

import (
	"database/sql"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// steps returns a provider that moves a schema version by version.
func steps(t *testing.T, db *sql.DB, name string) *goose.Provider {
	t.Helper()
	dialect := goose.DialectMySQL
	if name == "sqlite" {
		dialect = goose.DialectSQLite3
	}
	p, err := goose.NewProvider(dialect, db, os.DirFS("migrations/"+name), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Rows from before live reports are readable after the migration, and unchanged
// after the way back.
func TestMigrationToLive(t *testing.T) {
	t.Parallel()
	const version = 6
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, uri(t))
			db := f.behind(t)
			p := steps(t, db, name)
			do := func(statements ...string) {
				t.Helper()
				for _, statement := range statements {
					if _, err := db.ExecContext(t.Context(), statement); err != nil {
						t.Fatalf("%s: %v", statement, err)
					}
				}
			}
			if _, err := p.UpTo(t.Context(), version-1); err != nil {
				t.Fatal(err)
			}
			const when = "'2026-05-06 01:00:00.000000'"
			do("INSERT INTO tasks (id, type, identifier, request_hash, status, payload, start_time, sent_time, last_modified_time)"+
				" VALUES (7, 'worker', 'old', '', 'SENT', 'null', "+when+", "+when+", "+when+")",
				"INSERT INTO endpoints (name, manager, host, pid, version, start_time, last_seen, lease_until)"+
					" VALUES ('a', '"+managerA+"', 'host', 1, '', "+when+", "+when+", "+when+")")
			for endpoint, state := range map[string]string{"a": "RUNNING", "b": "RETRYING", "c": "DONE"} {
				do("INSERT INTO task_results" +
					" (task_id, endpoint, state, attempt, manager, errnr, errmsg, start_time, last_modified_time, retry_time) VALUES (7, '" +
					endpoint + "', '" + state + "', 2, '" + managerA + "', 3, 'why', " + when + ", " + when + ", " + when + ")")
			}
			if from, to, err := f.Schema.Migrate(t.Context()); err != nil || from != version-1 || to < version {
				t.Fatalf("from %d to %d, %v", from, to, err)
			}

			task := tasker.Task{ID: 7}
			at := time.Date(2026, 5, 6, 1, 0, 0, 0, time.UTC)
			// Their begin is unknown, and so are the attempts before.
			wantSame(t, "the running one", f.attempts(t, task, "a"), []tasker.Attempt{{Attempt: 2, State: tasker.Running, Errnr: 3, Errmsg: "why"}})
			wantSame(t, "the one that waits", f.attempts(t, task, "b"),
				[]tasker.Attempt{{Attempt: 2, State: tasker.ResultFailed, Errnr: 3, Errmsg: "why", EndTime: &at}})
			wantSame(t, "the one that ended", f.attempts(t, task, "c"),
				[]tasker.Attempt{{Attempt: 2, State: tasker.ResultDone, Errnr: 3, Errmsg: "why", EndTime: &at}})
			f.acquire(t, managerB, "a")
			if w := f.interrupted(t, managerB, "a"); w.Step != 0 || w.AwaitsReboot != "" || w.Attempt != 2 {
				t.Errorf("%+v", w)
			}
			f.save(t, told(task, "a", 2, 0, 0))
			if !f.finish(t, finish(task, "a", 2, tasker.Retrying))[0] || len(f.attempts(t, task, "a")) != 1 {
				t.Error("the running one did not go on")
			}

			if _, err := p.DownTo(t.Context(), version-1); err != nil {
				t.Fatal(err)
			}
			tables, err := f.Schema.Tables(t.Context())
			if err != nil || slices.ContainsFunc(tables, func(x store.Table) bool { return x.Name == "attempts" || x.Name == "log_chunks" }) {
				t.Errorf("tables after the way back: %v, %v", tables, err)
			}
			var n int
			const kept = "SELECT COUNT(*) FROM task_results WHERE errnr IN (1, 3) AND attempt = 2"
			if err := db.QueryRowContext(t.Context(), kept).Scan(&n); err != nil || n != 3 {
				t.Errorf("%d results after the way back, %v", n, err)
			}
			if _, err := db.ExecContext(t.Context(), "SELECT attempt_time FROM task_results"); err == nil ||
				!strings.Contains(err.Error(), "attempt_time") {
				t.Errorf("the column is still there: %v", err)
			}
			if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
				t.Errorf("again: %v", err)
			}
			if err := f.Schema.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
