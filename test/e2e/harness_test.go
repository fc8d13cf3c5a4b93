// Package e2e tests the real program in separate processes, on the real
// services if a test needs them, while processes are killed and services cut
// off.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/taskerhq/tasker/cli"          // these imports invalidate cached test results
	_ "github.com/taskerhq/tasker/internal/app" // when the program changes
	"github.com/taskerhq/tasker/internal/testservices"
)

// program is the path of the tasker program.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tasker-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, "tasker")
		build := exec.Command("go", "build", "-o", program, "github.com/taskerhq/tasker/cmd/tasker")
		build.Stdout, build.Stderr = os.Stdout, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the program:", err)
			return 1
		}
		return m.Run()
	}())
}

// process is a running tasker.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	// exited is closed when the process has ended.
	exited chan struct{}

	mu   sync.Mutex
	logs []logLine
	out  bytes.Buffer
}

// logLine has the fields that tests need of a line of the JSON log.
type logLine struct {
	Msg      string
	Endpoint string
	TaskID   int64 `json:"task_id"`
	Attempt  int
}

// start runs tasker with arguments, in its own directory.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return startProgram(t, program, env, args...)
}

// startProgram is start for another build of tasker.
func startProgram(t *testing.T, program string, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TASKER_LOG_FORMAT=json"}, env...)
	return launch(t, strings.Join(args, " "), cmd)
}

// launch starts a command, whose log is read.
func launch(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, exited: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for _, r := range []io.Reader{stdout, stderr} {
		readers.Go(func() { p.read(r) })
	}
	go func() {
		readers.Wait()
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("--- %s:\n%s", p.name, tail(p.out.String(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

func (p *process) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line logLine
		isLog := json.Unmarshal(lines.Bytes(), &line) == nil
		p.mu.Lock()
		p.out.Write(lines.Bytes())
		p.out.WriteByte('\n')
		if isLog {
			p.logs = append(p.logs, line)
		}
		p.mu.Unlock()
	}
}

// output returns the process's output so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// kill kills the process.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop sends TERM and returns the exit code.
func (p *process) stop() int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

// wait returns the exit code of a process that ends by itself.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(5 * time.Minute):
		p.t.Fatalf("%s has not ended:\n%s", p.name, tail(p.output(), 4000))
	}
	return p.cmd.ProcessState.ExitCode()
}

// run runs tasker and returns its exit code and output.
func run(t *testing.T, env []string, args ...string) (code int, output string) {
	t.Helper()
	p := start(t, env, args...)
	code = p.wait()
	return code, p.output()
}

// system is tasker on real services, each behind a proxy that can be cut.
type system struct {
	t        *testing.T
	program  string // what api, manager and initialize start
	base     string // the API's address
	env      []string
	database *testservices.Proxy
	broker   *testservices.Proxy
	amqp     string // the broker without a proxy
	mysql    string // the database without a proxy
}

const fastTypes = "TASKER_TASK_TYPES=[{name: worker, settings: {duration: 200ms}}," +
	" {name: backup, settings: {duration: 100ms}}, {name: sleep, concurrency: 2}]"

// newSystem creates a database and a virtual host; env adds to the
// configuration.
func newSystem(t *testing.T, env ...string) *system {
	t.Helper()
	return newSystemOn(t, testservices.RabbitMQ(t), env...)
}

// newSystemOn is newSystem on the RabbitMQ server at an address.
func newSystemOn(t *testing.T, uri string, env ...string) *system {
	t.Helper()
	s := newServices(t, uri, env...)
	s.initialize()
	return s
}

// newServices is newSystemOn without the tables.
func newServices(t *testing.T, uri string, env ...string) *system {
	t.Helper()
	s := &system{t: t, program: program}
	var mysql, amqp string
	s.mysql = testservices.MySQL(t)
	s.database, mysql = testservices.Proxied(t, s.mysql)
	s.amqp = uri
	s.broker, amqp = testservices.Proxied(t, s.amqp)
	port := freePort(t)
	s.base = "http://127.0.0.1:" + port
	s.env = append([]string{
		fastTypes,
		"TASKER_MANAGER_DB_URI=" + mysql,
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=" + amqp,
		"TASKER_API_PORT=" + port,
		"TASKER_MANAGER_HEARTBEAT=300ms",
		"TASKER_API_PUBLISH_TIMEOUT=10s", // on a slow machine, too, a POST answers SENT
		"TASKER_MANAGER_LEASE=1500ms",
	}, env...)
	return s
}

// initialize makes or migrates the tables.
func (s *system) initialize() {
	s.t.Helper()
	p := startProgram(s.t, s.program, s.env, "initialize", "--database")
	if code := p.wait(); code != 0 {
		s.t.Fatalf("initialize --database: exit %d:\n%s", code, p.output())
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// api starts an API and waits until it answers.
func (s *system) api() *process {
	s.t.Helper()
	p := startProgram(s.t, s.program, s.env, "api")
	s.until("the API to answer", func() bool {
		select {
		case <-p.exited:
			s.t.Fatalf("the API ended:\n%s", p.output())
		default:
		}
		code, _, err := s.request(http.MethodGet, "/healthz", "", nil)
		return err == nil && code == http.StatusOK
	})
	return p
}

// manager starts a manager of all types, with extra flags, and waits until it
// has registered its endpoint.
func (s *system) manager(endpoint string, flags ...string) *process {
	s.t.Helper()
	p := startProgram(s.t, s.program, s.env, append([]string{"manager", "--endpoint", endpoint}, flags...)...)
	s.until("endpoint "+endpoint+" to be registered", func() bool {
		select {
		case <-p.exited:
			s.t.Fatalf("the manager ended:\n%s", p.output())
		default:
		}
		var list struct {
			Endpoints []struct {
				Name  string
				PID   int
				Alive bool
			}
		}
		if _, _, err := s.request(http.MethodGet, "/v1/endpoints", "", &list); err != nil {
			return false
		}
		for _, e := range list.Endpoints {
			if e.Name == endpoint && e.PID == p.cmd.Process.Pid && e.Alive {
				return true
			}
		}
		return false
	})
	return p
}

func (s *system) until(what string, condition func() bool) {
	s.t.Helper()
	until(s.t, what, condition)
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("timeout waiting for %s", what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test was canceled")
		}
	}
}

func (s *system) request(method, path, body string, into any) (int, http.Header, error) {
	return request(s.t, s.base, method, path, body, into)
}

func request(t *testing.T, base, method, path, body string, into any) (int, http.Header, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	return resp.StatusCode, resp.Header, err
}

// post creates a task and returns the status code and the task's status.
func (s *system) post(taskType, body string) (code int, status string) {
	s.t.Helper()
	var task struct{ Status json.RawMessage } // a number in an error answer
	code, _, err := s.request(http.MethodPost, "/"+taskType, body, &task)
	if err != nil {
		s.t.Fatalf("POST /%s: %v", taskType, err)
	}
	return code, strings.Trim(string(task.Status), `"`)
}

// accept posts a task until it is accepted, like a client that retries.
func (s *system) accept(taskType, body string) {
	s.t.Helper()
	s.until("POST /"+taskType+" to be accepted", func() bool {
		code, _, err := s.request(http.MethodPost, "/"+taskType, body, nil)
		return err == nil && (code == http.StatusCreated || code == http.StatusOK)
	})
}

type answer struct {
	Task struct {
		ID     int64
		Status string
	}
	TaskResponseList []struct {
		Endpoint string
		State    string
		Attempt  int
		Errnr    int
		Errmsg   *string
		Payload  any
	}
	Summary struct {
		Expected, Finished, Failed, Held int
		Missing                          []string
	}
}

func (a answer) state(endpoint string) string {
	for _, r := range a.TaskResponseList {
		if r.Endpoint == endpoint {
			return r.State
		}
	}
	return ""
}

// await polls a task until it has a status.
func (s *system) await(path, status string) answer {
	s.t.Helper()
	return s.awaitFor(path, "be "+status, func(a answer) bool { return a.Task.Status == status })
}

func (s *system) awaitFor(path, what string, holds func(answer) bool) answer {
	s.t.Helper()
	var last answer
	deadline := time.Now().Add(5 * time.Minute)
	for {
		var a answer
		if code, _, err := s.request(http.MethodGet, path, "", &a); err == nil && code == http.StatusOK {
			if holds(a) {
				return a
			}
			last = a
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("timeout waiting for %s to be %s: %+v", path, what, last)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.t.Context().Done():
			s.t.Fatal(errors.New("the test was canceled"))
		}
	}
}
