//go:build unix

package handlers_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
)

// TestProgramsThatOthersCanChangeAreNotRun: exec, service, the command for a
// reboot, and what an interpreter is told to run. The check says so, and the run.
func TestProgramsThatOthersCanChangeAreNotRun(t *testing.T) {
	t.Parallel()
	program := func(spoil func(path string) error) string {
		path := filepath.Join(t.TempDir(), "program")
		writeProgram(t, path, "#!/bin/sh\ncat\n", 0o755)
		if err := spoil(path); errors.Is(err, fs.ErrPermission) {
			t.Skip("only root can give a file away")
		} else if err != nil {
			t.Fatal(err)
		}
		return path
	}
	forAll := program(func(path string) error { return os.Chmod(path, 0o757) })
	inDirForAll := program(func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) })
	of := program(func(path string) error { return os.Chown(path, 65534, 65534) })
	for name, test := range map[string]struct {
		handler  string
		settings handlers.Settings
		want     string
		check    bool // the check says so, and no run
	}{
		"exec":                    {"exec", handlers.Settings{"command": forAll}, forAll + " is not to be run: " + forAll + " is writable by all users (its mode is -rwxr-xrwx): chmod go-w " + forAll, false},
		"exec with limits":        {"exec", handlers.Settings{"command": forAll, "limits": map[string]any{"open_files": 10}}, "is writable by all users", false},
		"in a directory":          {"exec", handlers.Settings{"command": inDirForAll}, filepath.Dir(inDirForAll) + " is writable by all users", false},
		"of another user":         {"exec", handlers.Settings{"command": of}, of + " belongs to the user 65534", false},
		"of the run's own user":   {"exec", handlers.Settings{"command": of, "user": "65534"}, "", true},
		"an interpreter's":        {"exec", handlers.Settings{"command": []any{"sh", forAll, "x"}}, forAll + " is not to be run", false},
		"an interpreter's option": {"exec", handlers.Settings{"command": []any{"/bin/sh", "-e", forAll}}, forAll + " is not to be run", false},
		"a relative one":          {"exec", handlers.Settings{"command": []any{"sh", "program"}, "directory": filepath.Dir(forAll)}, forAll + " is not to be run", false},
		"text for a shell":        {"exec", handlers.Settings{"command": []any{"sh", "-c", "true"}}, "", true},
		"a file that is read":     {"exec", handlers.Settings{"command": []any{"cat", forAll}}, "", true},
		"service":                 {"service", handlers.Settings{"command": []any{forAll}}, forAll + " is not to be run", false},
		"a reboot's":              {"exec", handlers.Settings{"command": "true", "reboot_code": 194, "reboot_command": forAll}, "reboot_command: " + forAll + " is not to be run", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, ok := test.settings["user"]; ok && os.Geteuid() != 0 {
				t.Skip("only root can run a program as another user")
			}
			h := newHandler(t, test.handler, test.settings)
			if err := h.(handlers.Checker).Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("the check: got %v\nwant %s", err, test.want)
			}
			if test.check {
				return
			}
			out, err := handle(t, h, "null")
			if err == nil || !strings.Contains(err.Error(), test.want) || handlers.Errnr(err) != 126 || out != "" {
				t.Errorf("the run: got %s, errnr %d, %v\nwant %s", out, handlers.Errnr(err), err, test.want)
			}
		})
	}
}

func TestCertificatesThatOthersCanChange(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	h := newHandler(t, "http", handlers.Settings{"url": "https://h/", "ca_file": path})
	if err := h.(handlers.Checker).Check(); err == nil || !strings.Contains(err.Error(), "it is not to be believed: "+path+" is writable by all users") {
		t.Errorf("got %v", err)
	}
}
