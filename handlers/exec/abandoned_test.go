//go:build linux

package exec_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// TestRemovesLeftovers: the first run removes what a killed manager left. Package proc
// tests that processes are killed, too.
func TestRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, name := range []string{
		"tasker-payload-7.json", "tasker-work-7/file", "tasker-payload-8.json", "tasker-payload-9.json",
		"somebody-elses.json",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The manager of number 7 is dead; number 8 has not started yet, and number 9
	// belongs to another container.
	if err := os.Symlink(handlertest.DeadRecord(t), filepath.Join(dir, "tasker-payload-7.json.run")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("4194999 4194998 1 pid:[1]", filepath.Join(dir, "tasker-payload-9.json.run")); err != nil {
		t.Fatal(err)
	}
	h := handlertest.Make(t, exec.New, handlers.Settings{"command": []any{"/bin/true"}})
	if _, err := h.Handle(t.Context(), handlertest.NewRecorder().Request("null")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 4 {
		t.Errorf("left were %v, want the payloads 8 and 9, the record of 9, and somebody-elses.json", left)
	}
}
