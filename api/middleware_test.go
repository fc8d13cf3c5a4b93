package api_test

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// raw sends a GET outside the contract and returns its status, 0 if there is
// no whole answer.
func (h *harness) raw(t *testing.T, path string, headers ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := h.http.Client().Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.ReadAll(resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

func TestRequestID(t *testing.T) {
	h := newHarness(t)
	made := regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)
	for _, id := range []string{"", "a b", "é", "<script>", strings.Repeat("x", 65), "a\tb"} {
		var headers []string
		if id != "" {
			headers = []string{"X-Request-Id", id}
		}
		if got := h.get(t, "/healthz", headers...).header.Get("X-Request-Id"); !made.MatchString(got) {
			t.Errorf("got %[2]q for %[1]q", id, got)
		}
	}
	for _, id := range []string{"a", "A-1._b", strings.Repeat("x", 64)} {
		if got := h.get(t, "/healthz", "X-Request-Id", id).header.Get("X-Request-Id"); got != id {
			t.Errorf("got %[2]q for %[1]q", id, got)
		}
	}
}

func TestAccessLog(t *testing.T) {
	h := newHarness(t)
	h.get(t, "/healthz")
	h.post(t, "/worker", newTask)
	h.get(t, "/worker/"+identifier+"?password=hunter2", "X-Request-Id", "mine", "Cookie", "session=hunter2")
	h.get(t, "/a/b/c")
	h.do(t, http.MethodHead, "/v1/task-types", nil)
	h.store.setError(errors.New("down"))
	h.get(t, "/worker")
	h.http.Close() // the lines are written when handlers end
	want := []map[string]any{
		{"level": "DEBUG", "method": "GET", "route": "/healthz", "path": "/healthz", "status": 200.0, "principal": ""},
		{"level": "INFO", "method": "POST", "route": "/{task_type}", "path": "/worker", "status": 201.0, "principal": "anonymous"},
		{"level": "WARN", "method": "GET", "route": "/{task_type}/{identifier}", "path": "/worker/" + identifier, "status": 422.0, "request_id": "mine"},
		{"level": "WARN", "method": "GET", "route": "", "path": "/a/b/c", "status": 404.0},
		{"level": "INFO", "method": "HEAD", "route": "/v1/task-types", "status": 200.0, "bytes": 0.0},
		{"level": "ERROR", "method": "GET", "route": "/{task_type}", "status": 500.0},
	}
	lines := h.log.lines(t, "request")
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), h.log.String())
	}
	for i, fields := range want {
		for _, name := range []string{"bytes", "duration_ms", "remote", "request_id", "principal"} {
			if _, ok := lines[i][name]; !ok {
				t.Errorf("line %d has no %s", i, name)
			}
		}
		for name, value := range fields {
			if lines[i][name] != value {
				t.Errorf("line %d: %s is %v, want %v", i, name, lines[i][name], value)
			}
		}
	}
	if n, _ := lines[1]["bytes"].(float64); n < 100 {
		t.Errorf("the POST's answer is logged with %v bytes", n)
	}
	if strings.Contains(h.log.String(), "hunter2") {
		t.Error("the log holds a query or a cookie")
	}
}

// A panic is one bad answer, not the end of the server.
func TestPanic(t *testing.T) {
	h := newHarness(t)
	h.serve(t, h.server.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/late":
			_, _ = io.WriteString(w, "half")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			panic("the inside")
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/well":
		default:
			panic("the inside")
		}
	})))
	a := h.get(t, "/worker")
	a.want(t, http.StatusInternalServerError)
	if p := a.problem(t); p.Code != "internal" || strings.Contains(string(a.body), "inside") {
		t.Errorf("answered %s", a.body)
	}
	lines := h.log.lines(t, "handler panicked")
	if len(lines) != 1 || lines[0]["panic"] != "the inside" || !strings.Contains(lines[0]["stack"].(string), "TestPanic") {
		t.Errorf("logged %v", lines)
	}
	for _, path := range []string{"/late", "/abort"} {
		if status := h.raw(t, path); status != 0 {
			t.Errorf("%s: a whole answer with status %d", path, status)
		}
	}
	if status := h.raw(t, "/well"); status != http.StatusOK {
		t.Errorf("after the panics: %d", status)
	}
	h.http.Close()
	if n := len(h.log.lines(t, "handler panicked")); n != 2 {
		t.Errorf("%d panics logged, want 2: an abort is not one", n)
	}
}
