//go:build linux

package handlers_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/builtin"
)

// binPath is a directory with a program "args" that prints its arguments, and
// one below it.
func binPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeProgram(t, filepath.Join(dir, "args"), "#!/bin/sh\n[ $# -gt 0 ] || { echo none; exit; }\nprintf '[%s]' \"$@\"\n", 0o755)
	writeProgram(t, filepath.Join(dir, "sub", "name"), "#!/bin/sh\nbasename \"$0\"\n", 0o755)
	return dir
}

func writeProgram(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestScriptRuns(t *testing.T) {
	t.Parallel()
	dir := binPath(t)
	if err := os.Symlink("sub/name", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	h := newHandler(t, "script", handlers.Settings{"bin_path": dir})
	if err := h.(handlers.Checker).Check(); err != nil {
		t.Error(err)
	}
	for payload, want := range map[string]string{
		`{"bin_name": "args", "args": "12  hello"}`:                          "[12][hello]",
		`{"bin_name": "args", "args": ["1 2", "$(id);", -3.5, true, "", 7]}`: "[1 2][$(id);][-3.5][true][][7]",
		`{"bin_name": "args", "args": [], "max_run_time": 60}`:               "none",
		`{"bin_name": "sub/name"}`:                                           "name",
		`{"bin_name": "link"}`:                                               "name", // it stays inside
	} {
		out, err := handle(t, h, payload)
		var text string
		if uerr := json.Unmarshal([]byte(out), &text); err != nil || uerr != nil || text != want {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

func TestScriptRefusesPayloads(t *testing.T) {
	t.Parallel()
	h := newHandler(t, "script", handlers.Settings{"bin_path": binPath(t)})
	for payload, want := range map[string]string{
		`null`:                                  `no "bin_name"`,
		`{}`:                                    `no "bin_name"`,
		`[]`:                                    "must be an object",
		`{"bin_name": 1}`:                       "must be an object",
		`{"bin_name": "args", "user": "root"}`:  `unknown field "user"`,
		`{"bin_name": "args"} {}`:               "something follows",
		`{"bin_name": "args", "args": 5}`:       `"args" is neither a text nor a list`,
		`{"bin_name": "args", "args": [null]}`:  `"args" holds null`,
		`{"bin_name": "args", "args": [["x"]]}`: `"args" holds ["x"]`,
		`{"bin_name": "args", "args": ["\u0000"]}`: `"args" holds a NUL`,
		`{"bin_name": "args", "max_run_time": 0}`:  `"max_run_time" is 0`,
		`{"bin_name": "args", "max_run_time": -1}`: `"max_run_time" is -1`,
		`{"bin_name": "../args"}`:                  "without . and ..",
		`{"bin_name": "sub/../args"}`:              "without . and ..",
		`{"bin_name": "/bin/sh"}`:                  "without . and ..",
		`{"bin_name": "./args"}`:                   "without . and ..",
		`{"bin_name": "."}`:                        "without . and ..",
		`{"bin_name": "args\u0000"}`:               "without . and ..",
		`{"bin_name": "nope"}`:                     "it does not exist in",
		`{"bin_name": "sub"}`:                      "it is no file",
		`{"bin_name": "args/x"}`:                   "not a directory",
	} {
		out, err := handle(t, h, payload)
		if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) || out != "" {
			t.Errorf("%s: got %s, %v; want %s", payload, out, err, want)
		}
	}
}

// TestScriptRunsOnlyWhatIsTrusted: nothing that leads out of the directory, and
// nothing that others could have put there.
func TestScriptRunsOnlyWhatIsTrusted(t *testing.T) {
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
		out, err := handle(t, newHandler(t, "script", handlers.Settings{"bin_path": dir}), `{"bin_name": "`+name+`"}`)
		if err == nil || !strings.Contains(err.Error(), want) || !handlers.IsPermanent(err) || out != "" {
			t.Errorf("got %s, %v\nwant %s", out, err, want)
		}
	}
}

// TestScriptAsKingtaskHasIt: a program of kingtask's reports an error on its
// standard error, and ends with 0 all the same.
func TestScriptAsKingtaskHasIt(t *testing.T) {
	t.Parallel()
	dir := binPath(t)
	writeProgram(t, filepath.Join(dir, "example"), `#!/bin/sh
case $#$1$2 in 2*[!0-9]*) printf 'err:invalid syntax' >&2 ;; 2*) printf %d $(($1 + $2)) ;; *) printf 'args count must be two' >&2 ;; esac
`, 0o755)
	h := newHandler(t, "script", handlers.Settings{"bin_path": dir, "stderr": "failure"})
	for args, want := range map[string]string{"12 34": "", "12 hello": "err:invalid syntax", "12": "args count must be two"} {
		out, err := handle(t, h, `{"bin_name": "example", "args": "`+args+`"}`)
		switch {
		case want == "" && (err != nil || out != "46"),
			want != "" && (err == nil || err.Error() != want || handlers.Errnr(err) != 1 || handlers.IsPermanent(err)):
			t.Errorf("%s: got %s, %v; want %s", args, out, err, want)
		}
	}
}

func TestScriptStopsAtMaxRunTime(t *testing.T) {
	t.Parallel()
	dir := binPath(t)
	writeProgram(t, filepath.Join(dir, "slow"), "#!/bin/sh\necho busy >&2\nexec sleep 1000\n", 0o755)
	h := newHandler(t, "script", handlers.Settings{"bin_path": dir})
	_, err := handle(t, h, `{"bin_name": "slow", "max_run_time": 0.3}`)
	if err == nil || err.Error() != "the program ran longer than its max_run_time, 300ms (killed by SIGTERM): busy" || !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestScriptSettings(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string]handlers.Settings{
		`setting "bin_path" is missing: give the absolute`:    nil,
		`setting "bin_path" is "bin": give the absolute path`: {"bin_path": "bin"},
		`unknown setting "command": it has bin_path`:          {"bin_path": "/bin", "command": "x"},
		`setting "stdin": "x" is neither`:                     {"bin_path": "/bin", "stdin": "x"},
	} {
		if _, err := builtin.Catalog().Make("script", settings); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	file := filepath.Join(binPath(t), "args")
	for path, want := range map[string]string{"/nope": "bin_path: there is no directory /nope", file: "is not a directory"} {
		err := newHandler(t, "script", handlers.Settings{"bin_path": path}).(handlers.Checker).Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	d := newHandler(t, "script", handlers.Settings{"bin_path": "/srv/bin"}).(handlers.Describer).Describe()
	if !json.Valid(d.Schema) || !json.Valid(d.Example) || !strings.Contains(d.Description, "/srv/bin") {
		t.Errorf("got %+v", d)
	}
	if names := builtin.Catalog().Names(); !slices.Contains(names, "exec") || !slices.Contains(names, "script") {
		t.Errorf("got %v", names)
	}
}
