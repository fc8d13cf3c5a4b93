//go:build unix

package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/taskerhq/tasker/handlers/builtin"
)

// python makes a service of testdata/service.py.
func python(t *testing.T, settings handlers.Settings) handlers.Handler {
	t.Helper()
	script, err := filepath.Abs("testdata/service.py")
	if err != nil {
		t.Fatal(err)
	}
	return serviceOf(t, settings, "python3", script)
}

// shellService makes a service of a shell script.
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
	h := newHandler(t, "service", all)
	t.Cleanup(func() {
		if err := h.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// listener keeps what a handler tells.
type listener struct {
	mu       sync.Mutex
	progress []string
	partial  []string
	lines    []string
	log      bytes.Buffer
	told     chan struct{} // gets a value at the first progress
}

func (l *listener) Progress(done, total int64, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress = append(l.progress, fmt.Sprintf("%d/%d %s", done, total, message))
	if len(l.progress) == 1 {
		l.told <- struct{}{}
	}
}

func (l *listener) Partial(result handlers.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, string(result))
}

func (l *listener) Line(stream, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, stream+": "+text)
}

func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(b)
}

func (l *listener) logged() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.String()
}

func serviceRequest(payload string) (*handlers.Request, *listener) {
	l := &listener{told: make(chan struct{}, 1)}
	log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	req := httpRequest(payload)
	req.Log, req.Reporter = log, l
	return req, l
}

// ask sends one request.
func ask(t *testing.T, h handlers.Handler, payload string) (handlers.Result, error) {
	t.Helper()
	req, _ := serviceRequest(payload)
	return h.Handle(t.Context(), req)
}

// pidOf asks a process for its number.
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

// awaitGone waits until a process has ended.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
			return // dead, and not ours to reap
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on", pid)
		}
		runtime.Gosched()
	}
}

func TestServiceHandsOverTheRequest(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	req, _ := serviceRequest(`{"do": "echo",` + "\n" + `"text": "<é>"}`)
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
		t.Errorf("two processes, %d and %d", first, second)
	}
}

func TestServicePassesOnWhatIsTold(t *testing.T) {
	t.Parallel()
	req, l := serviceRequest(`{"do":"tell"}`)
	h := python(t, nil)
	result, err := h.Handle(t.Context(), req)
	if result != nil || err != nil {
		t.Errorf("got %s, %v", result, err)
	}
	// Standard error is another pipe, which is read later perhaps.
	if err := h.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(l.progress, l.partial, l.logged())
	if want := `[1/3 one] [{"so far": 1}]level=WARN msg=careful` + "\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestServiceKeepsStandardErrorWithItsRequest(t *testing.T) {
	t.Parallel()
	req, l := serviceRequest(`null`)
	// It answers only when its line has been read, which the progress tells.
	h := shellService(t, `read -r line; echo 'first line' >&2; echo 'second line' >&2; echo '{"id":"1","progress":{"message":"x"}}'; read -r line; echo '{"id":"1","error":"stopped"}'`, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		deadline := time.Now().Add(10 * time.Second)
		for n := 0; n < 2 && time.Now().Before(deadline); runtime.Gosched() {
			l.mu.Lock()
			n = len(l.lines)
			l.mu.Unlock()
		}
		cancel(handlers.ErrCanceled)
	}()
	_, err := h.Handle(ctx, req)
	if err == nil || err.Error() != "stopped" {
		t.Errorf("got %v", err)
	}
	if got := fmt.Sprint(l.lines); got != "[stderr: first line stderr: second line]" {
		t.Errorf("got %s", got)
	}
}

// TestServiceAnswers: ID stands for the request's id.
func TestServiceAnswers(t *testing.T) {
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
		{`"{\"id\":\"ID\",\"error\":{}}"`, "", "the process answered an error without a message", "1", ""},
		{`"{\"id\":\"ID\",\"error\":{\"message\":5}}"`, "", `the process answered an error that cannot be read: json: cannot unmarshal number into Go struct field .message of type string: {"message":5}`, "1", ""},
		{`"hello", "{\"id\":\"ID\",\"result\":1}"`, "1", "", "", `level=WARN msg="the process wrote a line that is no message" line="\"hello\""`},
		{`"{\"id\":ID,\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "a line that is no message"},
		{`"[]", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "a line that is no message"},
		{`"{\"id\":\"4711\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "about a request that it does not have"},
		{`"{\"id\":\"1\",\"result\":1}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "about a request that has ended"},
		{`"{\"id\":\"ID\"}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "a message that cannot be read"},
		{`"{\"id\":\"ID\",\"progress\":5}", "{\"id\":\"ID\",\"result\":2}"`, "2", "", "", "a message that cannot be read"},
	} {
		req, l := serviceRequest(`{"do":"echo"}`)
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
		if log := l.logged(); !strings.Contains(log, test.log) || test.log == "" && log != "" {
			t.Errorf("%s: the log is %q", test.lines, log)
		}
	}
}

// TestServiceAnswersTwice: the second answer changes nothing, and the next
// request is served.
func TestServiceAnswersTwice(t *testing.T) {
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

// TestServiceLastLine: an answer counts although the process ends without a line
// end after it.
func TestServiceLastLine(t *testing.T) {
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

func TestServiceRubbish(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	req, l := serviceRequest(`{"do":"rubbish","lines":99}`)
	if result, err := h.Handle(t.Context(), req); err != nil || string(result) != strconv.Itoa(pid) {
		t.Errorf("99 lines: got %s, %v", result, err)
	}
	if n := strings.Count(l.logged(), "level=WARN"); n != 10 {
		t.Errorf("99 lines: %d warnings", n)
	}
	result, err := ask(t, h, `{"do":"rubbish","lines":100}`)
	const want = `the process was stopped: it wrote 100 lines in a row that are no messages, the last: "rubbish 99"`
	if result != nil || err == nil || err.Error() != want || handlers.IsPermanent(err) {
		t.Errorf("100 lines: got %s, %v", result, err)
	}
	awaitGone(t, pid)
	if again := pidOf(t, h); again == pid {
		t.Error("the process goes on")
	}
}

// TestServiceFlood: a line of 1 GB is not held, nor read to its end.
func TestServiceFlood(t *testing.T) {
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

func TestServiceProcessThatEnds(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	for payload, want := range map[string]string{
		`{"do":"exit","code":3}`: "the process ended before it answered: exit code 3: no good",
		`{"do":"exit","code":0}`: "the process ended before it answered: exit code 0: no good",
		`{"do":"kill"}`:          "the process ended before it answered: killed by SIGKILL: by somebody, or for lack of memory",
	} {
		pid := pidOf(t, h)
		result, err := ask(t, h, payload)
		if result != nil || err == nil || err.Error() != want || handlers.IsPermanent(err) {
			t.Errorf("%s: got %s, %v\nwant %s", payload, result, err, want)
		}
		if again := pidOf(t, h); again == pid {
			t.Errorf("%s: the process goes on", payload)
		}
	}
}

// TestServiceCancel: the process learns the reason, and goes on.
func TestServiceCancel(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	for reason, cause := range map[string]error{
		"canceled": handlers.ErrCanceled, "timeout": handlers.ErrTimeout, "shutdown": handlers.ErrShutdown,
	} {
		req, l := serviceRequest(`{"do":"wait"}`)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-l.told
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

// TestServiceThatIgnoresCancel is stopped, with its children, and replaced.
func TestServiceThatIgnoresCancel(t *testing.T) {
	t.Parallel()
	h := python(t, nil)
	pid := pidOf(t, h)
	req, l := serviceRequest(`{"do":"hang"}`)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-l.told
		cancel(handlers.ErrTimeout)
	}()
	result, err := h.Handle(ctx, req)
	if result != nil || !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("got %s, %v", result, err)
	}
	awaitGone(t, pid)
	child, err := strconv.Atoi(strings.Split(l.progress[0], "/")[0])
	if err != nil {
		t.Fatal(err)
	}
	awaitGone(t, child)
	if again := pidOf(t, h); again == pid {
		t.Error("the process goes on")
	}
}

// TestServiceConcurrency: one process has two requests, and fails both.
func TestServiceConcurrency(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"concurrency": 2})
	type answer struct {
		result handlers.Result
		err    error
	}
	wait := func() <-chan answer {
		req, l := serviceRequest(`{"do":"wait"}`)
		answers := make(chan answer, 1)
		go func() {
			result, err := h.Handle(t.Context(), req)
			answers <- answer{result, err}
		}()
		select {
		case <-l.told:
		case <-time.After(30 * time.Second):
			t.Error("the request does not begin")
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
	const want = "the process ended before it answered: exit code 5: no good"
	if _, err := ask(t, h, `{"do":"exit","code":5}`); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if a := <-waiting; a.err == nil || a.err.Error() != want {
		t.Errorf("got %v", a.err)
	}
}

// TestServiceProcesses: as many as there are requests at once, and no more.
func TestServiceProcesses(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"processes": 2})
	ctx, cancel := context.WithCancelCause(t.Context())
	var group sync.WaitGroup
	for range 2 {
		req, l := serviceRequest(`{"do":"wait"}`)
		group.Go(func() {
			if _, err := h.Handle(ctx, req); err == nil || err.Error() != "gave up: canceled" {
				t.Errorf("got %v", err)
			}
		})
		<-l.told
	}
	// The third has to wait for a slot.
	third, stop := context.WithCancelCause(t.Context())
	stop(handlers.ErrTimeout)
	req, _ := serviceRequest(`{"do":"echo"}`)
	if _, err := h.Handle(third, req); !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	cancel(handlers.ErrCanceled)
	group.Wait()
	if a, b := pidOf(t, h), pidOf(t, h); a != b {
		t.Errorf("one request after the other uses processes %d and %d", a, b)
	}
}

// TestServiceThatNeverStarts: each start costs one request, and a pause.
func TestServiceThatNeverStarts(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	h := shellService(t, `echo x >>`+count+`; echo broken >&2; exit 7`, handlers.Settings{"restart_pause": "1h"})
	_, err := ask(t, h, `1`)
	if err == nil || err.Error() != "the process ended before it answered: exit code 7: broken" || handlers.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		req, _ := serviceRequest(`1`)
		_, err := h.Handle(ctx, req)
		const want = "it waited to start the process again, which had failed (in a row: 1): the process ended before it answered: exit code 7: broken"
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

func TestServiceWithoutItsProgram(t *testing.T) {
	t.Parallel()
	h := serviceOf(t, nil, "/nowhere/program")
	for range 2 {
		if _, err := ask(t, h, `1`); err == nil || err.Error() != "the program could not be started: there is no program /nowhere/program" {
			t.Errorf("got %v", err)
		}
	}
	if err := h.(handlers.Checker).Check(); err == nil || err.Error() != "there is no program /nowhere/program" {
		t.Errorf("got %v", err)
	}
	if err := python(t, nil).(handlers.Checker).Check(); err != nil {
		t.Error(err)
	}
}

// TestServiceThatDoesNotRead: its standard input is closed, or full.
func TestServiceThatDoesNotRead(t *testing.T) {
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
	req, _ := serviceRequest(`"` + strings.Repeat("x", 1<<20) + `"`)
	if _, err := h.Handle(ctx, req); !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("full: got %v", err)
	}
}

func TestServiceMaxRequests(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"max_requests": 2})
	pids := []int{pidOf(t, h), pidOf(t, h), pidOf(t, h)}
	if pids[0] != pids[1] || pids[1] == pids[2] {
		t.Errorf("got %v", pids)
	}
	awaitGone(t, pids[0])
}

func TestServiceIdleTimeout(t *testing.T) {
	t.Parallel()
	h := python(t, handlers.Settings{"idle_timeout": "50ms"})
	pid := pidOf(t, h)
	awaitGone(t, pid)
	if again := pidOf(t, h); again == pid {
		t.Error("the process goes on")
	}
}

// TestServiceClose: also a process that stays when its standard input ends.
func TestServiceClose(t *testing.T) {
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

// TestServiceManyRequests at once, on few processes: each gets its own answer.
func TestServiceManyRequests(t *testing.T) {
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

func TestNewServiceRefuses(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string]handlers.Settings{
		`setting "command" is missing`:         {},
		`setting "processes" is 0: give 1 to`:  {"command": "x", "processes": 0},
		`setting "concurrency" is 0: give`:     {"command": "x", "concurrency": 0},
		`setting "max_requests" is -1: give 0`: {"command": "x", "max_requests": -1},
		`setting "max_line" is 5: give 1024`:   {"command": "x", "max_line": 5},
		`setting "stop_grace" is 0s: `:         {"command": "x", "stop_grace": 0},
		`setting "stop_grace" is 7s: `:         {"command": "x", "stop_grace": 7},
		`unknown setting "comand"`:             {"comand": "x"},
	} {
		if _, err := builtin.Catalog().Make("service", settings); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// TestServiceLeaksNothing: forty processes leave no file, goroutine or
// directory behind.
func TestServiceLeaksNothing(t *testing.T) {
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
	round() // opens what stays, as the poller's file
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
		t.Errorf("left are %v, %v", left, err)
	}
}
