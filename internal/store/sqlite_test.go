package store_test

import (
	"os"
	"strings"
	"testing"
)

// TestSQLiteFilesAreTheOwners: tasks and results are nobody else's to read, in
// files of an earlier version neither.
func TestSQLiteFilesAreTheOwners(t *testing.T) {
	uri := sqliteURI(t)
	file := strings.TrimPrefix(uri, "sqlite://")
	check := func(when string) {
		t.Helper()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(file + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has mode %o", when, info.Name(), info.Mode().Perm())
			}
		}
	}
	f := open(t, uri)
	if _, _, err := f.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.create(t, "one")
	check("made")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(file+suffix, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := open(t, uri).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("made by an earlier version")
}
