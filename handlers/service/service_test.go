//go:build unix

package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
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
	want := `{"attempt":2,"deadline":"2026-01-02T02:04:05Z","endpoint":"console1","id":"1","identifier":"e7bd",` +
		`"payload":{"do":"echo","text":"\u003cé\u003e"},"task_id":7,"type":"call","v":1}`
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
	h := shellService(t,
		`read -r line; echo 'first line' >&2; echo 'second line' >&2
echo '{"id":"1","progress":{"message":"x"}}'; read -r line; echo '{"id":"1","error":"stopped"}'`, nil)
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
		{
			`"{\"id\":\"ID\",\"error\":{\"message\":5}}"`, "",
			`the process answered with an invalid error: ` +
				`json: cannot unmarshal number into Go struct field .message of type string: {"message":5}`, "1", "",
		},
		{`"hello", "{\"id\":\"ID\",\"result\":1}"`, "1", "", "", `level=WARN msg="invalid message of the process" line="\"hello\""`},
		{`"{\"id\":ID,\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "invalid message of the process"},
		{`"[]", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "invalid message of the process"},
		{`"{\"id\":\"4711\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "message of the process about an unknown request"},
		{`"{\"id\":\"1\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "message of the process about an ended request"},
		{`"{\"id\":\"ID\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "1", "", "", ""}, // the second has no effect
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
