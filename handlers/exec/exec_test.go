//go:build linux

package exec_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/exec"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

// shell makes the handler for a shell script, with further settings.
func shell(t *testing.T, script string, settings handlers.Settings) handlers.Handler {
	t.Helper()
	all := handlers.Settings{"command": []any{"/bin/sh", "-c", strings.ReplaceAll(script, "${", "$${")}, "stop_grace": 0.5}
	maps.Copy(all, settings)
	return handlertest.Make(t, exec.New, all)
}

func TestResults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script   string
		settings handlers.Settings
		result   string
		errnr    int
		errmsg   string
	}{
		"JSON":         {`echo ' {"a": [1, "<"]} '`, nil, `{"a": [1, "<"]}`, 0, ""},
		"nothing":      {`true`, nil, ``, 0, ""},
		"text":         {`printf 'a < b\n\n'`, nil, `"a < b\n"`, 0, ""},
		"two values":   {`echo 1; echo 2`, nil, `"1\n2"`, 0, ""},
		"JSON as text": {`echo 1`, handlers.Settings{"result": "text"}, `"1"`, 0, ""},
		"none":         {`echo 1`, handlers.Settings{"result": "none"}, ``, 0, ""},
		"no JSON": {
			`echo one`,
			handlers.Settings{"result": "json"},
			`"one"`, 1,
			"the program succeeded, but its standard output is not JSON",
		},
		"binary":          {`printf '\377\000a'`, nil, `{"stdout_base64":"/wBh"}`, 0, ""},
		"NUL":             {`printf 'a\000'`, nil, `{"stdout_base64":"YQA="}`, 0, ""},
		"failed":          {`echo 1; echo oh >&2; echo no >&2; exit 3`, nil, `1`, 3, "oh\nno"},
		"failed silently": {`exit 3`, nil, ``, 3, "exit code 3"},
		"well with 3":     {`exit 3`, handlers.Settings{"success_codes": []any{0, 3}}, ``, 0, ""},
		"not well with 0": {`exit 0`, handlers.Settings{"success_codes": []any{3}}, ``, 1, "exit code 0"},
		"warned":          {`echo 1; echo oh >&2`, handlers.Settings{"stderr": "warn"}, `1`, 0, ""},
		"stderr":          {`echo 1; echo oh >&2`, handlers.Settings{"stderr": "failure"}, `1`, 1, "oh"},
		"stderr, blank":   {`echo 1; echo >&2`, handlers.Settings{"stderr": "failure"}, `1`, 0, ""},
		"stderr, and 3":   {`echo oh >&2; exit 3`, handlers.Settings{"stderr": "failure"}, ``, 3, "oh"},
		"as prlimit says": {`echo prlimit: no >&2; exit 3`, handlers.Settings{"limits": map[string]any{"open_files": 50}}, ``, 3, "prlimit: no"},
		"killed":          {`echo oh >&2; kill -TERM $$`, nil, ``, 143, "killed by SIGTERM: oh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result, err := handlertest.Handle(t, shell(t, test.script, test.settings), "null")
			if result != test.result || handlers.Errnr(err) != test.errnr || err != nil && err.Error() != test.errmsg {
				t.Errorf("got %s, errnr %d, %v; want %s, %d, %s", result, handlers.Errnr(err), err, test.result, test.errnr, test.errmsg)
			}
			if handlers.IsPermanent(err) != (name == "no JSON") {
				t.Errorf("permanent is %t", handlers.IsPermanent(err))
			}
		})
	}
	_, err := handlertest.Handle(t, shell(t, "exit 5", handlers.Settings{"permanent_codes": []any{4, 5}}), "null")
	if !handlers.IsPermanent(err) || handlers.Errnr(err) != 5 {
		t.Errorf("a permanent code: %v", err)
	}
}

// TestWarnsAboutStderr: the log has a warning, and the task succeeds.
func TestWarnsAboutStderr(t *testing.T) {
	t.Parallel()
	rec := handlertest.NewRecorder()
	h := shell(t, "echo oh >&2", handlers.Settings{"stderr": "warn"})
	if _, err := h.Handle(t.Context(), rec.Request("null")); err != nil || !strings.Contains(rec.Log(), `wrote to standard error" stderr=oh`) {
		t.Errorf("got %v, %s", err, rec.Log())
	}
}

// TestTruncates: a truncated result says so, and has at most max_output bytes, however
// the output is escaped in JSON.
func TestTruncates(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"stdout":        `head -c 100000 /dev/zero | tr '\0' a`,
		"controls":      `head -c 1000 /dev/zero | tr '\0' '\001'`, // \u0001 each
		"characters":    `printf a; i=0; while [ $i -lt 1000 ]; do printf '\342\202\254'; i=$((i+1)); done`,
		"stdout_base64": `head -c 100000 /dev/zero`,
	} {
		out, err := handlertest.Handle(t, shell(t, script, handlers.Settings{"max_output": 1024}), "null")
		var result struct {
			Stdout    string `json:"stdout"`
			Base64    []byte `json:"stdout_base64"`
			Truncated bool   `json:"truncated"`
			Size      int    `json:"size"`
		}
		if uerr := json.Unmarshal([]byte(out), &result); err != nil || uerr != nil {
			t.Fatalf("%s: %v, %v: %s", name, err, uerr, out)
		}
		want := map[string]int{"controls": 1000, "characters": 3001}[name]
		if want == 0 {
			want = 100000
		}
		if !result.Truncated || result.Size != want || len(out) > 1024 || len(out) < 700 && name != "controls" ||
			strings.Contains(result.Stdout, "\uFFFD") || (len(result.Base64) > 0) != (name == "stdout_base64") {
			t.Errorf("%s: %d bytes: %s", name, len(out), out)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("TEST_PASSED", "yes")
	t.Setenv("TASKER_TEST_SECRET", "no")
	t.Setenv("TEST_SECRET", "no")
	h := shell(t, `env; echo "dir=$(pwd)"; stat -c '%a' . "$TASKER_PAYLOAD_FILE"; cat "$TASKER_PAYLOAD_FILE"; echo; cat`, handlers.Settings{
		"environment": map[string]any{"NAME": "a ${who} $${b}", "GONE": "${other}"}, "pass_environment": []any{
			"TEST_PASSED", "PATH",
			"TEST_UNSET",
		},
		"parameters": map[string]any{"who": map[string]any{}, "other": map[string]any{}},
	})
	out, err := handlertest.Handle(t, h, `{"who": "-x y"}`)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := json.Unmarshal([]byte(out), &text); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	var more []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		} else {
			more = append(more, line)
		}
	}
	dir, file := env["TASKER_WORK_DIR"], env["TASKER_PAYLOAD_FILE"]
	delete(env, "_")
	for name, want := range map[string]string{
		"NAME": "a -x y ${b}", "TEST_PASSED": "yes", "PATH": os.Getenv("PATH"), "dir": dir, "PWD": dir,
		"TASKER_TASK_ID": "7", "TASKER_IDENTIFIER": "e7bd", "TASKER_TYPE": "call", "TASKER_ENDPOINT": "console1",
		"TASKER_ATTEMPT": "2", "TASKER_STEP": "1", "TASKER_DEADLINE": "2026-01-02T03:04:05Z", "TASKER_FD": "3",
		"TASKER_PAYLOAD_FILE": file, "TASKER_WORK_DIR": dir,
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
		delete(env, name)
	}
	if len(env) > 0 {
		t.Errorf("unexpected variables: %v", env)
	}
	if want := []string{"700", "600", `{"who": "-x y"}`, `{"who": "-x y"}`}; !slices.Equal(more, want) {
		t.Errorf("got %q, want %q", more, want)
	}
	for _, path := range []string{dir, file} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	// A configured directory stays, and without stdin there is nothing to read.
	own := t.TempDir()
	out, err = handlertest.Handle(t, shell(t, `pwd > here; cat; pwd`, handlers.Settings{"directory": own, "stdin": "none"}), `"payload"`)
	if _, serr := os.Stat(filepath.Join(own, "here")); err != nil || serr != nil || out != strconv.Quote(own) {
		t.Errorf("got %s, %v, %v", out, err, serr)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string]handlers.Settings{
		"": {
			"command": "true", "limits": map[string]any{"open_files": 10}, "directory": "/tmp",
			"user": "nobody",
		},
		"program /nope not found":          {"command": "/nope"},
		"the directory /nope does not":     {"command": "true", "directory": "/nope"},
		"unknown user nobody-at-all":       {"command": "true", "user": "nobody-at-all"},
		"unknown group nobody-at-all":      {"command": "true", "group": "nobody-at-all"},
		"reboot_command: program /nope no": {"command": "true", "reboot_code": 194, "reboot_command": "/nope"},
	} {
		if os.Geteuid() != 0 && settings["user"] == "nobody" {
			continue
		}
		err := handlertest.Check(handlertest.Make(t, exec.New, settings))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	for command, errnr := range map[string]int{"/nope": 127, "/etc/passwd": 126} {
		_, err := handlertest.Handle(t, handlertest.Make(t, exec.New, handlers.Settings{"command": command}), "null")
		if handlers.Errnr(err) != errnr || !strings.HasPrefix(err.Error(), "the program could not be started: ") || handlers.IsPermanent(err) {
			t.Errorf("%s: errnr %d, %v", command, handlers.Errnr(err), err)
		}
	}
	long := handlertest.Make(t, exec.New, handlers.Settings{
		"command": []any{"true", "${p}"}, "parameters": map[string]any{"p": map[string]any{"max_length": 1 << 20}},
	})
	if _, err := handlertest.Handle(t, long, `{"p": "`+strings.Repeat("x", 1<<18)+`"}`); !handlers.IsPermanent(err) ||
		!strings.Contains(err.Error(), "too long") {
		t.Errorf("a long argument: %v", err)
	}
}

func TestReportsWhileItRuns(t *testing.T) {
	t.Parallel()
	rec := handlertest.NewRecorder()
	h := shell(t, `echo '{"progress": {"done": 1, "total": 3, "message": "first"}}' >&3
echo '{"log": {"level": "warn", "message": "hot < cold"}}' >&3
echo '{"log": {"message": "plain"}}' >&3
echo '{"partial": {"so": "far"}}' >&3
echo >&3
for line in rubbish '{}' '{"progress": 5}' '{"unknown": 1}' '{"log":{"level":"loud","message":"m"}}' '{} {}' more; do echo "$line" >&3; done
head -c 1100000 /dev/zero >&3; echo >&3
printf '{"progress": {"done": 2}}' >&3
echo out; printf 'no end'; printf 'err\377\n' >&2`, nil)
	result, err := h.Handle(t.Context(), rec.Request("null"))
	if err != nil || string(result) != `"out\nno end"` {
		t.Fatalf("got %s, %v", result, err)
	}
	if want := []string{"1/3 first", "2/0 "}; !slices.Equal(rec.Progresses(), want) || !slices.Equal(rec.Partials(),
		[]string{`{"so": "far"}`}) {
		t.Errorf("got %q, %s", rec.Progresses(), rec.Partials())
	}
	lines := slices.Sorted(slices.Values(rec.Lines()))
	if want := []string{"stderr: err\uFFFD", "stdout: no end", "stdout: out"}; !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
	log := rec.Log()
	for _, want := range []string{
		`level=WARN msg="hot < cold"`, `level=INFO msg=plain`, `line=rubbish`,
		`more invalid events on file descriptor 3" lines=3`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if n := strings.Count(log, `msg="invalid event`); n != 5 {
		t.Errorf("%d warnings:\n%s", n, log)
	}
	// Other streams than the configured ones are not reported, and a reporter is optional.
	rec = handlertest.NewRecorder()
	if _, err := shell(t, "echo out; echo err >&2", handlers.Settings{"log": []any{"stderr"}}).Handle(t.Context(),
		rec.Request("null")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rec.Lines(), []string{"stderr: err"}) {
		t.Errorf("got %q", rec.Lines())
	}
	if _, err := shell(t, `echo rubbish >&3; echo x`, nil).Handle(t.Context(), &handlers.Request{Payload: []byte("null")}); err != nil {
		t.Error(err)
	}
}

// TestReportsLinesAtOnce: a line is reported while the program runs.
func TestReportsLinesAtOnce(t *testing.T) {
	t.Parallel()
	rec, dir := handlertest.NewRecorder(), t.TempDir()
	h := shell(t, `echo ready; while ! [ -e go ]; do sleep 0.01; done; echo "end of $1"`, handlers.Settings{"directory": dir})
	done := make(chan error, 1)
	go func() {
		_, err := h.Handle(t.Context(), rec.Request("null"))
		done <- err
	}()
	handlertest.Poll(t, "the first line", func() bool { return slices.Contains(rec.Lines(), "stdout: ready") })
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStopsWithItsContext: the error is the cause, however the program ends.
func TestStopsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{handlers.ErrTimeout, handlers.ErrCanceled, handlers.ErrShutdown} {
		for script, want := range map[string]string{
			`trap 'echo bye >&2; exit 0' TERM; echo ready; while :; do sleep 0.01; done`: "bye",
			`trap '' TERM; echo ready; while :; do sleep 0.01; done`:                     "(killed by SIGKILL)",
		} {
			rec := handlertest.NewRecorder()
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := shell(t, script, nil).Handle(ctx, rec.Request("null"))
				done <- err
			}()
			handlertest.Poll(t, "the first line", func() bool { return slices.Contains(rec.Lines(), "stdout: ready") })
			cancel(cause)
			if err := <-done; !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), cause.Error()+" (") ||
				!strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestReboots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	down := filepath.Join(dir, "down")
	for name, test := range map[string]struct {
		settings handlers.Settings
		want     string
		reboots  bool
		problem  string // of the command
	}{
		"alone": {
			handlers.Settings{"reboot_code": 194},
			"the attempt continues after a reboot: the program asked for it with exit code 194", true, "",
		},
		"off": {nil, "exit code 194", false, ""},
		"with a command": {
			handlers.Settings{"reboot_code": 194, "reboot_command": []any{"/usr/bin/touch", down}},
			"the attempt continues after", true, "",
		},
		"told to end": {
			handlers.Settings{"reboot_code": 194, "reboot_command": []any{"/bin/sh", "-c", "kill -TERM $$"}},
			"the attempt continues after", true, "",
		},
		"failing command": {
			handlers.Settings{"reboot_code": 194, "reboot_command": []any{"/bin/sh", "-c", "echo no; exit 4"}},
			"the attempt continues after", true, "its command failed: exit code 4: no",
		},
		"missing command": {
			handlers.Settings{"reboot_code": 194, "reboot_command": "/nope"},
			"the attempt continues after", true,
			"its command could not be started: program /nope not found",
		},
	} {
		_, err := handlertest.Handle(t, shell(t, "exit 194", test.settings), "null")
		if errors.Is(err, handlers.ErrContinueAfterReboot) != test.reboots || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := os.Stat(down); err == nil {
			t.Errorf("%s: the machine rebooted before it could be stored that the attempt continues", name)
		}
		problem := handlers.Reboot(t.Context(), err)
		if (problem == nil) != (test.problem == "") || problem != nil && !strings.Contains(problem.Error(), test.problem) {
			t.Errorf("%s: the reboot returned %v, want %q", name, problem, test.problem)
		}
		if name == "with a command" {
			if err := os.Remove(down); err != nil {
				t.Errorf("the command did not run: %v", err)
			}
		}
	}
}
