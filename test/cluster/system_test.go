//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/test/promises"
)

// timeout is how long a test waits for what must happen. A consumer that its
// queue has forgotten resubscribes after two topology checks, each up to a
// minute and a half.
const timeout = 5 * time.Minute

func until(t *testing.T, what string, condition func() bool, last *string) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("timeout waiting for %s: %s", what, *last)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test was canceled")
		}
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// taskTypes are the task types; each has a queue per endpoint.
var taskTypes = []string{"alpha", "beta"}

// system is tasker on a cluster: processes of an API and managers.
type system struct {
	t         *testing.T
	base      string // the API's address
	journal   string
	env       []string
	endpoints []string
}

// startSystem starts tasker and waits until all endpoints are registered.
func startSystem(t *testing.T, amqp string, endpoints ...string) *system {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	database, err := testnodes.StartMariaDB(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(database.Kill)
	port, err := testnodes.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, base: fmt.Sprintf("http://127.0.0.1:%d", port), journal: t.TempDir(), endpoints: endpoints}
	var types []string
	for _, name := range taskTypes {
		types = append(types, "{name: "+name+", handler: worker}")
	}
	s.env = []string{
		journalVariable + "=" + s.journal,
		"TASKER_TASK_TYPES=[" + strings.Join(types, ", ") + "]",
		"TASKER_MANAGER_DB_URI=" + database.URI() + "tasker",
		"TASKER_MANAGER_MESSAGE_QUEUE_URI=" + amqp,
		"TASKER_MANAGER_MESSAGE_QUEUE_QUEUE_TYPE=quorum",
		"TASKER_MANAGER_MESSAGE_QUEUE_HEARTBEAT=2s",
		"TASKER_MANAGER_LEASE=20s", // for slow machines
		"TASKER_API_PORT=" + strconv.Itoa(port),
		"TASKER_API_PUBLISH_TIMEOUT=2s",
	}
	if code := s.start("initialize", "--database").ExitCode(); code != 0 {
		t.Fatalf("initialize --database: exit %d", code)
	}
	s.start("api")
	for _, endpoint := range endpoints {
		s.start("manager", "--endpoint", endpoint)
	}
	var last string
	until(t, "the endpoints to be registered", func() bool {
		var list struct{ Endpoints []struct{ Alive bool } }
		_, err := s.request(http.MethodGet, "/v1/endpoints", "", &list)
		last = fmt.Sprint(list, err)
		alive := 0
		for _, e := range list.Endpoints {
			if e.Alive {
				alive++
			}
		}
		return alive == len(endpoints)
	}, &last)
	return s
}

// start runs tasker until the test ends, and logs its output if the test fails.
func (s *system) start(args ...string) *testnodes.Process {
	s.t.Helper()
	name := strings.Join(args, "-")
	out, err := os.Create(filepath.Join(s.t.TempDir(), "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the process has its own
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = s.t.TempDir()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, s.env...)
	cmd.Stdout, cmd.Stderr = out, out
	p, err := testnodes.StartProcess(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if code, err := p.Stop(timeout); err != nil || code != 0 {
			s.t.Errorf("%s: exit code %d, %v", name, code, err)
		}
		if s.t.Failed() {
			if log, err := os.ReadFile(out.Name()); err == nil {
				s.t.Logf("--- %s:\n%s", name, tail(string(log), 5000))
			}
		}
	})
	return p
}

func (s *system) request(method, path, body string, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, json.Unmarshal(data, into)
}

// answer is GET /{type}/{identifier} in the checker's form.
func (s *system) answer(taskType, identifier string) (promises.Answer, error) {
	a := promises.Answer{Time: time.Now()}
	code, err := s.request(http.MethodGet, "/"+taskType+"/"+identifier, "", &a)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("GET /%s/%s: %d", taskType, identifier, code)
	}
	a.Answered = time.Now()
	return a, err
}

// runs returns the journals' entries.
func (s *system) runs() []promises.Entry {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.journal, "*.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	var entries []promises.Entry
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var e promises.Entry
			if err := json.Unmarshal(line, &e); err != nil {
				s.t.Fatalf("%s: %v: %s", name, err, line)
			}
			entries = append(entries, e)
		}
	}
	return entries
}
