package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/api"
)

const tokenHeader = "Bearer s3cret-token"

// Every route except /healthz requires the token, and so do unknown paths.
func TestEveryRouteAsksForTheToken(t *testing.T) {
	h := newHarness(t, withToken)
	targets := append(h.targets(),
		target{"", http.MethodGet, "/"}, target{"", http.MethodGet, "/a/b/c"}, target{"", http.MethodGet, "/v1/nosuch"},
		target{"", http.MethodDelete, "/worker"}, target{"", http.MethodOptions, "/worker"}, target{"", http.MethodGet, "/healthz/"},
		target{"", http.MethodGet, "//healthz"}, target{"", http.MethodGet, "/worker/../healthz"})
	for _, to := range targets {
		for _, header := range []string{
			"", "s3cret-token", "Bearer", "Bearer ", "Bearer s3cret-toke", "Bearer s3cret-token2", "Basic s3cret-token", "Bearer S3CRET-TOKEN",
		} {
			var headers []string
			if header != "" {
				headers = []string{"Authorization", header}
			}
			a := h.call(t, to, headers...)
			if to.template == "/healthz" {
				a.want(t, http.StatusOK)
				continue
			}
			a.want(t, http.StatusUnauthorized)
			if p := a.problem(t); p.Code != "unauthorized" || a.header.Get("WWW-Authenticate") != `Bearer realm="tasker"` {
				t.Errorf("%s %s with %q: %v %s", to.method, to.path, header, a.header, a.body)
			}
		}
		a := h.call(t, to, "Authorization", tokenHeader, "Authorization", tokenHeader)
		if to.template != "/healthz" {
			a.want(t, http.StatusUnauthorized)
		}
	}
	if n := len(h.store.calls); n != 0 {
		t.Errorf("the store was called: %q", h.store.calls)
	}
	if log := h.log.String(); strings.Contains(strings.ToLower(log), "s3cret") {
		t.Error("the log holds a token")
	}
}

func TestTheTokenLetsIn(t *testing.T) {
	h := newHarness(t, withToken)
	for _, header := range []string{tokenHeader, "bearer s3cret-token", "Bearer  s3cret-token"} {
		for _, to := range h.targets() {
			if a := h.call(t, to, "Authorization", header, "Host", "tasker.example"); a.status == http.StatusUnauthorized || a.status == http.StatusMisdirectedRequest {
				t.Errorf("%s %s with %q: %d", to.method, to.path, header, a.status)
			}
		}
	}
	h.http.Close()
	for _, line := range h.log.lines(t, "request") {
		if line["route"] != "/healthz" && line["principal"] != "token" {
			t.Errorf("principal %q of %v", line["principal"], line["path"])
		}
	}
	if strings.Contains(h.log.String(), "s3cret") {
		t.Error("the log holds the token")
	}
}

// A web page cannot reach an open API under its own name.
func TestForeignHosts(t *testing.T) {
	h := newHarness(t)
	for _, host := range []string{"evil.example", "evil.example:8888", "localhost.evil.example", "192.168.1.2:8888", "127.0.0.1.evil.example", "0.0.0.0:8888", "[::]:8888"} {
		for _, to := range h.targets() {
			a := h.call(t, to, "Host", host)
			if to.template == "/healthz" {
				a.want(t, http.StatusOK)
				continue
			}
			a.want(t, http.StatusMisdirectedRequest)
			if p := a.problem(t); p.Code != "misdirected_request" {
				t.Errorf("code %q", p.Code)
			}
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8888", "127.0.0.1", "127.0.0.1:1", "127.1.2.3:8888", "[::1]", "[::1]:8888"} {
		h.get(t, "/v1/task-types", "Host", host).want(t, http.StatusOK)
	}
	open := newHarness(t, func(c *api.Config) { c.Insecure = true })
	open.get(t, "/v1/task-types", "Host", "tasker.example").want(t, http.StatusOK)
}

// A page's cross-site POST cannot carry JSON without a preflight, which fails.
func TestNoPreflight(t *testing.T) {
	h := newHarness(t)
	a := h.do(t, http.MethodOptions, "/worker", nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	a.want(t, http.StatusMethodNotAllowed)
	for name := range a.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("header %s", name)
		}
	}
}

func TestPrincipal(t *testing.T) {
	h := newHarness(t, withToken)
	got := make(chan api.Principal, 1)
	h.serve(t, h.server.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p, ok := api.PrincipalOf(r.Context())
		if !ok {
			t.Error("no principal in the context")
		}
		got <- p
	})))
	resp := h.raw(t, "/worker", "Authorization", tokenHeader)
	if p := <-got; p.Name != "token" || resp != http.StatusOK {
		t.Errorf("principal %+v, status %d", p, resp)
	}
}

// A web page of another origin changes nothing, whatever its browser sends
// without asking first.
func TestForeignOrigins(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		for _, to := range h.targets() {
			a := h.call(t, to, header...)
			if unsafe := to.method != http.MethodGet; unsafe != (a.status == http.StatusMisdirectedRequest) {
				t.Errorf("%s %s with %v: %d", to.method, to.path, header, a.status)
			}
		}
	}
	for call, want := range map[string]int{"CreateTask": 1, "Remove": 0, "Requeue": 0, "DeleteDeadLetter": 0} {
		if n := h.store.called(call); n != want {
			t.Errorf("%s was called %d times, want %d", call, n, want)
		}
	}
	h.do(t, http.MethodPost, "/worker", []byte(newTask), "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin").want(t, http.StatusOK)
}
