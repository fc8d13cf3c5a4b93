package model

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testservices"
)

// tb is what a run needs of a testing.T or a rapid.T.
type tb interface {
	Logf(format string, args ...any)
	Fatal(args ...any)
}

// opener returns a new world with an empty store.
type opener func(t tb) *world

// backend names a database for the store, and for readers that bypass it.
type backend struct{ uri, driver, dsn string }

func eachBackend(t *testing.T, test func(t *testing.T, open opener)) {
	for name, prepare := range map[string]func(testing.TB) backend{"sqlite": onSQLite, "mysql": onMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, prepare(t).open(t))
		})
	}
}

func onSQLite(t testing.TB) backend {
	file := filepath.Join(t.TempDir(), "tasker.db")
	return backend{"sqlite://" + file, "sqlite", "file:" + file + "?_pragma=busy_timeout(10000)"}
}

func onMySQL(t testing.TB) backend {
	uri := testservices.MySQL(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal("invalid database address")
	}
	password, _ := u.User.Password()
	return backend{uri, "mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path)}
}

// open returns an opener that empties the database for each world. The store
// measures the database's clock once; after that the model's clock counts.
func (b backend) open(t testing.TB) opener {
	c := &clock{now: time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)}
	s, err := store.Open(store.Config{URI: b.uri, SeenWithin: seenWithin}, slog.New(slog.DiscardHandler), store.WithClock(c.Now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	storetest.Migrate(t, s)
	// The model reads the store's time before any statement does.
	if err := s.SyncClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := newReader(b.driver, b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rows.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(t tb) *world {
		// A world that failed may have left anything, and the shortest failure must not be due to that.
		for _, table := range []string{
			"endpoint_task_types", "endpoints", "holds", "cancels", "rounds", "attempts", "place_claims", "place_candidates",
			"task_places", "topic_tasks", "topics", "rollouts", "rollout_targets", "task_results", "task_targets", "tasks",
		} {
			if _, err := rows.db.ExecContext(context.Background(), "DELETE FROM "+table); err != nil {
				t.Fatal(err)
			}
		}
		return newWorld(context.Background(), s, c, rows, t.Logf)
	}
}
