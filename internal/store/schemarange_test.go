package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testservices"
)

// release returns the migrations of a later release: those of this one, and one
// for each statement.
func release(t *testing.T, name string, added ...string) (files fstest.MapFS, version int64) {
	t.Helper()
	paths, err := filepath.Glob("migrations/" + name + "/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	files = filesOf(t, paths)
	version = int64(len(files))
	for i, statement := range added {
		path := fmt.Sprintf("migrations/%s/%05d_later.sql", name, int(version)+i+1)
		files[path] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + statement + ";\n-- +goose Down\nSELECT 1;\n")}
	}
	return files, version
}

// filesOf returns some of the migrations, like an earlier release.
func filesOf(t *testing.T, paths []string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = &fstest.MapFile{Data: content}
	}
	return files
}

// TestProgramsOfTwoReleases: the migrations of a later release say which older
// programs can use its schema. Those continue, and start again; the others
// refuse to. The later program never uses an older schema.
func TestProgramsOfTwoReleases(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]func(testing.TB) string{"sqlite": sqliteURI, "mysql": testservices.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, version := release(t, name)
			compatible := fmt.Sprintf("-- oldest: %d\nALTER TABLE task_results ADD COLUMN later INT NULL", version)
			next, _ := release(t, name, compatible)
			later, _ := release(t, name, compatible, "CREATE TABLE later (id INT PRIMARY KEY)")
			this := open(t, uri(t))
			ofNext, ofLater := open(t, this.uri, store.WithMigrations(next)), open(t, this.uri, store.WithMigrations(later))
			if _, to, err := this.Schema.Migrate(t.Context()); err != nil || to != version {
				t.Fatal(to, err)
			}
			if err := ofNext.Schema.CheckSchema(t.Context()); tasker.CodeOf(err) != tasker.Conflict {
				t.Errorf("a schema that is behind: %v", err)
			}

			if _, to, err := ofNext.Schema.Migrate(t.Context()); err != nil || to != version+1 {
				t.Fatal(to, err)
			}
			// Both work, and the older one may be restarted, and initialized
			// again.
			this.acquire(t, managerA, "a")
			for identifier, f := range map[string]fixture{"this": this, "next": ofNext} {
				if err := f.Schema.CheckSchema(t.Context()); err != nil {
					t.Errorf("the program of release %s: %v", identifier, err)
				}
				task := f.send(t, identifier, "a")
				this.receive(t, managerA, incoming(task, "a", tasker.Running))
				ofNext.finish(t, finish(task, "a", 1, tasker.ResultDone))
				if got := this.states(t, task)["a"]; got != tasker.ResultDone {
					t.Errorf("the task of release %s is %s", identifier, got)
				}
			}
			if from, to, err := this.Schema.Migrate(t.Context()); err != nil || from != to || to != version+1 {
				t.Errorf("the older program migrates from %d to %d, %v", from, to, err)
			}

			if _, _, err := ofLater.Schema.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			// Initializing with an older program does not let it in.
			if _, _, err := this.Schema.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			for identifier, f := range map[string]fixture{"this": this, "next": ofNext} {
				if err := f.Schema.CheckSchema(t.Context()); tasker.CodeOf(err) != tasker.Conflict || !strings.Contains(err.Error(), "newer") {
					t.Errorf("the program of release %s with a schema that is not for it: %v", identifier, err)
				}
			}
			if err := ofLater.Schema.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
