//go:build unix

package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

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
