//go:build linux

package service_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// TestRemovesLeftovers: a killed manager's directories are removed, and a process has
// the path of its directory, by which what it starts is found.
func TestRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, name := range []string{"tasker-service-7", "tasker-service-8"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(handlertest.DeadRecord(t), filepath.Join(dir, "tasker-service-7.run")); err != nil {
		t.Fatal(err)
	}
	for name, settings := range map[string]handlers.Settings{"its own": nil, "another one": {"directory": "/"}} {
		h := shellService(t,
			`read -r line
echo "{\"id\":\"1\",\"result\":[\"$TASKER_SERVICE_DIR\",\"$(readlink "$TASKER_SERVICE_DIR.run" | cut -d" " -f1)\",\"$$\"]}"
read -r line`, settings)
		result, err := ask(t, h, "null")
		var got []string
		if uerr := json.Unmarshal(result, &got); err != nil || uerr != nil {
			t.Fatalf("%s: got %s, %v", name, result, err)
		}
		if filepath.Dir(got[0]) != dir || got[1] != got[2] {
			t.Errorf("%s: the record in %s is of %q, want process %s", name, got[0], got[1], got[2])
		}
		if err := handlers.Close(h); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left were %v, want tasker-service-8", left)
	}
}
