package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/handlerstest"
)

// TestGreet tests the handler by itself.
func TestGreet(t *testing.T) {
	t.Parallel()
	greet, err := newGreet(handlers.Settings{"word": "hi"})
	if err != nil {
		t.Fatal(err)
	}
	run := handlerstest.Run(t.Context(), greet, handlerstest.Task{Payload: `{"name":"Ada"}`, Endpoint: "console1"})
	run.WantDone(t, `{"text":"hi Ada, says console1"}`)
	run.WantProgress(t, 1, 1)
	run.WantLine(t, "greeting name=Ada")
	handlerstest.Run(t.Context(), greet, handlerstest.Task{Payload: `{"name":""}`}).WantFailed(t, 1, "missing name")
	handlerstest.Run(t.Context(), greet, handlerstest.Task{Payload: `{"nam":"Ada"}`}).WantFailed(t, 1, `unknown member "nam"`)
	if _, err := newGreet(handlers.Settings{"wrod": "hi"}); err == nil {
		t.Error("an unknown setting was accepted")
	}
}

// timeout bounds what takes long on a busy machine.
const timeout = 2 * time.Minute

// TestDaemon builds the program and uses it like the README.
func TestDaemon(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("it stops the program by a signal")
	}
	api, stop := start(t)
	body := post(t, api+"/greet", `{"identifier":"first","payload":{"name":"Ada"}}`)
	if !strings.Contains(body, `"identifier":"first"`) {
		t.Errorf("got %s", body)
	}
	var task struct {
		Task             struct{ Status string }
		TaskResponseList []struct {
			Endpoint, State string
			Payload         greeting
		}
	}
	for end := time.Now().Add(timeout); task.Task.Status != "DONE"; {
		if time.Now().After(end) {
			t.Fatalf("the task is not done: %+v", task)
		}
		<-time.After(10 * time.Millisecond)
		if err := json.Unmarshal([]byte(get(t, api+"/greet/first")), &task); err != nil {
			t.Fatal(err)
		}
	}
	if len(task.TaskResponseList) != 2 {
		t.Errorf("got %+v, want a result of each endpoint", task)
	}
	for _, result := range task.TaskResponseList {
		if want := "good morning Ada, says " + result.Endpoint; result.State != "DONE" || result.Payload.Text != want {
			t.Errorf("got %+v, want %q", result, want)
		}
	}
	stop()
}

// start builds and starts the program. It returns the address of its API, and a function
// that stops it and checks its exit.
func start(t *testing.T) (api string, stop func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "daemon")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	daemon := exec.Command(program, "dev", "--ephemeral", "--port", "0", "--config", "config")
	var log strings.Builder
	daemon.Stderr = &log // read when it has exited
	daemon.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	stdout, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(timeout, func() { _ = daemon.Process.Kill() })
	wait := sync.OnceValue(func() error {
		defer limit.Stop()
		_, _ = io.Copy(io.Discard, stdout)
		return daemon.Wait()
	})
	t.Cleanup(func() {
		_ = daemon.Process.Kill() // usually it has exited already
		_ = wait()
		if t.Failed() {
			t.Logf("its log:\n%s", log.String())
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "API" {
			api = fields[1]
		}
		if strings.HasPrefix(lines.Text(), "Stop it") {
			break
		}
	}
	if api == "" {
		t.Fatal("the program did not tell the address of its API")
	}
	return api, func() {
		t.Helper()
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	return read(t, res, err, http.StatusCreated)
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	return read(t, res, err, http.StatusOK)
}

func read(t *testing.T, res *http.Response, err error, status int) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != status {
		err = fmt.Errorf("status %s: %s", res.Status, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
