package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/testservices"
)

// An API and two managers; without console2 the task is INCOMPLETE at the
// timeout, with it DONE.
func TestReference(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "TASKER_API_WAIT_FOR_ENDPOINTS_TIMEOUT=1s")
	s.api()
	s.manager("console1")
	console2 := s.manager("console2")
	testdata, err := os.ReadFile(filepath.Join("..", "..", "examples", "testdata.json"))
	if err != nil {
		t.Fatal(err)
	}
	const path = "/worker/e7bd91d0-16ad-11e2-892e-0800200c9a66"
	if code, status := s.post("worker", string(testdata)); code != http.StatusCreated || status != "SENT" {
		t.Fatalf("POST: %d, %s", code, status)
	}
	a := s.await(path, "DONE")
	if a.state("console1") != "DONE" || a.state("console2") != "DONE" || a.Summary.Finished != 2 {
		t.Errorf("%+v", a)
	}
	s.post("backup", `{"identifier":"one"}`)
	a = s.await("/backup/one", "FAILED")
	if r := a.TaskResponseList; len(r) != 2 || r[0].Errnr != 32 || *r[0].Errmsg != "could not backup!" {
		t.Errorf("%+v", a)
	}

	if code := console2.stop(); code != 0 {
		t.Errorf("exit code %d of the manager", code)
	}
	s.post("worker", `{"identifier":"later"}`)
	// On a busy machine console1 may receive it after the timeout too.
	s.awaitFor("/worker/later", "miss console2 only", func(a answer) bool {
		return a.Task.Status == "INCOMPLETE" && slices.Equal(a.Summary.Missing, []string{"console2"}) && a.state("console1") != ""
	})
	s.manager("console2")
	s.await("/worker/later", "DONE")
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.database.Cut()
	s.api() // starts without the database
	code, header, err := s.request(http.MethodPost, "/worker", `{"identifier":"one"}`, nil)
	if err != nil || code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("POST: %d, Retry-After %q, %v", code, header.Get("Retry-After"), err)
	}
	var ready struct {
		Checks map[string]struct{ OK bool }
	}
	if code, _, err := s.request(http.MethodGet, "/readyz", "", &ready); err != nil ||
		code != http.StatusServiceUnavailable || ready.Checks["database"].OK {
		t.Errorf("/readyz: %d, %+v, %v", code, ready, err)
	}
	s.database.Restore()
	s.manager("console1")
	s.accept("worker", `{"identifier":"one"}`)
	s.await("/worker/one", "DONE")

	// During a run: the result is stored when the database is back.
	s.accept("sleep", `{"identifier":"middle","payload":{"seconds":3}}`)
	s.awaitFor("/sleep/middle", "run", func(a answer) bool { return a.state("console1") == "RUNNING" })
	s.database.Cut()
	code, _, err = s.request(http.MethodPost, "/worker", `{"identifier":"two"}`, nil)
	if err != nil || code != http.StatusServiceUnavailable {
		t.Errorf("POST: %d, %v", code, err)
	}
	s.database.Restore()
	a := s.await("/sleep/middle", "DONE")
	if a.TaskResponseList[0].Attempt != 1 {
		t.Errorf("%+v", a)
	}
	if code, _, _ := s.request(http.MethodGet, "/worker/two", "", nil); code != http.StatusNotFound {
		t.Errorf("GET of a refused task: %d", code)
	}
}

func TestBrokerDown(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api()
	s.manager("console1")
	s.post("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "DONE")
	s.broker.Cut()
	until(t, "the API to notice", func() bool {
		code, _, err := s.request(http.MethodGet, "/readyz", "", nil)
		return err == nil && code == http.StatusServiceUnavailable
	})
	const n = 20
	for i := range n {
		if code, status := s.post("worker", fmt.Sprintf(`{"identifier":"t%d"}`, i)); code != http.StatusCreated || status != "CREATED" {
			t.Errorf("POST without a broker: %d, %s", code, status)
		}
	}
	s.broker.Restore()
	for i := range n {
		a := s.await(fmt.Sprintf("/worker/t%d", i), "DONE")
		if a.TaskResponseList[0].Attempt != 1 {
			t.Errorf("%+v", a)
		}
	}
}

func TestSecondManager(t *testing.T) {
	t.Parallel()
	// The lease must not run out while the first manager waits for CPU.
	s := newSystem(t, "TASKER_MANAGER_LEASE=10s")
	s.api()
	first := s.manager("console1")
	code, output := run(t, s.env, "manager", "--endpoint", "console1")
	if code != 1 || !strings.Contains(output, "is served by another manager") ||
		!strings.Contains(output, fmt.Sprint("pid ", first.cmd.Process.Pid)) {
		t.Errorf("exit %d:\n%s", code, output)
	}
	first.kill()
	s.manager("console1") // the name is free within a lease
}

// A malformed message of a foreign client becomes a dead letter.
func TestForeignMalformedMessage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api()
	s.manager("console1")
	s.post("worker", `{"identifier":"before"}`)
	s.await("/worker/before", "DONE")
	vhost := s.amqp[strings.LastIndex(s.amqp, "/")+1:]
	for _, body := range []string{
		"rubbish", `{"v":99}`,
		`{"v":1,"task_id":1,"identifier":"x","type":"worker","payload":null,"start_time":"2026-01-01T00:00:00Z"}`,
	} {
		testservices.Management(t, http.MethodPost, "/api/exchanges/"+vhost+"/tasker.worker/publish",
			fmt.Sprintf(`{"properties":{},"routing_key":"all","payload":%q,"payload_encoding":"string"}`, body))
	}
	s.post("worker", `{"identifier":"after"}`)
	s.await("/worker/after", "DONE")
	p := s.manager("console2")
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, env []string
		code      int
		want      string
	}{
		{args: []string{"manager"}, code: 2, want: "--endpoint"},
		{args: []string{"manager", "--endpoint", "a b"}, code: 2, want: "invalid endpoint"},
		{args: []string{"manager", "--endpoint", "a", "--task-type", "nosuch"}, code: 2, want: "worker"},
		{args: []string{"initialize"}, code: 2, want: "--database"},
		{args: []string{"api"}, env: []string{"TASKER_API_PROT=1"}, code: 2, want: "TASKER_API_PORT"},
		{args: []string{"api"}, env: []string{"TASKER_API_LISTEN=0.0.0.0"}, code: 2, want: "api.token_file"},
		{args: []string{"api", "--mode", "production"}, code: 2, want: "production.config.yaml"},
		{args: []string{"frobnicate"}, code: 2, want: "frobnicate"},
	} {
		code, output := run(t, c.env, c.args...)
		if code != c.code || !strings.Contains(output, c.want) {
			t.Errorf("tasker %s: exit %d, want %d and %q:\n%s", strings.Join(c.args, " "), code, c.code, c.want, output)
		}
	}
}

func TestOldSchema(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	if code, output := run(t, s.env, "initialize", "--database", "--reset"); code != 2 || !strings.Contains(output, "would drop") {
		t.Errorf("--reset without --yes: exit %d:\n%s", code, output)
	}
	env := slices.Concat(s.env, []string{"TASKER_MANAGER_DB_URI=" + testservices.MySQL(t)})
	for _, args := range [][]string{{"api"}, {"manager", "--endpoint", "a"}} {
		if code, output := run(t, env, args...); code != 1 || !strings.Contains(output, "tasker initialize --database") {
			t.Errorf("%v on an empty database: exit %d:\n%s", args, code, output)
		}
	}
}
