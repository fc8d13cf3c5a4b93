package storetest

import (
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// What is made from a dump is what the migrations make.
func TestMigrate(t *testing.T) {
	for name, test := range map[string]struct {
		uri  func(testing.TB) string
		dump *dump
	}{
		"sqlite": {func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "tasker.db") }, &sqliteDump},
		"mysql":  {testservices.MySQL, &mysqlDump},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second is made from the dump
				s, err := store.Open(store.Config{URI: test.uri(t)}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				Migrate(t, s)
				if err := s.Schema.CheckSchema(t.Context()); err != nil {
					t.Error(err)
				}
				got, err := test.dump.read(t.Context(), s.Pool())
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, test.dump.statements) {
					t.Errorf("it contains\n%v\nwant\n%v", got, test.dump.statements)
				}
				if n, err := s.Schema.Tables(t.Context()); err != nil || len(n) < 15 {
					t.Errorf("%d tables, %v", len(n), err)
				}
				if from, to, err := s.Schema.Migrate(t.Context()); err != nil || from != to || to == 0 {
					t.Errorf("migrated from %d to %d, %v", from, to, err)
				}
			}
		})
	}
}

// A database that a test is through with is empty for the next one, and is dropped in the end.
func TestKeptDatabase(t *testing.T) {
	var uris []string
	for range 2 {
		t.Run("", func(t *testing.T) {
			uri := MySQL(t)
			uris = append(uris, uri)
			s, err := store.Open(store.Config{URI: uri}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			Migrate(t, s)
			if err := s.Schema.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
			task, created, err := s.Tasks.CreateTask(t.Context(), tasker.Task{Type: "worker", Identifier: "one", Endpoints: []string{"a"}})
			if err != nil || !created {
				t.Errorf("created %v, %+v, %v", created, task, err)
			}
		})
	}
	if len(uris) != 2 || uris[0] != uris[1] {
		t.Fatalf("the databases are %d, want the same one twice", len(uris))
	}
	if err := DropKept(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{URI: uris[0]}, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
		err = s.Schema.CheckSchema(t.Context())
	}
	if err == nil {
		t.Error("the database is still there")
	}
}
