//go:build linux

package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
)

// teller keeps what a handler tells while it runs.
type teller struct {
	mu       sync.Mutex
	lines    []string // "stream: text"
	progress []string
	partial  string
	log      lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (r *teller) Progress(done, total int64, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, fmt.Sprintf("%d/%d %s", done, total, message))
}

func (r *teller) Partial(result handlers.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = string(result)
}

func (r *teller) Line(stream, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, stream+": "+text)
}

func (r *teller) told(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.lines, line)
}

func (r *teller) request(payload string) *handlers.Request {
	return &handlers.Request{
		TaskID: 12, Identifier: "e7bd", Type: "deploy", Endpoint: "console1", Attempt: 3, Step: 1,
		Deadline: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Payload: json.RawMessage(payload), Reporter: r,
		Log: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// shell is exec with a script for sh, and settings above it.
func shell(t *testing.T, script string, settings handlers.Settings) handlers.Handler {
	t.Helper()
	all := handlers.Settings{"command": []any{"/bin/sh", "-c", strings.ReplaceAll(script, "${", "$${")}, "stop_grace": 0.5}
	maps.Copy(all, settings)
	return newHandler(t, "exec", all)
}

func handle(t *testing.T, h handlers.Handler, payload string) (string, error) {
	t.Helper()
	result, err := h.Handle(t.Context(), (&teller{}).request(payload))
	return string(result), err
}

func TestExecResults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script   string
		settings handlers.Settings
		result   string
		errnr    int
		errmsg   string
	}{
		"JSON":            {`echo ' {"a": [1, "<"]} '`, nil, `{"a": [1, "<"]}`, 0, ""},
		"nothing":         {`true`, nil, ``, 0, ""},
		"text":            {`printf 'a < b\n\n'`, nil, `"a < b\n"`, 0, ""},
		"two values":      {`echo 1; echo 2`, nil, `"1\n2"`, 0, ""},
		"JSON as text":    {`echo 1`, handlers.Settings{"result": "text"}, `"1"`, 0, ""},
		"none":            {`echo 1`, handlers.Settings{"result": "none"}, ``, 0, ""},
		"no JSON":         {`echo one`, handlers.Settings{"result": "json"}, `"one"`, 1, "the program ended well, but its standard output is not JSON"},
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
			result, err := handle(t, shell(t, test.script, test.settings), "null")
			if result != test.result || handlers.Errnr(err) != test.errnr || err != nil && err.Error() != test.errmsg {
				t.Errorf("got %s, errnr %d, %v; want %s, %d, %s", result, handlers.Errnr(err), err, test.result, test.errnr, test.errmsg)
			}
			if handlers.IsPermanent(err) != (name == "no JSON") {
				t.Errorf("permanent is %t", handlers.IsPermanent(err))
			}
		})
	}
	_, err := handle(t, shell(t, "exit 5", handlers.Settings{"permanent_codes": []any{4, 5}}), "null")
	if !handlers.IsPermanent(err) || handlers.Errnr(err) != 5 {
		t.Errorf("a permanent code: %v", err)
	}
}

// TestExecWarnsOfStderr: the task's log says it, and the result is well.
func TestExecWarnsOfStderr(t *testing.T) {
	t.Parallel()
	told := &teller{}
	h := shell(t, "echo oh >&2", handlers.Settings{"stderr": "warn"})
	if _, err := h.Handle(t.Context(), told.request("null")); err != nil || !strings.Contains(told.log.String(), `wrote to its standard error" stderr=oh`) {
		t.Errorf("got %v, %s", err, told.log.String())
	}
}

// TestExecTruncates: a result says that it is cut, and never has more than
// max_output bytes, however the output looks in JSON.
func TestExecTruncates(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"stdout":        `head -c 100000 /dev/zero | tr '\0' a`,
		"controls":      `head -c 1000 /dev/zero | tr '\0' '\001'`, // \u0001 each
		"characters":    `printf a; i=0; while [ $i -lt 1000 ]; do printf '\342\202\254'; i=$((i+1)); done`,
		"stdout_base64": `head -c 100000 /dev/zero`,
	} {
		out, err := handle(t, shell(t, script, handlers.Settings{"max_output": 1024}), "null")
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

func TestExecEnvironment(t *testing.T) {
	t.Setenv("TEST_PASSED", "yes")
	t.Setenv("TASKER_TEST_SECRET", "no")
	t.Setenv("TEST_SECRET", "no")
	h := shell(t, `env; echo "dir=$(pwd)"; stat -c '%a' . "$TASKER_PAYLOAD_FILE"; cat "$TASKER_PAYLOAD_FILE"; echo; cat`, handlers.Settings{
		"environment": map[string]any{"NAME": "a ${who} $${b}", "GONE": "${other}"}, "pass_environment": []any{"TEST_PASSED", "PATH", "TEST_UNSET"},
		"parameters": map[string]any{"who": map[string]any{}, "other": map[string]any{}},
	})
	out, err := handle(t, h, `{"who": "-x y"}`)
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
		"TASKER_TASK_ID": "12", "TASKER_IDENTIFIER": "e7bd", "TASKER_TYPE": "deploy", "TASKER_ENDPOINT": "console1",
		"TASKER_ATTEMPT": "3", "TASKER_STEP": "1", "TASKER_DEADLINE": "2026-01-02T03:04:05Z", "TASKER_FD": "3",
		"TASKER_PAYLOAD_FILE": file, "TASKER_WORK_DIR": dir,
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
		delete(env, name)
	}
	if len(env) > 0 {
		t.Errorf("there is more in the environment: %v", env)
	}
	if want := []string{"700", "600", `{"who": "-x y"}`, `{"who": "-x y"}`}; !slices.Equal(more, want) {
		t.Errorf("got %q, want %q", more, want)
	}
	for _, path := range []string{dir, file} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	// A directory of one's own stays, and without stdin there is nothing to read.
	own := t.TempDir()
	out, err = handle(t, shell(t, `pwd > here; cat; pwd`, handlers.Settings{"directory": own, "stdin": "none"}), `"payload"`)
	if _, serr := os.Stat(filepath.Join(own, "here")); err != nil || serr != nil || out != strconv.Quote(own) {
		t.Errorf("got %s, %v, %v", out, err, serr)
	}
}

func TestExecChecks(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string]handlers.Settings{
		"":                                 {"command": "true", "limits": map[string]any{"open_files": 10}, "directory": "/tmp", "user": "nobody"},
		"there is no program /nope":        {"command": "/nope"},
		"the directory /nope does not":     {"command": "true", "directory": "/nope"},
		"there is no user nobody-at-all":   {"command": "true", "user": "nobody-at-all"},
		"there is no group nobody-at-all":  {"command": "true", "group": "nobody-at-all"},
		"reboot_command: there is no prog": {"command": "true", "reboot_code": 194, "reboot_command": "/nope"},
	} {
		if os.Geteuid() != 0 && settings["user"] == "nobody" {
			continue
		}
		err := newHandler(t, "exec", settings).(handlers.Checker).Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestExecTellsOfTheStart(t *testing.T) {
	t.Parallel()
	for command, errnr := range map[string]int{"/nope": 127, "/etc/passwd": 126} {
		_, err := handle(t, newHandler(t, "exec", handlers.Settings{"command": command}), "null")
		if handlers.Errnr(err) != errnr || !strings.HasPrefix(err.Error(), "the program could not be started: ") || handlers.IsPermanent(err) {
			t.Errorf("%s: errnr %d, %v", command, handlers.Errnr(err), err)
		}
	}
	long := newHandler(t, "exec", handlers.Settings{
		"command": []any{"true", "${p}"}, "parameters": map[string]any{"p": map[string]any{"max_length": 1 << 20}},
	})
	if _, err := handle(t, long, `{"p": "`+strings.Repeat("x", 1<<18)+`"}`); !handlers.IsPermanent(err) || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long argument: %v", err)
	}
}

func TestExecTellsWhileItRuns(t *testing.T) {
	t.Parallel()
	tell := &teller{}
	h := shell(t, `echo '{"progress": {"done": 1, "total": 3, "message": "first"}}' >&3
echo '{"log": {"level": "warn", "message": "hot < cold"}}' >&3
echo '{"log": {"message": "plain"}}' >&3
echo '{"partial": {"so": "far"}}' >&3
echo >&3
for line in rubbish '{}' '{"progress": 5}' '{"unknown": 1}' '{"log":{"level":"loud","message":"m"}}' '{} {}' more; do echo "$line" >&3; done
head -c 1100000 /dev/zero >&3; echo >&3
printf '{"progress": {"done": 2}}' >&3
echo out; printf 'no end'; printf 'err\377\n' >&2`, nil)
	result, err := h.Handle(t.Context(), tell.request("null"))
	if err != nil || string(result) != `"out\nno end"` {
		t.Fatalf("got %s, %v", result, err)
	}
	if want := []string{"1/3 first", "2/0 "}; !slices.Equal(tell.progress, want) || tell.partial != `{"so": "far"}` {
		t.Errorf("got %q, %s", tell.progress, tell.partial)
	}
	slices.Sort(tell.lines)
	if want := []string{"stderr: err\uFFFD", "stdout: no end", "stdout: out"}; !slices.Equal(tell.lines, want) {
		t.Errorf("got %q", tell.lines)
	}
	log := tell.log.String()
	for _, want := range []string{`level=WARN msg="hot < cold"`, `level=INFO msg=plain`, `line=rubbish`, `more lines on file descriptor 3 were no events" lines=3`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "is no event"); n != 5 {
		t.Errorf("%d complaints:\n%s", n, log)
	}
	// Streams that are not asked for are not told, and nobody need listen.
	tell = &teller{}
	if _, err := shell(t, "echo out; echo err >&2", handlers.Settings{"log": []any{"stderr"}}).Handle(t.Context(), tell.request("null")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tell.lines, []string{"stderr: err"}) {
		t.Errorf("got %q", tell.lines)
	}
	if _, err := shell(t, `echo rubbish >&3; echo x`, nil).Handle(t.Context(), request("null")); err != nil {
		t.Error(err)
	}
}

// TestExecLinesComeAtOnce: a line is told while the program runs.
func TestExecLinesComeAtOnce(t *testing.T) {
	t.Parallel()
	tell, dir := &teller{}, t.TempDir()
	h := shell(t, `echo ready; while ! [ -e go ]; do sleep 0.01; done; echo "end of $1"`, handlers.Settings{"directory": dir})
	done := make(chan error, 1)
	go func() {
		_, err := h.Handle(t.Context(), tell.request("null"))
		done <- err
	}()
	poll(t, "the first line", func() bool { return tell.told("stdout: ready") })
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func poll(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-tick.C
	}
}

// TestExecEndsWithItsContext: whatever the program says when it is told to end,
// the cause is what counts.
func TestExecEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{handlers.ErrTimeout, handlers.ErrCanceled, handlers.ErrShutdown} {
		for script, want := range map[string]string{
			`trap 'echo bye >&2; exit 0' TERM; echo ready; while :; do sleep 0.01; done`: "bye",
			`trap '' TERM; echo ready; while :; do sleep 0.01; done`:                     "(killed by SIGKILL)",
		} {
			tell := &teller{}
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := shell(t, script, nil).Handle(ctx, tell.request("null"))
				done <- err
			}()
			poll(t, "the first line", func() bool { return tell.told("stdout: ready") })
			cancel(cause)
			if err := <-done; !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), cause.Error()+" (") || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestExecReboots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	down := filepath.Join(dir, "down")
	for name, test := range map[string]struct {
		settings handlers.Settings
		want     string
		reboots  bool
		problem  string // of the command
	}{
		"alone":           {handlers.Settings{"reboot_code": 194}, "the attempt goes on after a reboot: the program asked for it with exit code 194", true, ""},
		"off":             {nil, "exit code 194", false, ""},
		"with a command":  {handlers.Settings{"reboot_code": 194, "reboot_command": []any{"/usr/bin/touch", down}}, "the attempt goes on after", true, ""},
		"told to end":     {handlers.Settings{"reboot_code": 194, "reboot_command": []any{"/bin/sh", "-c", "kill -TERM $$"}}, "the attempt goes on after", true, ""},
		"failing command": {handlers.Settings{"reboot_code": 194, "reboot_command": []any{"/bin/sh", "-c", "echo no; exit 4"}}, "the attempt goes on after", true, "its command failed: exit code 4: no"},
		"missing command": {handlers.Settings{"reboot_code": 194, "reboot_command": "/nope"}, "the attempt goes on after", true, "its command could not be started: there is no program /nope"},
	} {
		_, err := handle(t, shell(t, "exit 194", test.settings), "null")
		if errors.Is(err, handlers.ErrContinueAfterReboot) != test.reboots || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := os.Stat(down); err == nil {
			t.Errorf("%s: the machine goes down before it can be stored that the attempt goes on", name)
		}
		problem := handlers.Reboot(t.Context(), err)
		if (problem == nil) != (test.problem == "") || problem != nil && !strings.Contains(problem.Error(), test.problem) {
			t.Errorf("%s: the reboot gave %v, want %q", name, problem, test.problem)
		}
		if name == "with a command" {
			if err := os.Remove(down); err != nil {
				t.Errorf("the command did not run: %v", err)
			}
		}
	}
}
