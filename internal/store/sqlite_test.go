package store_test

import (
	"os"
	"strings"
	"testing"
)

// TestSQLiteFilesAreTheOwners: only the owner can read tasks and results, also
// in files of an earlier version.
func TestSQLiteFilesAreTheOwners(t *testing.T) {
	uri := sqliteURI(t)
	file := strings.TrimPrefix(uri, "sqlite://")
	all := []string{"", "-wal", "-shm"}
	check := func(when string, suffixes ...string) {
		t.Helper()
		for _, suffix := range suffixes {
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
	check("opened", "")
	if _, _, err := f.Schema.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.create(t, "one")
	check("made", all...)
	for _, suffix := range all {
		if err := os.Chmod(file+suffix, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := open(t, uri).Schema.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("made by an earlier version", all...)
}
