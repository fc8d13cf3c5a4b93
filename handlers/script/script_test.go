//go:build linux

package script_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
	"github.com/taskerhq/tasker/handlers/script"
)

// binPath makes a directory with a program "args", which prints its arguments, and a
// program in a subdirectory.
func binPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	handlertest.WriteFile(t, filepath.Join(dir, "args"), "#!/bin/sh\n[ $# -gt 0 ] || { echo none; exit; }\nprintf '[%s]' \"$@\"\n", 0o755)
	handlertest.WriteFile(t, filepath.Join(dir, "sub", "name"), "#!/bin/sh\nbasename \"$0\"\n", 0o755)
	return dir
}

func TestRuns(t *testing.T) {
	t.Parallel()
	dir := binPath(t)
	if err := os.Symlink("sub/name", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	h := handlertest.Make(t, script.New, handlers.Settings{"bin_path": dir})
	if err := handlertest.Check(h); err != nil {
		t.Error(err)
	}
	for payload, want := range map[string]string{
		`{"bin_name": "args", "args": "12  hello"}`:                          "[12][hello]",
		`{"bin_name": "args", "args": ["1 2", "$(id);", -3.5, true, "", 7]}`: "[1 2][$(id);][-3.5][true][][7]",
		`{"bin_name": "args", "args": [], "max_run_time": 60}`:               "none",
		`{"bin_name": "sub/name"}`:                                           "name",
		`{"bin_name": "link"}`:                                               "name", // inside the directory
	} {
		out, err := handlertest.Handle(t, h, payload)
		var text string
		if uerr := json.Unmarshal([]byte(out), &text); err != nil || uerr != nil || text != want {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

func TestRefusesPayloads(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, script.New, handlers.Settings{"bin_path": binPath(t)})
	for payload, want := range map[string]string{
		`null`:                                  `missing "bin_name"`,
		`{}`:                                    `missing "bin_name"`,
		`[]`:                                    "must be an object",
		`{"bin_name": 1}`:                       "must be an object",
		`{"bin_name": "args", "user": "root"}`:  `unknown field "user"`,
		`{"bin_name": "args"} {}`:               "data after the object",
		`{"bin_name": "args", "args": 5}`:       `"args" must be a string or a list`,
		`{"bin_name": "args", "args": [null]}`:  `"args" must contain strings and numbers, got null`,
		`{"bin_name": "args", "args": [["x"]]}`: `"args" must contain strings and numbers, got ["x"]`,
		`{"bin_name": "args", "args": ["\u0000"]}`: `"args" contains NUL`,
		`{"bin_name": "args", "max_run_time": 0}`:  `invalid "max_run_time" 0: must be`,
		`{"bin_name": "args", "max_run_time": -1}`: `invalid "max_run_time" -1: must be`,
		`{"bin_name": "../args"}`:                  `without "." and ".."`,
		`{"bin_name": "sub/../args"}`:              `without "." and ".."`,
		`{"bin_name": "/bin/sh"}`:                  `without "." and ".."`,
		`{"bin_name": "./args"}`:                   `without "." and ".."`,
		`{"bin_name": "."}`:                        `without "." and ".."`,
		`{"bin_name": "args\u0000"}`:               `without "." and ".."`,
		`{"bin_name": "nope"}`:                     `program "nope" does not exist in`,
		`{"bin_name": "sub"}`:                      `program "sub" is not a regular file`,
		`{"bin_name": "args/x"}`:                   "not a directory",
	} {
		out, err := handlertest.Handle(t, h, payload)
		if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) || out != "" {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

// TestRunsTrustedProgramsOnly: neither one outside the directory, nor one that others
// could have put there.
func TestRunsTrustedProgramsOnly(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(dir, outside string) (string, error){
		"statat link: path escapes from parent": func(dir, outside string) (string, error) {
			return "link", os.Symlink(filepath.Join(outside, "args"), filepath.Join(dir, "link"))
		},
		"statat way/args: path escapes from parent": func(dir, outside string) (string, error) {
			return "way/args", os.Symlink(outside, filepath.Join(dir, "way"))
		},
		"statat x: path escapes from parent": func(dir, _ string) (string, error) { // out and in again
			return "x", os.Symlink("../"+filepath.Base(dir)+"/args", filepath.Join(dir, "x"))
		},
		"is not executable (its mode is -rw-r--r--)": func(dir, _ string) (string, error) {
			return "args", os.Chmod(filepath.Join(dir, "args"), 0o644)
		},
		"args is writable by all users (its mode is -rwxr-xrwx): chmod go-w ": func(dir, _ string) (string, error) {
			return "args", os.Chmod(filepath.Join(dir, "args"), 0o757)
		},
		"args is writable by its group (its mode is -rwxrwxr-x): chmod g-w ": func(dir, _ string) (string, error) {
			return "args", os.Chmod(filepath.Join(dir, "args"), 0o775)
		},
		"sub is writable by all users": func(dir, _ string) (string, error) {
			return "sub/name", os.Chmod(filepath.Join(dir, "sub"), 0o777|os.ModeSticky)
		},
		"is writable by all users (its mode is dtrwxrwxrwx)": func(dir, _ string) (string, error) {
			return "args", os.Chmod(dir, 0o777|os.ModeSticky)
		},
		"args belongs to the user 65534": func(dir, _ string) (string, error) {
			return "args", os.Chown(filepath.Join(dir, "args"), 65534, 65534)
		},
	} {
		dir, outside := binPath(t), binPath(t)
		name, err := spoil(dir, outside)
		if errors.Is(err, os.ErrPermission) {
			continue // only root can give a file away
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := handlertest.Handle(t, handlertest.Make(t, script.New, handlers.Settings{"bin_path": dir}), `{"bin_name": "`+name+`"}`)
		if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) || out != "" {
			t.Errorf("got %s, %v\nwant %s", out, err, want)
		}
	}
}

// TestProgramsOfKingtask: a program of kingtask reports an error on standard error, and
// exits with 0.
func TestProgramsOfKingtask(t *testing.T) {
	t.Parallel()
	dir := binPath(t)
	handlertest.WriteFile(t, filepath.Join(dir, "example"), `#!/bin/sh
case $#$1$2 in 2*[!0-9]*) printf 'err:invalid syntax' >&2 ;; 2*) printf %d $(($1 + $2)) ;; *) printf 'args count must be two' >&2 ;; esac
`, 0o755)
	h := handlertest.Make(t, script.New, handlers.Settings{"bin_path": dir, "stderr": "failure"})
	for args, want := range map[string]string{"12 34": "", "12 hello": "err:invalid syntax", "12": "args count must be two"} {
		out, err := handlertest.Handle(t, h, `{"bin_name": "example", "args": "`+args+`"}`)
		switch {
		case want == "" && (err != nil || out != "46"),
			want != "" && (err == nil || err.Error() != want || handlers.Errnr(err) != 1 || handlers.IsPermanent(err)):
			t.Errorf("%s: got %s, %v; want %s", args, out, err, want)
		}
	}
}

func TestStopsAtMaxRunTime(t *testing.T) {
	t.Parallel()
	dir := binPath(t)
	handlertest.WriteFile(t, filepath.Join(dir, "slow"), "#!/bin/sh\necho busy >&2\nexec sleep 1000\n", 0o755)
	h := handlertest.Make(t, script.New, handlers.Settings{"bin_path": dir})
	_, err := handlertest.Handle(t, h, `{"bin_name": "slow", "max_run_time": 0.3}`)
	if err == nil || err.Error() != "the program ran longer than its max_run_time (300ms) (killed by SIGTERM): busy" || !errors.Is(err,
		handlers.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	handlertest.Refuses(t, script.New, map[string]handlers.Settings{
		`setting "bin_path": must be the absolute path of the directory with the programs, got ""`:    nil,
		`setting "bin_path": must be the absolute path of the directory with the programs, got "bin"`: {"bin_path": "bin"},
		`unknown setting "command": the settings are bin_path`:                                        {"bin_path": "/bin", "command": "x"},
		`setting "stdin": must be payload or none, got "x"`:                                           {"bin_path": "/bin", "stdin": "x"},
	})
	file := filepath.Join(binPath(t), "args")
	for path, want := range map[string]string{"/nope": "bin_path: /nope does not exist", file: "is not a directory"} {
		err := handlertest.Check(handlertest.Make(t, script.New, handlers.Settings{"bin_path": path}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	d := handlertest.Make(t, script.New, handlers.Settings{"bin_path": "/srv/bin"}).(handlers.Describer).Describe()
	if !json.Valid(d.Schema) || !json.Valid(d.Example) || !strings.Contains(d.Description, "/srv/bin") {
		t.Errorf("got %+v", d)
	}
}
