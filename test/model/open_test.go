package model

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// tb is what a run needs of a test, be it rapid's or not.
type tb interface {
	Logf(format string, args ...any)
	Fatal(args ...any)
	Cleanup(func())
}

// opener gives a new world, with an empty store.
type opener func(t tb) *world

func eachBackend(t *testing.T, test func(t *testing.T, open opener)) {
	for name, prepare := range map[string]func(testing.TB) opener{"sqlite": onSQLite, "mysql": onMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, prepare(t))
		})
	}
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)} }

func openStore(t testing.TB, uri string, c *clock) *store.Store {
	s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler), store.WithClock(c.Now))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func migrate(t testing.TB, s *store.Store) {
	if _, _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// onSQLite gives each world a copy of one empty database.
func onSQLite(t testing.TB) opener {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.db")
	s := openStore(t, "sqlite://"+empty, newClock())
	migrate(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(empty)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	return func(rt tb) *world {
		n++
		file := filepath.Join(dir, fmt.Sprint(n, ".db"))
		if err := os.WriteFile(file, content, 0o600); err != nil {
			rt.Fatal(err)
		}
		c := newClock()
		s := openStore(t, "sqlite://"+file, c)
		rows := openRows(t, "sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
		rt.Cleanup(func() { closeAll(t, rows, s) })
		return newWorld(context.Background(), s, c, rows, rt.Logf)
	}
}

// onMySQL gives each world the same database, emptied. The store measures the
// clock once, and lets it be the model's from then on.
func onMySQL(t testing.TB) opener {
	uri := testservices.MySQL(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal("the address of the database cannot be parsed")
	}
	password, _ := u.User.Password()
	c := newClock()
	s := openStore(t, uri, c)
	migrate(t, s)
	rows := openRows(t, "mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path))
	t.Cleanup(func() { closeAll(t, rows, s) })
	return func(rt tb) *world {
		for _, table := range []string{"endpoint_task_types", "endpoints", "task_results", "tasks"} {
			if _, err := rows.db.ExecContext(context.Background(), "DELETE FROM "+table); err != nil {
				rt.Fatal(err)
			}
		}
		return newWorld(context.Background(), s, c, rows, rt.Logf)
	}
}

func openRows(t testing.TB, driver, dsn string) *reader {
	r, err := newReader(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closeAll(t testing.TB, rows *reader, s *store.Store) {
	for _, end := range []func() error{rows.db.Close, s.Close} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}
