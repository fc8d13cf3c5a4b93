//go:build linux

package handlers_test

import (
	"encoding/json"
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
	for _, name := range []string{"tasker-payload-7.json", "tasker-work-7/file", "tasker-payload-8.json", "tasker-payload-9.json", "somebody-elses.json"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Number 7 had a manager that has died; number 8 has not begun yet, and
	// number 9 is of another container.
	if err := os.Symlink(ofTheDead(t), filepath.Join(dir, "tasker-payload-7.json.run")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("4194999 4194998 1 pid:[1]", filepath.Join(dir, "tasker-payload-9.json.run")); err != nil {
		t.Fatal(err)
	}
	h := newHandler(t, "exec", handlers.Settings{"command": []any{"/bin/true"}})
	if _, err := h.Handle(t.Context(), request("null")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 4 {
		t.Errorf("%v is left, want the payloads 8 and 9, the record of 9, and somebody-elses.json", left)
	}
}

// ofTheDead is the record of a program whose manager has died.
func ofTheDead(t *testing.T) string {
	t.Helper()
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	return "4194999 4194998 1 " + space
}

// TestServiceCleansUp: so it is with the processes of services, which tell
// their directory as it takes to find what they have started.
func TestServiceCleansUp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, name := range []string{"tasker-service-7", "tasker-service-8"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(ofTheDead(t), filepath.Join(dir, "tasker-service-7.run")); err != nil {
		t.Fatal(err)
	}
	for name, settings := range map[string]handlers.Settings{"its own": nil, "another one": {"directory": "/"}} {
		h := shellService(t, `read -r line; echo "{\"id\":\"1\",\"result\":[\"$TASKER_SERVICE_DIR\",\"$(readlink "$TASKER_SERVICE_DIR.run" | cut -d" " -f1)\",\"$$\"]}"; read -r line`, settings)
		result, err := ask(t, h, "null")
		var told []string
		if uerr := json.Unmarshal(result, &told); err != nil || uerr != nil {
			t.Fatalf("%s: got %s, %v", name, result, err)
		}
		if filepath.Dir(told[0]) != dir || told[1] != told[2] {
			t.Errorf("%s: the record in %s is of %q, want process %s", name, told[0], told[1], told[2])
		}
		if err := handlers.Close(h); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("%v is left, want tasker-service-8", left)
	}
}
