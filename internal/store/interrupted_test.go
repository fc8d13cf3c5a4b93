package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// upStatements returns the statements of a migration.
func upStatements(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	up, _, found := strings.Cut(string(content), "-- +goose Down")
	if !found {
		t.Fatalf("%s has no way back", file)
	}
	up = regexp.MustCompile(`(?m)^--.*\n`).ReplaceAllString(up, "")
	list := strings.Split(up, ";\n")
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// schema returns a description of all tables of a database, for comparison.
func schema(t *testing.T, db *sql.DB, name string) []string {
	t.Helper()
	queries := []string{"SELECT CONCAT_WS(' ', tbl_name, name, sql) FROM sqlite_master"}
	if name == "mysql" {
		queries = []string{
			"SELECT CONCAT_WS(' ', table_name, column_name, ordinal_position, column_type, is_nullable, column_default, collation_name)" +
				" FROM information_schema.columns WHERE table_schema = DATABASE()",
			"SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique)" +
				" FROM information_schema.statistics WHERE table_schema = DATABASE()",
		}
	}
	var lines []string
	for _, query := range queries {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	slices.Sort(lines)
	return lines
}

// interrupt runs statements like a migration that is killed at some point:
// MySQL keeps what was done, SQLite rolls it back.
func interrupt(t *testing.T, db *sql.DB, name string, done []string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	begin, end := "START TRANSACTION", "ROLLBACK"
	if name == "sqlite" {
		begin = "BEGIN"
	}
	for _, statement := range slices.Concat([]string{begin}, done, []string{end}) {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// A migration interrupted between any two of its statements is finished by
// running it again, for each release; each adds one migration. The way down
// leaves nothing.
func TestMigrationInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob("migrations/" + name + "/*.sql")
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			f := open(t, uri(t))
			db := f.behind(t)
			for i, file := range files {
				release := open(t, f.uri, store.WithMigrations(filesOf(t, files[:i+1])))
				if _, _, err := release.Schema.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
				want, list := schema(t, db, name), upStatements(t, file)
				for n := range list {
					if name == "sqlite" && n+1 < len(list) {
						continue // all is rolled back, whichever statement it was
					}
					if _, err := steps(t, db, name).DownTo(t.Context(), int64(i)); err != nil {
						t.Fatal(err)
					}
					interrupt(t, db, name, list[:n+1])
					if from, to, err := release.Schema.Migrate(t.Context()); err != nil || from != int64(i) || to != int64(i+1) {
						t.Fatalf("%s, interrupted after %d of %d statements: from %d to %d, %v", file, n+1, len(list), from, to, err)
					}
					wantSame(t, fmt.Sprintf("the schema after %s was interrupted after statement %d", file, n+1), schema(t, db, name), want)
				}
			}
			if _, err := steps(t, db, name).DownTo(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			for _, line := range schema(t, db, name) {
				if table, _, _ := strings.Cut(line, " "); !strings.Contains(line, "goose_") && !strings.Contains(line, "schema_range") &&
					table != "sqlite_sequence" {
					t.Errorf("left after the way down: %s", line)
				}
			}
			if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			if err := f.Schema.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The version table is made in two steps as well.
func TestMigrationInterruptedAtItsBeginning(t *testing.T) {
	t.Parallel()
	f := open(t, testservices.MySQL(t))
	db := f.behind(t)
	const made = "CREATE TABLE goose_db_version (id BIGINT(20) UNSIGNED NOT NULL AUTO_INCREMENT, version_id BIGINT NOT NULL," +
		" is_applied BOOLEAN NOT NULL, tstamp DATETIME NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY(id))"
	if _, err := db.ExecContext(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	if from, to, err := f.Schema.Migrate(t.Context()); err != nil || from != 0 || to < 6 {
		t.Errorf("from %d to %d, %v", from, to, err)
	}
	if err := f.Schema.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
}

// An interrupted reset does not leave a schema that seems complete.
func TestResetInterrupted(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, uri(t))
			if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			db := f.behind(t)
			want := schema(t, db, name)
			// It cannot drop a table that another one references, or something
			// that is not a table, and stops there.
			obstacle := []string{"DROP TABLE turns", "CREATE VIEW turns AS SELECT 1 AS one"}
			clear := "DROP VIEW turns"
			if name == "mysql" {
				obstacle = []string{"CREATE TABLE other (job VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin," +
					" FOREIGN KEY (job) REFERENCES turns (job))"}
				clear = "DROP TABLE other"
			}
			for _, statement := range obstacle {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Schema.Reset(t.Context()); err == nil {
				t.Fatal("the reset was not interrupted")
			}
			if err := f.Schema.CheckSchema(t.Context()); tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("half of the tables are gone, and the schema is said to be well: %v", err)
			}
			if _, err := db.ExecContext(t.Context(), clear); err != nil {
				t.Fatal(err)
			}
			if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantSame(t, "the schema after the reset that was interrupted", schema(t, db, name), want)
		})
	}
}

// Foreign tables are left alone, and not mistaken for an interrupted migration.
func TestMigrationMeetsForeignTables(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, uri(t))
			db := f.behind(t)
			if _, err := db.ExecContext(t.Context(), "CREATE TABLE tasks (id INT PRIMARY KEY, other INT)"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, _, err := f.Schema.Migrate(t.Context())
				if tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "tasks") {
					t.Errorf("got %v, want a conflict that names the table", err)
				}
			}
			if tables := schema(t, db, name); slices.ContainsFunc(tables, func(s string) bool { return strings.Contains(s, "dead_letters") }) {
				t.Errorf("tables were made beside the foreign one: %q", tables)
			}
		})
	}
}

// A missing privilege is reported, and not mistaken for another migration.
func TestMigrationWithoutRights(t *testing.T) {
	t.Parallel()
	f, grant := withUser(t, "SELECT, CREATE, DROP, ALTER, INDEX, REFERENCES")
	// With retries it would take longer than this.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	migrate := func() error {
		// Old connections keep their privileges.
		f := open(t, f.uri, store.WithProgress(func(what string) { t.Errorf("it waits: %s", what); cancel() }))
		_, _, err := f.Schema.Migrate(ctx)
		return err
	}
	denied := func(table string) {
		t.Helper()
		for range 2 {
			if err := migrate(); err == nil || !strings.Contains(err.Error(), "INSERT command denied") || !strings.Contains(err.Error(), table) {
				t.Fatalf("got %v, want that table %s may not be written", err, table)
			}
		}
	}
	denied("goose_db_version")
	// The lock is the last table before the first migration.
	grant("CREATE, INSERT", "goose_db_version")
	grant("CREATE, INSERT, UPDATE", "schema_range")
	denied("goose_lock")
	grant("INSERT, UPDATE, DELETE", "*")
	if err := migrate(); err != nil {
		t.Error(err)
	}
}

// A process that waits for another migration reports which one, and continues
// when that one is dead.
func TestMigrationWaits(t *testing.T) {
	t.Parallel()
	waits := make(chan string, 100)
	f := open(t, testservices.MySQL(t), store.WithProgress(func(what string) { waits <- what }))
	if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := f.behind(t)
	if _, err := steps(t, db, "mysql").DownTo(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	const take = "UPDATE goose_lock SET locked = 1, locked_by = 'elsewhere-42-0a0b', lease_expires_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR"
	if _, err := db.ExecContext(t.Context(), take); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, _, err := f.Schema.Migrate(ctx)
		ended <- err
	}()
	select {
	case what := <-waits:
		if !strings.Contains(what, "elsewhere-42-0a0b") {
			t.Errorf("it waits for %q", what)
		}
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("migrated while another one did")
	}
	go func() {
		_, _, err := f.Schema.Migrate(t.Context())
		ended <- err
	}()
	<-waits
	if _, err := db.ExecContext(t.Context(), "UPDATE goose_lock SET lease_expires_at = UTC_TIMESTAMP(6)"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := f.Schema.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
}

// withUser opens a database as a new user with some privileges; grant adds
// more.
func withUser(t *testing.T, rights string) (f fixture, grant func(rights, table string)) {
	t.Helper()
	uri := testservices.MySQL(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	admin, database := plain(t, uri), strings.TrimPrefix(u.Path, "/")
	do := func(statement string) {
		t.Helper()
		if _, err := admin.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	do("CREATE USER " + database + " IDENTIFIED BY 'pw'")
	t.Cleanup(func() { _, _ = admin.ExecContext(context.WithoutCancel(t.Context()), "DROP USER "+database) })
	grant = func(rights, table string) {
		t.Helper()
		do("GRANT " + rights + " ON " + database + "." + table + " TO " + database)
	}
	grant(rights, "*")
	u.User = url.UserPassword(database, "pw")
	return open(t, u.String()), grant
}
