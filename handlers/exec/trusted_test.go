//go:build unix

package exec_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
	"github.com/taskerhq/tasker/handlers/service"
)

// spoiled makes a program that others could change.
func spoiled(t *testing.T, spoil func(path string) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	handlertest.WriteFile(t, path, "#!/bin/sh\ncat\n", 0o755)
	if err := spoil(path); errors.Is(err, fs.ErrPermission) {
		t.Skip("only root can give a file away")
	} else if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRunsTrustedProgramsOnly: neither a program that others could change, nor a script
// of an interpreter. Both the check and the run report it.
func TestRunsTrustedProgramsOnly(t *testing.T) {
	t.Parallel()
	forAll := spoiled(t, func(path string) error { return os.Chmod(path, 0o757) })
	inDir := spoiled(t, func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) })
	of := spoiled(t, func(path string) error { return os.Chown(path, 65534, 65534) })
	for name, test := range map[string]struct {
		factory  handlers.Factory
		settings handlers.Settings
		want     string
		check    bool // check only
	}{
		"exec": {
			exec.New,
			handlers.Settings{"command": forAll},
			forAll + " is not trusted: " + forAll + " is writable by all users (its mode is -rwxr-xrwx): chmod go-w " + forAll, false,
		},
		"exec with limits": {
			exec.New,
			handlers.Settings{"command": forAll, "limits": map[string]any{"open_files": 10}},
			"is writable by all users", false,
		},
		"in a directory":          {exec.New, handlers.Settings{"command": inDir}, filepath.Dir(inDir) + " is writable by all users", false},
		"of another user":         {exec.New, handlers.Settings{"command": of}, of + " belongs to the user 65534", false},
		"of the run's own user":   {exec.New, handlers.Settings{"command": of, "user": "65534"}, "", true},
		"an interpreter's":        {exec.New, handlers.Settings{"command": []any{"sh", forAll, "x"}}, forAll + " is not trusted", false},
		"an interpreter's option": {exec.New, handlers.Settings{"command": []any{"/bin/sh", "-e", forAll}}, forAll + " is not trusted", false},
		"a relative one": {
			exec.New,
			handlers.Settings{"command": []any{"sh", "program"}, "directory": filepath.Dir(forAll)},
			forAll + " is not trusted", false,
		},
		"text for a shell":    {exec.New, handlers.Settings{"command": []any{"sh", "-c", "true"}}, "", true},
		"a file that is read": {exec.New, handlers.Settings{"command": []any{"cat", forAll}}, "", true},
		"service":             {service.New, handlers.Settings{"command": []any{forAll}}, forAll + " is not trusted", false},
		"a reboot's": {
			exec.New,
			handlers.Settings{"command": "true", "reboot_code": 194, "reboot_command": forAll},
			"reboot_command: " + forAll + " is not trusted", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, ok := test.settings["user"]; ok && os.Geteuid() != 0 {
				t.Skip("only root can run a program as another user")
			}
			h := handlertest.Make(t, test.factory, test.settings)
			if err := handlertest.Check(h); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("the check: got %v\nwant %s", err, test.want)
			}
			if test.check {
				return
			}
			out, err := handlertest.Handle(t, h, "null")
			if err == nil || !strings.Contains(err.Error(), test.want) || handlers.Errnr(err) != 126 || out != "" {
				t.Errorf("the run: got %s, errnr %d, %v\nwant %s", out, handlers.Errnr(err), err, test.want)
			}
		})
	}
}
