package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fastTypes are the task types of the reference, with short durations.
const fastTypes = `TASKER_TASK_TYPES=[{name: worker, settings: {duration: 100ms}}, {name: backup, settings: {duration: 50ms}}, sleep]`

func load(t *testing.T, environ ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{
		Environ: append([]string{fastTypes, "TASKER_API_PORT=0"}, environ...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// dev runs the development process until the test ends, or stop is called.
func dev(t *testing.T, cfg config.Config, opts app.DevOptions) (base string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	opts.Ready = func(addr string) { ready <- addr }
	go func() { done <- app.RunDev(ctx, cfg, opts, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	ended := false
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case addr := <-ready:
		return "http://" + addr, stop
	case err := <-done:
		ended = true
		t.Fatalf("the process ended: %v", err)
		return "", nil
	}
}

type answer struct {
	Task struct {
		Status    string
		Endpoints []string
		Payload   json.RawMessage
	}
	TaskResponseList []struct {
		Endpoint string
		Status   int
		State    string
		Attempt  int
		Errnr    int
		Errmsg   *string
		Payload  json.RawMessage
	}
	Summary struct {
		Expected, Received, Finished, Failed int
		Missing                              []string
	}
}

func request(t *testing.T, method, url, body string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatalf("%s %s: %s: %s", method, url, resp.Status, data)
		}
	}
	return resp.StatusCode
}

// until polls a task until a condition holds.
func until(t *testing.T, url string, holds func(a answer) bool) answer {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		var a answer
		request(t, http.MethodGet, url, "", &a)
		if holds(a) {
			return a
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never came to what was waited for: %+v", url, a)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func status(want string) func(answer) bool {
	return func(a answer) bool { return a.Task.Status == want }
}

func TestDevReference(t *testing.T) {
	var out bytes.Buffer
	base, stop := dev(t, load(t, "TASKER_API_PUBLISH_TIMEOUT=10s"), app.DevOptions{Ephemeral: true, Out: &out, Version: "v-test", Program: "mine"})
	for _, want := range []string{base, base + "/ui/", "curl -X POST", "console1", "/openapi.yaml", "mine v-test for", "mine manager"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the greeting does not say %q:\n%s", want, &out)
		}
	}
	var task struct{ Status string }
	code := request(t, http.MethodPost, base+"/worker", `{"identifier":"e7bd","payload":{"foo":"bar"},"endpoints":["console1","console2"]}`, &task)
	if code != http.StatusCreated || task.Status != "SENT" {
		t.Errorf("POST: %d, status %s", code, task.Status)
	}
	a := until(t, base+"/worker/e7bd", status("DONE"))
	if len(a.TaskResponseList) != 2 || a.Summary.Expected != 2 || a.Summary.Finished != 2 || len(a.Summary.Missing) != 0 {
		t.Errorf("%+v", a)
	}
	for _, r := range a.TaskResponseList {
		if r.Status != 1 || r.Errnr != 0 || r.Errmsg != nil || string(r.Payload) != `{"yeah":1234123,"yiya":"yippie"}` {
			t.Errorf("%+v, payload %s", r, r.Payload)
		}
	}
	request(t, http.MethodPost, base+"/backup", `{"identifier":"one"}`, nil)
	a = until(t, base+"/backup/one", status("FAILED"))
	for _, r := range a.TaskResponseList {
		if r.Status != 1 || r.State != "FAILED" || r.Errnr != 32 || r.Errmsg == nil || *r.Errmsg != "could not backup!" {
			t.Errorf("%+v", r)
		}
	}
	// The status is stored promptly too, without anybody asking for the task.
	request(t, http.MethodPost, base+"/sleep", `{"identifier":"zero","payload":{"seconds":0}}`, nil)
	deadline := time.Now().Add(5 * time.Minute)
	for {
		var list struct {
			Tasks []struct{ Identifier, Status string }
		}
		request(t, http.MethodGet, base+"/sleep?status=DONE", "", &list)
		if len(list.Tasks) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the status is not stored when the last result ends")
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestDevKeepsTasksOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a #1, 100% ?") // what an address would read otherwise
	cfg := load(t, "TASKER_TASK_TYPES=[{name: sleep, concurrency: 1}]")
	base, stop := dev(t, cfg, app.DevOptions{DataDir: dir})
	// One runs, more than fit in memory wait.
	request(t, http.MethodPost, base+"/sleep", `{"identifier":"long","payload":{"seconds":3600}}`, nil)
	const n = 20
	for i := range n {
		request(t, http.MethodPost, base+"/sleep", fmt.Sprintf(`{"identifier":"t%d","payload":{"seconds":0}}`, i), nil)
	}
	until(t, base+"/sleep/long", func(a answer) bool {
		return len(a.TaskResponseList) == 2 && a.TaskResponseList[0].State == "RUNNING" && a.TaskResponseList[1].State == "RUNNING"
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tasker.db")); err != nil {
		t.Error(err)
	}
	base, _ = dev(t, cfg, app.DevOptions{DataDir: dir})
	a := until(t, base+"/sleep/long", status("FAILED"))
	for _, r := range a.TaskResponseList {
		if r.Errnr != -6 || r.Attempt != 1 || r.Errmsg == nil || !strings.Contains(*r.Errmsg, "interrupted") {
			t.Errorf("an interrupted run is shown as %+v", r)
		}
	}
	for i := range n {
		a := until(t, fmt.Sprintf("%s/sleep/t%d", base, i), status("DONE"))
		for _, r := range a.TaskResponseList {
			if r.Attempt != 1 {
				t.Errorf("t%d: %+v", i, r)
			}
		}
	}
}
