package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/observe"
)

// harness is a server with fakes, used over the network.
type harness struct {
	server     *api.Server
	http       *httptest.Server
	store      *fakeStore
	schedules  *fakeSchedules
	dispatcher *fakeDispatcher
	starter    *fakeStarter
	broker     *fakeBroker
	log        *logBuffer
}

func newHarness(t testing.TB, change ...func(*api.Config)) *harness {
	t.Helper()
	h := &harness{store: newFakeStore(), broker: &fakeBroker{}, starter: &fakeStarter{}, log: &logBuffer{}}
	h.dispatcher = &fakeDispatcher{store: h.store}
	h.schedules = &fakeSchedules{fakeStore: h.store}
	cfg := testConfig()
	for _, f := range change {
		f(&cfg)
	}
	s, err := api.New(cfg, h.deps())
	if err != nil {
		t.Fatal(err)
	}
	h.server = s
	h.serve(t, s.Handler())
	return h
}

func testConfig() api.Config {
	return api.Config{
		Version: "1.2.3",
		MaxBody: 4096,
		TaskTypes: []tasker.TaskType{
			{Name: "worker", Description: "works"}, {Name: "backup"},
		},
	}
}

func withToken(c *api.Config) { c.Token = "s3cret-token" }

func (h *harness) deps() api.Deps {
	registry := observe.NewRegistry("1.2.3")
	return api.Deps{
		Tasks: h.store, Statuses: h.store, Results: h.store, Live: h.store, Endpoints: h.store, Tokens: h.store,
		DeadLetters: h.store, Database: h.store,
		Dispatcher: h.dispatcher, Starter: h.starter, Requeuer: h.store, Remover: h.store, Canceler: h.store, Retrier: h.store,
		Holder: h.store, Holds: h.store, Conductor: noRollouts{h.store}, Rollouts: noRollouts{h.store},
		Schedules: h.schedules, Scheduler: h.schedules, Broker: h.broker, Log: h.log.logger(),
		Exposition: observe.Handler(registry), Metrics: observe.NewAPIMetrics(registry),
	}
}

func (h *harness) serve(t testing.TB, handler http.Handler) {
	t.Helper()
	h.http = httptest.NewServer(handler)
	h.http.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(h.http.Close)
}

// answer is one answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request, with headers as pairs ("Host" among them), and checks the
// response against the contract.
func (h *harness) do(t testing.TB, method, path string, body []byte, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.http.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := h.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got []byte
	if isStream(resp) {
		got = readEvent(t, bufio.NewReader(resp.Body)) // the first one: it need not end
	} else if got, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(req, body, resp, got); err != nil {
		t.Errorf("%s %s: %d: %v\n%s", method, path, resp.StatusCode, err, got)
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") == "" {
		t.Errorf("%s %s: security headers are missing: %v", method, path, resp.Header)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: got}
}

func (h *harness) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return h.do(t, http.MethodGet, path, nil, headers...)
}

func (h *harness) post(t testing.TB, path, body string) answer {
	t.Helper()
	return h.do(t, http.MethodPost, path, []byte(body), "Content-Type", "application/json")
}

func (a answer) want(t testing.TB, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d\n%s", a.status, status, a.body)
	}
}

// problem is the body of an error.
type problem struct {
	Code      string
	Detail    string
	RequestID string `json:"request_id"`
	Errors    []struct{ Field, Message string }
}

func (a answer) problem(t testing.TB) problem {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q of an error", got)
	}
	return decode[problem](t, a.body)
}

func (p problem) fields() (fields []string) {
	for _, e := range p.Errors {
		fields = append(fields, e.Field)
	}
	return fields
}

func decode[T any](t testing.TB, body []byte) (v T) {
	t.Helper()
	if err := unmarshal(body, &v); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return v
}

func unmarshal(body []byte, v any) error { return json.Unmarshal(body, v) }

// logBuffer collects log lines as JSON.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns the lines with a message.
func (b *logBuffer) lines(t testing.TB, message string) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		if fields := decode[map[string]any](t, []byte(line)); fields["msg"] == message {
			lines = append(lines, fields)
		}
	}
	return lines
}
