package api_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestWrongMethods(t *testing.T) {
	h := newHarness(t)
	for path, allow := range map[string]string{
		"/healthz": "GET, HEAD", "/readyz": "GET, HEAD", "/openapi.yaml": "GET, HEAD", "/metrics": "GET, HEAD",
		"/v1/task-types": "GET, HEAD", "/v1/task-types/worker": "GET, HEAD", "/v1/events": "GET, HEAD", "/v1/endpoints": "GET, HEAD", "/v1/dead-letters": "GET, HEAD",
		"/v1/endpoints/a": "DELETE", "/v1/endpoints/a/token": "POST", "/v1/endpoints/a/token/rotate": "POST", "/v1/endpoint-tokens": "GET, HEAD",
		"/v1/dead-letters/1": "DELETE, GET, HEAD", "/v1/dead-letters/1/requeue": "POST",
		"/v1/schedules": "GET, HEAD", "/v1/schedules/nightly": "DELETE, GET, HEAD, PUT", "/v1/schedules/nightly/next": "GET, HEAD", "/v1/schedules/nightly/slots": "GET, HEAD",
		"/v1/schedules/nightly/pause": "POST", "/v1/schedules/nightly/resume": "POST", "/v1/schedules/nightly/trigger": "POST", "/v1/schedules/nightly/backfill": "POST",
		"/v1/schedule-preview": "GET, HEAD", "/v1/rollouts": "GET, HEAD",
		"/worker": "GET, HEAD, POST", "/worker/a": "GET, HEAD, PATCH",
		"/worker/a/events": "GET, HEAD", "/worker/a/summary": "GET, HEAD", "/worker/a/missing": "GET, HEAD", "/worker/a/groups": "GET, HEAD", "/worker/a/rollout": "GET, HEAD", "/worker/a/results": "GET, HEAD", "/worker/a/results/console1": "GET, HEAD", "/worker/a/results/console1/log": "GET, HEAD",
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			if strings.Contains(allow, method) {
				continue
			}
			a := h.do(t, method, path, nil)
			a.want(t, http.StatusMethodNotAllowed)
			if p := a.problem(t); p.Code != "method_not_allowed" || a.header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, a.header.Get("Allow"), allow)
			}
		}
	}
}

func TestHead(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask)
	for _, to := range h.targets() {
		if to.method != http.MethodGet {
			continue
		}
		get, head := h.get(t, to.path), h.do(t, http.MethodHead, to.path, nil)
		head.want(t, get.status)
		if len(head.body) != 0 || head.header.Get("Content-Length") != get.header.Get("Content-Length") {
			t.Errorf("HEAD %s: %v, GET: %v", to.path, head.header, get.header)
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	h := newHarness(t)
	for path, text := range map[string]string{
		"/":                    "/openapi.yaml",
		"/a/b/c":               "/openapi.yaml",
		"/worker/":             `try "/worker"`,
		"/worker/a/":           `try "/worker/a"`,
		"/worker//":            `try "/worker"`,
		"/v1/endpoints/":       `try "/v1/endpoints"`,
		"/healthz/":            `try "/healthz"`,
		"//worker":             "not found",
		"/worker/../healthz":   "not found",
		"/worker/a%2Fb":        "not found",
		"/v1%2fendpoints":      "percent-encoded",
		"/v1%2Fdead-letters":   "percent-encoded",
		"/%77orker":            "percent-encoded",
		"/%68ealthz":           "percent-encoded",
		"/ui/":                 "/openapi.yaml",
		"/nosuch/":             "/openapi.yaml",
		"/v1/nosuch":           `path "/v1/nosuch" not found`,
		"/v1":                  "not found",
		"/worker/%3Cscript%3E": "not found",
	} {
		a := h.get(t, path)
		a.want(t, http.StatusNotFound)
		if p := a.problem(t); p.Code != "not_found" || !strings.Contains(p.Detail, text) {
			t.Errorf("%s: %q does not contain %q", path, p.Detail, text)
		}
	}
	h.post(t, "/v1/nosuch", newTask).want(t, http.StatusNotFound)
}
