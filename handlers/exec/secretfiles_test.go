//go:build unix

package exec_test

import (
	"os"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// TestVariablesFromFiles: a variable has the content of its file when the program
// starts.
func TestVariablesFromFiles(t *testing.T) {
	t.Parallel()
	path := handlertest.SecretFile(t, "first")
	h := handlertest.Make(t, exec.New, handlers.Settings{
		"command":          []any{"sh", "-c", `echo "$KEY"`},
		"environment_file": map[string]any{"KEY": path},
	})
	if err := handlertest.Check(h); err != nil {
		t.Error(err)
	}
	if out, err := handlertest.Handle(t, h, "null"); err != nil || out != `"first\n"` && out != `"first"` {
		t.Errorf("got %s, %v", out, err)
	}
	if err := os.WriteFile(path, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := handlertest.Handle(t, h, "null"); err != nil || !strings.Contains(out, "second") {
		t.Errorf("a renewed file: got %s, %v", out, err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	want := `setting "environment_file": "KEY": ` + path + " is accessible to every user (its mode is 0644): chmod o-rwx " + path
	if err := handlertest.Check(h); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the check: got %v", err)
	}
	if _, err := handlertest.Handle(t, h, "null"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the run: got %v", err)
	}
}
