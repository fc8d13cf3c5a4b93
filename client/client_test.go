package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
)

// devURL is the API of a real tasker: "tasker dev" runs in this process, with
// the endpoints console1 and console2.
var devURL string

func TestMain(m *testing.M) { goleak.VerifyTestMain(withDev{m}) }

type withDev struct{ m *testing.M }

func (w withDev) Run() int {
	cfg, err := config.Load(config.Options{Environ: []string{
		"TASKER_TASK_TYPES=[{name: worker, settings: {duration: 20ms}}, {name: backup, settings: {duration: 10ms}}]", "TASKER_API_PORT=0",
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		opts := app.DevOptions{Ephemeral: true, Ready: func(addr string) { ready <- addr }}
		done <- app.RunDev(ctx, cfg, opts, slog.New(slog.DiscardHandler))
	}()
	code := 1
	select {
	case addr := <-ready:
		devURL = "http://" + addr
		code = w.m.Run()
		cancel()
		err = <-done
	case err = <-done:
		cancel()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return code
}

func newClient(t *testing.T, url string) *client.Client {
	t.Helper()
	c, err := client.New(url, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs a fake API.
func serve(t *testing.T, handle http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return newClient(t, server.URL)
}

func wantCode(t *testing.T, err error, want tasker.Code) {
	t.Helper()
	if got := tasker.CodeOf(err); got != want {
		t.Errorf("got code %q of %v, want %q", got, err, want)
	}
}

func TestTasks(t *testing.T) {
	c, ctx := newClient(t, devURL), t.Context()
	newTask := client.NewTask{Identifier: "a", Payload: map[string]string{"html": "<b>"}, Endpoints: []string{"console1"}}
	task, created, err := c.CreateTask(ctx, "worker", newTask)
	if err != nil || !created || task.Identifier != "a" || string(task.Payload) != `{"html":"<b>"}` {
		t.Fatalf("got %+v, %t, %v", task, created, err)
	}
	if _, created, err := c.CreateTask(ctx, "worker", newTask); err != nil || created {
		t.Errorf("the same task: created %t, %v", created, err)
	}
	newTask.Payload = 1
	_, _, err = c.CreateTask(ctx, "worker", newTask)
	wantCode(t, err, tasker.Conflict)

	answer, err := c.Wait(ctx, "worker", "a")
	if err != nil || answer.Task.Status != tasker.Done || len(answer.Results) != 1 || answer.Results[0].State != tasker.ResultDone || answer.Summary.Finished != 1 {
		t.Errorf("got %+v, %v", answer, err)
	}
	groups, err := c.Groups(ctx, "worker", "a")
	if err != nil || len(groups.Groups) != 1 || groups.Received != 1 || groups.Task.Status != tasker.Done {
		t.Fatalf("got %+v, %v", groups, err)
	}
	if names, err := groups.Groups[0].Endpoints(); err != nil || !slices.Equal(names, []string{"console1"}) {
		t.Errorf("the group is of %q, %v", names, err)
	}
	for name, err := range c.Missing(ctx, "worker", "a") {
		t.Errorf("%q is missing, %v", name, err)
	}
	if again, err := c.Task(ctx, "worker", "a"); err != nil || again.Results[0].ID != answer.Results[0].ID || again.Results[0].LastModifiedTime.IsZero() {
		t.Errorf("got %+v, %v", again, err)
	}
	result, err := c.Result(ctx, "worker", "a", "console1")
	if err != nil || len(result.Attempts) != 1 || result.Result.State != tasker.ResultDone {
		t.Errorf("got %+v, %v", result, err)
	}
	for line, err := range c.Log(ctx, "worker", "a", "console1", 0) {
		if err != nil || line.Text == "" {
			t.Errorf("got line %+v, %v", line, err)
		}
	}
	_, _, err = c.CreateTask(ctx, "backup", client.NewTask{Identifier: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := c.Wait(ctx, "backup", "a"); err != nil || answer.Task.Status != tasker.Failed || answer.Results[0].Errmsg == "" {
		t.Errorf("a task that fails: %+v, %v", answer, err)
	}
}

func TestLists(t *testing.T) {
	c, ctx := newClient(t, devURL), t.Context()
	const n = 205 // more than a page
	for i := range n {
		if _, _, err := c.CreateTask(ctx, "backup", client.NewTask{Identifier: fmt.Sprintf("list%d", i), Payload: i, Endpoints: []string{"console2"}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for task, err := range c.Tasks(ctx, "backup", client.TaskQuery{Payload: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(task.Identifier, "list") {
			got = append(got, task.Identifier)
			if want := strings.TrimPrefix(task.Identifier, "list"); string(task.Payload) != want {
				t.Errorf("got payload %s, want %s", task.Payload, want)
			}
		}
	}
	if len(got) != n || got[0] != fmt.Sprintf("list%d", n-1) || got[n-1] != "list0" {
		t.Errorf("got %d tasks, from %s to %s", len(got), got[0], got[len(got)-1])
	}
	all := c.Tasks(ctx, "backup", client.TaskQuery{Status: "nonsense"})
	for range 2 { // each iteration is another request
		n := 0
		for _, err := range all {
			wantCode(t, err, tasker.Invalid)
			n++
		}
		if n != 1 {
			t.Errorf("got %d errors", n)
		}
	}
	var names []string
	for e, err := range c.Endpoints(ctx, "worker") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	if !slices.Equal(names, app.DevEndpoints()) {
		t.Errorf("got endpoints %q", names)
	}
	names = nil
	for e, err := range c.SelectEndpoints(ctx, "name~*2", "name=none") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	if !slices.Equal(names, []string{"console2"}) {
		t.Errorf("selected %q", names)
	}
	for _, err := range c.SelectEndpoints(ctx) {
		wantCode(t, err, tasker.Invalid)
	}
	for _, err := range c.DeadLetters(ctx, 0) {
		t.Errorf("got a dead letter, or %v", err)
	}
}

func TestFleet(t *testing.T) {
	c, ctx := newClient(t, devURL), t.Context()
	if types, err := c.TaskTypes(ctx); err != nil || len(types) != 2 || types[0].Name != "worker" {
		t.Errorf("got %+v, %v", types, err)
	}
	if tt, err := c.TaskType(ctx, "worker"); err != nil || tt.Handler != "worker" || len(tt.Endpoints) != 2 {
		t.Errorf("got %+v, %v", tt, err)
	}
	_, err := c.RemoveEndpoint(ctx, "console1")
	wantCode(t, err, tasker.Conflict) // it is alive
	_, err = c.RemoveEndpoint(ctx, "nosuch")
	wantCode(t, err, tasker.NotFound)
	_, err = c.DeadLetter(ctx, 7)
	wantCode(t, err, tasker.NotFound)
	wantCode(t, c.RequeueDeadLetter(ctx, 7), tasker.NotFound)
	wantCode(t, c.DiscardDeadLetter(ctx, 7), tasker.NotFound)
	if health, err := c.Health(ctx); err != nil || health.Status != "alive" {
		t.Errorf("got %+v, %v", health, err)
	}
	if ready, err := c.Ready(ctx); err != nil || !ready.Checks.Database.OK || !ready.Checks.Broker.OK {
		t.Errorf("got %+v, %v", ready, err)
	}
}

func TestProblem(t *testing.T) {
	c, ctx := newClient(t, devURL), t.Context()
	_, _, err := c.CreateTask(ctx, "worker", client.NewTask{Endpoints: []string{"ok", "not ok", "-"}})
	wantCode(t, err, tasker.Invalid)
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != http.StatusUnprocessableEntity || p.RequestID == "" || len(p.Errors) != 2 || p.Errors[1].Field != "/endpoints/2" {
		t.Errorf("got %+v", p)
	}
	if e, ok := errors.AsType[*tasker.Error](err); !ok || e.Field != "/endpoints/1" || e.Message != err.Error() {
		t.Errorf("got %+v of %v", e, err)
	}
	_, err = c.Task(ctx, "nosuch", "a")
	wantCode(t, err, tasker.NotFound)
	_, err = c.Task(ctx, "worker", "../healthz")
	wantCode(t, err, tasker.Invalid)
	for _, err := range c.Watch(ctx, "worker", "nosuch") {
		wantCode(t, err, tasker.NotFound)
	}
}

func TestNewRejects(t *testing.T) {
	for _, url := range []string{"", "localhost:8888", "ftp://host", "http://", "http://user@host", "http://host?a=b"} {
		_, err := client.New(url, "")
		wantCode(t, err, tasker.Invalid)
	}
}

func unavailable(w http.ResponseWriter, retryAfter string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", retryAfter)
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(client.Problem{Code: tasker.Overloaded, Detail: "too many requests"})
}

// TestRetries: what can be repeated without harm is sent again, and nothing else.
func TestRetries(t *testing.T) {
	var calls atomic.Int32
	failures := int32(2)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if calls.Add(1) <= failures {
			unavailable(w, "0")
			return
		}
		if r.Method == http.MethodPost && !strings.Contains(string(body), `"identifier":"a"`) {
			t.Errorf("got body %q", body)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{}`))
	})
	for name, tc := range map[string]struct {
		call func(context.Context) error
		want tasker.Code
		n    int32
	}{
		"read":                      {func(ctx context.Context) error { _, err := c.Task(ctx, "worker", "a"); return err }, "", 3},
		"create with identifier":    {func(ctx context.Context) error { return create(ctx, c, "a") }, "", 3},
		"create without identifier": {func(ctx context.Context) error { return create(ctx, c, "") }, tasker.Overloaded, 1},
		"requeue":                   {func(ctx context.Context) error { return c.RequeueDeadLetter(ctx, 1) }, tasker.Overloaded, 1},
	} {
		t.Run(name, func(t *testing.T) {
			calls.Store(0)
			wantCode(t, tc.call(t.Context()), tc.want)
			if got := calls.Load(); got != tc.n {
				t.Errorf("got %d requests, want %d", got, tc.n)
			}
		})
	}
	failures = 3
	calls.Store(0)
	wantCode(t, create(t.Context(), c, "a"), tasker.Overloaded)
	if got := calls.Load(); got != failures {
		t.Errorf("got %d requests, want %d", got, failures)
	}
}

func create(ctx context.Context, c *client.Client, identifier string) error {
	_, _, err := c.CreateTask(ctx, "worker", client.NewTask{Identifier: identifier})
	return err
}

func TestRetryEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		unavailable(w, "3600")
		cancel()
	})
	if _, err := c.Task(ctx, "worker", "a"); err == nil {
		t.Error("no error")
	}
}

// TestForeignResponses are those of something that is not tasker.
func TestForeignResponses(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   tasker.Code
	}{
		"a page":   {http.StatusOK, "<html>", tasker.Internal},
		"redirect": {http.StatusFound, "", tasker.Internal},
		"proxy":    {http.StatusBadGateway, "<html>", tasker.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "0")
				w.Header().Set("Location", "/")
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			_, err := c.Health(t.Context())
			wantCode(t, err, tc.want)
		})
	}
	server := httptest.NewServer(nil)
	server.Close()
	_, err := newClient(t, server.URL).Health(t.Context())
	wantCode(t, err, tasker.Unavailable)
}

func TestReadyOfAnOutage(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(client.Readiness{Status: "not ready", Checks: client.Checks{Database: client.Check{OK: true}}})
	})
	if ready, err := c.Ready(t.Context()); err != nil || ready.Checks.Broker.OK || !ready.Checks.Database.OK {
		t.Errorf("got %+v, %v", ready, err)
	}
}

func TestToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer s3cret" {
			t.Errorf("got Authorization %q", got)
		}
		_, _ = w.Write([]byte(`{}`))
	}))
	defer server.Close()
	c, err := client.New(server.URL, "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEndpointSet(t *testing.T) {
	set := client.EndpointSet{Count: 3, Names: []string{"db1", "web[09-10]"}}
	if names, err := set.Endpoints(); err != nil || !slices.Equal(names, []string{"db1", "web09", "web10"}) {
		t.Errorf("got %q, %v", names, err)
	}
	for _, count := range []int{2, 4} { // also of a set that stands for billions
		set.Count = count
		if names, err := set.Endpoints(); err == nil {
			t.Errorf("with the count %d: got %q, want an error", count, names)
		}
	}
}
