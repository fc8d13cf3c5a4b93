//go:build linux

package handlers_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/taskerhq/tasker/handlers"
)

// TestExecCleansUp: what a manager left that was killed goes with the first run
// of the next one. That processes go, too, is tested where they are killed.
func TestExecCleansUp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, name := range []string{"tasker-payload-7.json", "tasker-work-7/file", "tasker-payload-8.json", "somebody-elses.json"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Number 7 had a manager that has died; number 8 has not begun yet.
	if err := os.Symlink("4194999 4194998 1", filepath.Join(dir, "tasker-payload-7.json.run")); err != nil {
		t.Fatal(err)
	}
	h := builtin(t, "exec", handlers.Settings{"command": []any{"/bin/true"}})
	if _, err := h.Handle(t.Context(), request("null")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("%v is left, want tasker-payload-8.json and somebody-elses.json", left)
	}
}
