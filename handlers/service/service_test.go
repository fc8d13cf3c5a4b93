//go:build unix

package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
	"github.com/taskerhq/tasker/handlers/service"
)

// python makes the handler for testdata/service.py.
func python(t *testing.T, settings handlers.Settings) handlers.Handler {
	t.Helper()
	script, err := filepath.Abs("testdata/service.py")
	if err != nil {
		t.Fatal(err)
	}
	return serviceOf(t, settings, "python3", script)
}

// shellService makes the handler for a shell script.
func shellService(t *testing.T, script string, settings handlers.Settings) handlers.Handler {
	t.Helper()
	return serviceOf(t, settings, "sh", "-c", script)
}

func serviceOf(t *testing.T, settings handlers.Settings, command ...any) handlers.Handler {
	t.Helper()
	all := handlers.Settings{"command": command, "stop_grace": "200ms", "restart_pause": 0}
	maps.Copy(all, settings)
	if more, ok := all["arguments"].([]any); ok {
		all["command"] = append(command, more...)
		delete(all, "arguments")
	}
	return handlertest.Make(t, service.New, all)
}

// ask sends one request.
func ask(t *testing.T, h handlers.Handler, payload string) (handlers.Result, error) {
	t.Helper()
	return h.Handle(t.Context(), handlertest.NewRecorder().Request(payload))
}

// pidOf returns the id of the process.
func pidOf(t *testing.T, h handlers.Handler) int {
	t.Helper()
	result, err := ask(t, h, `{"do":"echo"}`)
	var answer struct {
		PID int `json:"pid"`
	}
	if err != nil || json.Unmarshal(result, &answer) != nil || answer.PID == 0 {
		t.Fatalf("got %s, %v", result, err)
	}
	return answer.PID
}

// awaitGone waits until a process has exited.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
			return // exited, but not reaped
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
		runtime.Gosched()
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	req := handlertest.NewRecorder().Request(`{"do": "echo",` + "\n" + `"text": "<é>"}`)
	req.Deadline = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	result, err := h.Handle(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Request any }
	if err := json.Unmarshal(result, &answer); err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(answer.Request)
	want := `{"attempt":2,"deadline":"2026-01-02T02:04:05Z","endpoint":"console1","id":"1","identifier":"e7bd","payload":{"do":"echo","text":"\u003cé\u003e"},"task_id":7,"type":"call","v":1}`
	if string(got) != want {
		t.Errorf("the process got %s\nwant %s", got, want)
	}
	if first, second := pidOf(t, h), pidOf(t, h); first != second {
		t.Errorf("got two processes, %d and %d", first, second)
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	l := handlertest.NewRecorder()
	req := l.Request(`{"do":"tell"}`)
	h := python(t, nil)
	result, err := h.Handle(t.Context(), req)
	if result != nil || err != nil {
		t.Errorf("got %s, %v", result, err)
	}
	got := fmt.Sprint(l.Progresses(), l.Partials(), l.Log())
	if want := `[1/3 one] [{"so far": 1}]level=WARN msg=careful` + "\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestStandardError(t *testing.T) {
	t.Parallel()
	l := handlertest.NewRecorder()
	req := l.Request(`null`)
	// It answers only after it was canceled, when its lines have been reported.
	h := shellService(t, `read -r line; echo 'first line' >&2; echo 'second line' >&2; echo '{"id":"1","progress":{"message":"x"}}'; read -r line; echo '{"id":"1","error":"stopped"}'`, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for deadline := time.Now().Add(10 * time.Second); len(l.Lines()) < 2 && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		cancel(handlers.ErrCanceled)
	}()
	_, err := h.Handle(ctx, req)
	if err == nil || err.Error() != "stopped" {
		t.Errorf("got %v", err)
	}
	if got := fmt.Sprint(l.Lines()); got != "[stderr: first line stderr: second line]" {
		t.Errorf("got %s", got)
	}
}

// TestAnswers: in the lines, ID stands for the id of the request.
func TestAnswers(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	for _, test := range []struct {
		lines  string // what the process writes, as JSON strings
		result string
		errmsg string
		marks  string
		log    string // a part of it
	}{
		{`"{\"id\":\"ID\",\"result\":{\"a\": [1, 2]}}"`, `{"a": [1, 2]}`, "", "", ""},
		{`"{\"id\":\"ID\",\"result\":null}"`, "", "", "", ""},
		{`"{\"id\":\"ID\",\"result\":false,\"error\":null,\"more\":1}"`, "false", "", "", ""},
		{`"", "  {\"id\":\"ID\",\"result\":\"é\"}\r"`, `"é"`, "", "", ""},
		{`"{\"id\":\"ID\",\"error\":{\"message\":\"no disk\",\"code\":32,\"permanent\":true}}"`, "", "no disk", "32 permanent", ""},
		{`"{\"id\":\"ID\",\"error\":{\"message\":\"busy\",\"retry_after\":90},\"result\":5}"`, "5", "busy", "1 after 1m30s", ""},
		{`"{\"id\":\"ID\",\"error\":{\"message\":\"busy\",\"retry_after\":\"2m\",\"code\":-5}}"`, "", "busy", "1 after 2m0s", ""},
		{`"{\"id\":\"ID\",\"error\":\"boom\"}"`, "", "boom", "1", ""},
		{`"{\"id\":\"ID\",\"error\":{}}"`, "", "the process answered with an error without a message", "1", ""},
		{`"{\"id\":\"ID\",\"error\":{\"message\":5}}"`, "", `the process answered with an invalid error: json: cannot unmarshal number into Go struct field .message of type string: {"message":5}`, "1", ""},
		{`"hello", "{\"id\":\"ID\",\"result\":1}"`, "1", "", "", `level=WARN msg="invalid message of the process" line="\"hello\""`},
		{`"{\"id\":ID,\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "invalid message of the process"},
		{`"[]", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "invalid message of the process"},
		{`"{\"id\":\"4711\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "message of the process about an unknown request"},
		{`"{\"id\":\"1\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "message of the process about an ended request"},
		{`"{\"id\":\"ID\"}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "unknown message of the process"},
		{`"{\"id\":\"ID\",\"progress\":5}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "unknown message of the process"},
	} {
		l := handlertest.NewRecorder()
		req := l.Request(`{"do":"echo"}`)
		if _, err := h.Handle(t.Context(), req); err != nil { // so that id 1 has ended
			t.Fatal(err)
		}
		req.Payload = json.RawMessage(`{"do":"answer","lines":[` + test.lines + `]}`)
		result, err := h.Handle(t.Context(), req)
		errmsg, marks := "", ""
		if err != nil {
			errmsg, marks = err.Error(), strconv.Itoa(handlers.Errnr(err))
		}
		if handlers.IsPermanent(err) {
			marks += " permanent"
		}
		if delay, ok := handlers.RetryDelay(err); ok {
			marks += " after " + delay.String()
		}
		if string(result) != test.result || errmsg != test.errmsg || marks != test.marks {
			t.Errorf("%s: got %s, %s, %q\nwant %s, %s, %q", test.lines, result, marks, errmsg, test.result, test.marks, test.errmsg)
		}
		if log := l.Log(); !strings.Contains(log, test.log) || test.log == "" && log != "" {
			t.Errorf("%s: the log is %q", test.lines, log)
		}
	}
}

// TestAnswersTwice: the second answer has no effect, and the next request is served.
func TestAnswersTwice(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	line := `{\"id\":\"ID\",\"result\":`
	for range 3 {
		result, err := ask(t, h, `{"do":"answer","lines":["`+line+`1}", "`+line+`2}"]}`)
		if err != nil || string(result) != "1" {
			t.Errorf("got %s, %v", result, err)
		}
	}
	if again := pidOf(t, h); again != pid {
		t.Errorf("process %d became %d", pid, again)
	}
}

// TestLastLine: an answer needs no line end if the process exits after it.
func TestLastLine(t *testing.T) {
	t.Parallel()
	h := shellService(t, `read -r line; printf '{"id":"1","result":1}'`, nil)
	if result, err := ask(t, h, "null"); err != nil || string(result) != "1" {
		t.Errorf("got %s, %v", result, err)
	}
	h = shellService(t, `read -r line; printf '{"id":"1","resu'; exit 3`, nil)
	if result, err := ask(t, h, "null"); err == nil || !strings.Contains(err.Error(), "exit code 3") {
		t.Errorf("a part of one: got %s, %v", result, err)
	}
}

func TestInvalidMessages(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	l := handlertest.NewRecorder()
	req := l.Request(`{"do":"rubbish","lines":99}`)
	if result, err := h.Handle(t.Context(), req); err != nil || string(result) != strconv.Itoa(pid) {
		t.Errorf("99 lines: got %s, %v", result, err)
	}
	if n := strings.Count(l.Log(), "level=WARN"); n != 10 {
		t.Errorf("99 lines: %d warnings", n)
	}
	result, err := ask(t, h, `{"do":"rubbish","lines":100}`)
	const want = `the process was stopped: it wrote 100 invalid messages in a row, the last: "rubbish 99"`
	if result != nil || err == nil || err.Error() != want || handlers.IsPermanent(err) {
		t.Errorf("100 lines: got %s, %v", result, err)
	}
	awaitGone(t, pid)
	if again := pidOf(t, h); again == pid {
		t.Error("the process still runs")
	}
}

// TestFlood: a line of 1 GB is neither kept in memory nor read to its end.
func TestFlood(t *testing.T) {
	h := python(t, handlers.Settings{"max_line": "64KiB"})
	pid := pidOf(t, h)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := ask(t, h, `{"do":"flood"}`)
	runtime.ReadMemStats(&after)
	if result != nil || err == nil || err.Error() != "the process was stopped: it wrote a line of more than 65536 bytes" {
		t.Errorf("got %s, %v", result, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
	awaitGone(t, pid)
}

func TestProcessExits(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	for payload, want := range map[string]string{
		`{"do":"exit","code":3}`: "the process exited before it answered: exit code 3: no good",
		`{"do":"exit","code":0}`: "the process exited before it answered: exit code 0: no good",
		`{"do":"kill"}`:          "the process exited before it answered: killed by SIGKILL, by a user or for lack of memory",
	} {
		pid := pidOf(t, h)
		result, err := ask(t, h, payload)
		if result != nil || err == nil || err.Error() != want || handlers.IsPermanent(err) {
			t.Errorf("%s: got %s, %v\nwant %s", payload, result, err, want)
		}
		if again := pidOf(t, h); again == pid {
			t.Errorf("%s: the process still runs", payload)
		}
	}
}

// TestCancel: the process gets the reason, and keeps running.
func TestCancel(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	for reason, cause := range map[string]error{
		"canceled": handlers.ErrCanceled, "timeout": handlers.ErrTimeout, "shutdown": handlers.ErrShutdown,
	} {
		l := handlertest.NewRecorder()
		req := l.Request(`{"do":"wait"}`)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-l.Begun()
			cancel(cause)
		}()
		result, err := h.Handle(ctx, req)
		if result != nil || err == nil || err.Error() != "gave up: "+reason {
			t.Errorf("%s: got %s, %v", reason, result, err)
		}
	}
	if again := pidOf(t, h); again != pid {
		t.Errorf("process %d became %d", pid, again)
	}
}

// TestIgnoresCancel: the process is killed, with its children, and replaced.
func TestIgnoresCancel(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	l := handlertest.NewRecorder()
	req := l.Request(`{"do":"hang"}`)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-l.Begun()
		cancel(handlers.ErrTimeout)
	}()
	result, err := h.Handle(ctx, req)
	if result != nil || !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("got %s, %v", result, err)
	}
	awaitGone(t, pid)
	child, err := strconv.Atoi(strings.Split(l.Progresses()[0], "/")[0])
	if err != nil {
		t.Fatal(err)
	}
	awaitGone(t, child)
	if again := pidOf(t, h); again == pid {
		t.Error("the process still runs")
	}
}

// TestConcurrency: one process has two requests, and fails both by exiting.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"concurrency": 2})
	type answer struct {
		result handlers.Result
		err    error
	}
	wait := func() <-chan answer {
		l := handlertest.NewRecorder()
		req := l.Request(`{"do":"wait"}`)
		answers := make(chan answer, 1)
		go func() {
			result, err := h.Handle(t.Context(), req)
			answers <- answer{result, err}
		}()
		select {
		case <-l.Begun():
		case <-time.After(30 * time.Second):
			t.Error("the request was not started")
		}
		return answers
	}
	waiting := wait()
	if result, err := ask(t, h, `{"do":"release"}`); result != nil || err != nil {
		t.Errorf("got %s, %v", result, err)
	}
	if a := <-waiting; string(a.result) != `"released"` || a.err != nil {
		t.Errorf("got %s, %v", a.result, a.err)
	}
	waiting = wait()
	const want = "the process exited before it answered: exit code 5: no good"
	if _, err := ask(t, h, `{"do":"exit","code":5}`); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if a := <-waiting; a.err == nil || a.err.Error() != want {
		t.Errorf("got %v", a.err)
	}
}

// TestProcesses: there are as many as concurrent requests, but no more than configured.
func TestProcesses(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"processes": 2})
	ctx, cancel := context.WithCancelCause(t.Context())
	var group sync.WaitGroup
	for range 2 {
		l := handlertest.NewRecorder()
		req := l.Request(`{"do":"wait"}`)
		group.Go(func() {
			if _, err := h.Handle(ctx, req); err == nil || err.Error() != "gave up: canceled" {
				t.Errorf("got %v", err)
			}
		})
		<-l.Begun()
	}
	// A third request waits for a slot.
	third, stop := context.WithCancelCause(t.Context())
	stop(handlers.ErrTimeout)
	req := handlertest.NewRecorder().Request(`{"do":"echo"}`)
	if _, err := h.Handle(third, req); !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	cancel(handlers.ErrCanceled)
	group.Wait()
	if a, b := pidOf(t, h), pidOf(t, h); a != b {
		t.Errorf("consecutive requests used processes %d and %d", a, b)
	}
}

// TestNeverStarts: each failed start fails one request, and is followed by a pause.
func TestNeverStarts(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	h := shellService(t, `echo x >>`+count+`; echo broken >&2; exit 7`, handlers.Settings{"restart_pause": "1h"})
	_, err := ask(t, h, `1`)
	if err == nil || err.Error() != "the process exited before it answered: exit code 7: broken" || handlers.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		req := handlertest.NewRecorder().Request(`1`)
		_, err := h.Handle(ctx, req)
		const want = "still waiting to restart the process (failures in a row: 1): the process exited before it answered: exit code 7: broken"
		if err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
	timer := time.AfterFunc(300*time.Millisecond, func() { cancel(handlers.ErrTimeout) })
	defer timer.Stop()
	group.Wait()
	if content, _ := os.ReadFile(count); string(content) != "x\n" {
		t.Errorf("it was started %d times", len(content)/2)
	}
}

func TestMissingProgram(t *testing.T) {
	t.Parallel()
	h := serviceOf(t, nil, "/nowhere/program")
	for range 2 {
		if _, err := ask(t, h, `1`); err == nil || err.Error() != "the program could not be started: program /nowhere/program not found" {
			t.Errorf("got %v", err)
		}
	}
	if err := handlertest.Check(h); err == nil || err.Error() != "program /nowhere/program not found" {
		t.Errorf("got %v", err)
	}
	if err := handlertest.Check(python(t, nil)); err != nil {
		t.Error(err)
	}
}

// TestDoesNotRead: its standard input is closed, or full.
func TestDoesNotRead(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	if result, err := ask(t, h, `{"do":"deaf"}`); err != nil || string(result) != `"deaf"` {
		t.Fatalf("got %s, %v", result, err)
	}
	if _, err := ask(t, h, `{"do":"echo"}`); err == nil || err.Error() != "the process was stopped: it has closed its standard input" {
		t.Errorf("closed: got %v", err)
	}
	awaitGone(t, pid)
	h = shellService(t, "sleep 1000", nil)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, handlers.ErrTimeout)
	defer cancel()
	req := handlertest.NewRecorder().Request(`"` + strings.Repeat("x", 1<<20) + `"`)
	if _, err := h.Handle(ctx, req); !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("full: got %v", err)
	}
}

func TestMaxRequests(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"max_requests": 2})
	pids := []int{pidOf(t, h), pidOf(t, h), pidOf(t, h)}
	if pids[0] != pids[1] || pids[1] == pids[2] {
		t.Errorf("got %v", pids)
	}
	awaitGone(t, pids[0])
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"idle_timeout": "50ms"})
	pid := pidOf(t, h)
	awaitGone(t, pid)
	if again := pidOf(t, h); again == pid {
		t.Error("the process still runs")
	}
}

// TestClose also ends a process that ignores the end of its standard input.
func TestClose(t *testing.T) {
	t.Parallel()
	for _, settings := range []handlers.Settings{nil, {"arguments": []any{"stay"}}} {
		h := python(t, settings)
		pid := pidOf(t, h)
		for range 2 {
			if err := h.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
		awaitGone(t, pid)
		if _, err := ask(t, h, `{"do":"echo"}`); err == nil || err.Error() != "the handler is closed" {
			t.Errorf("got %v", err)
		}
	}
}

// TestManyRequests: each of many concurrent requests gets its own answer.
func TestManyRequests(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"processes": 2, "concurrency": 3, "max_requests": 20})
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			result, err := ask(t, h, fmt.Sprintf(`{"do":"echo","n":"n%d"}`, i))
			if err != nil || !strings.Contains(string(result), fmt.Sprintf(`"n%d"`, i)) {
				t.Errorf("%d: got %s, %v", i, result, err)
			}
		})
	}
	group.Wait()
}

func TestRefusesSettings(t *testing.T) {
	t.Parallel()
	handlertest.Refuses(t, service.New, map[string]handlers.Settings{
		`setting "command": must be a program and its arguments`:            {},
		`setting "processes": must be 1 to 256, got 0`:                      {"command": "x", "processes": 0},
		`setting "concurrency": must be 1 to 1024, got 0`:                   {"command": "x", "concurrency": 0},
		`setting "max_requests": must be 0 to `:                             {"command": "x", "max_requests": -1},
		`setting "max_line": must be 1024 to 67108864, got 5`:               {"command": "x", "max_line": 5},
		`setting "stop_grace": must be more than 0s and at most 6s, got 0s`: {"command": "x", "stop_grace": 0},
		`setting "stop_grace": must be more than 0s and at most 6s, got 7s`: {"command": "x", "stop_grace": 7},
		`unknown setting "comand"`:                                          {"comand": "x"},
		`bash would execute its standard input, which is the requests`:      {"command": []any{"bash", "-s"}},
	})
}

// TestLeaksNothing: forty processes leave no file, goroutine or directory behind.
func TestLeaksNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	count := func() (files, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	round := func() {
		h := shellService(t, `read -r line; echo '{"id":"1","result":1}'`, handlers.Settings{"max_requests": 1, "idle_timeout": "1h"})
		for range 20 {
			if result, err := ask(t, h, "null"); err != nil || string(result) != "1" {
				t.Fatalf("got %s, %v", result, err)
			}
		}
		if err := h.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	}
	round() // opens files that stay open, such as that of the poller
	files, goroutines := count()
	round()
	deadline := time.Now().Add(20 * time.Second)
	for {
		nowFiles, nowGoroutines := count()
		if nowFiles <= files && nowGoroutines <= goroutines {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files became %d, %d goroutines %d", files, nowFiles, goroutines, nowGoroutines)
		}
		runtime.Gosched()
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left were %v, %v", left, err)
	}
}
