package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

// target is an operation with a path to call.
type target struct{ template, method, path string }

// targets returns every operation of the API.
func (h *harness) targets() (all []target) {
	for template, methods := range h.server.Operations() {
		path := strings.NewReplacer("{task_type}", "worker", "{identifier}", identifier, "{id}", "1", "{endpoint}", "console1", "{schedule}", "nightly").Replace(template)
		for _, method := range methods {
			all = append(all, target{template, method, path})
		}
	}
	return all
}

func (h *harness) call(t *testing.T, to target, headers ...string) answer {
	t.Helper()
	var body []byte
	switch to.method {
	case http.MethodPost:
		body = []byte(newTask)
		for _, verb := range []string{"/cancel", "/pause", "/drain", "/resume", "/approve"} {
			if !strings.HasSuffix(to.path, verb) {
				continue
			}
			body = []byte(`{"reason":"wrong file"}`)
		}
		if strings.HasSuffix(to.path, "/backfill") {
			body = []byte(`{"from":"2015-05-05T00:00:00Z","to":"2015-05-06T00:00:00Z"}`)
		}
		if strings.HasSuffix(to.path, "/retry") {
			body = []byte(`{"endpoints":"failed"}`)
		}
	case http.MethodPut:
		body = []byte(newSchedule)
	case http.MethodPatch:
		body = []byte(`{"in":1}`)
	}
	if body != nil {
		headers = append(headers, "Content-Type", "application/json")
	}
	return h.do(t, to.method, to.path, body, headers...)
}

// Internal errors reveal nothing to the client; the log has them.
func TestFaults(t *testing.T) {
	usesStore := func(to target) bool {
		return strings.Contains(to.template, "{") || to.template == "/v1/endpoints" || to.template == "/v1/task-types" || to.template == "/v1/endpoint-tokens" || to.template == "/v1/events" || to.template == "/v1/dead-letters" || to.template == "/v1/schedules" || to.template == "/v1/rollouts"
	}
	for name, tc := range map[string]struct {
		err    error
		status int
		code   string
		detail string // all of it
	}{
		"unknown error": {
			errors.New("the inside"), 500, "internal",
			"internal error: see the log of the API for this request id",
		},
		"internal": {
			tasker.WrapError(tasker.Internal, errors.New("the inside"), "the inside, too"), 500, "internal",
			"internal error: see the log of the API for this request id",
		},
		"unknown code": {
			tasker.Errorf("new", "the inside"), 500, "internal",
			"internal error: see the log of the API for this request id",
		},
		"unavailable": {
			fmt.Errorf("store: %w", tasker.WrapError(tasker.Unavailable, errors.New("the inside"), "the database cannot be reached")), 503, "unavailable",
			"the database cannot be reached",
		},
		"too slow": {
			fmt.Errorf("the inside: %w", context.DeadlineExceeded), 503, "unavailable",
			"request timed out: retry later",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.store.setError(tc.err)
			for _, to := range h.targets() {
				if !usesStore(to) {
					continue
				}
				a := h.call(t, to)
				a.want(t, tc.status)
				p := a.problem(t)
				if p.Code != tc.code || p.Detail != tc.detail {
					t.Errorf("%s %s: %s", to.method, to.path, a.body)
				}
				if (a.header.Get("Retry-After") != "") != (tc.status == http.StatusServiceUnavailable) {
					t.Errorf("%s %s: Retry-After %q with %d", to.method, to.path, a.header.Get("Retry-After"), a.status)
				}
				if log := h.log.String(); !strings.Contains(log, "the inside") || !strings.Contains(log, p.RequestID) {
					t.Errorf("%s %s: not in the log under %s:\n%s", to.method, to.path, p.RequestID, log)
				}
			}
			if n := h.store.called("Aggregate"); n != 0 {
				t.Errorf("%d aggregations", n)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	h := newHarness(t, withToken)
	h.store.setError(errors.New("down"))
	h.broker.err = errors.New("down")
	for _, path := range []string{"/healthz", "/healthz?probe=1"} {
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		if string(a.body) != `{"status":"alive","version":"1.2.3"}`+"\n" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

func TestReady(t *testing.T) {
	down := errors.New("dial amqp://tasker:passw0rd@10.0.0.1: refused")
	coded := tasker.WrapError(tasker.Unavailable, down, "the database cannot be reached: is it started?")
	for name, tc := range map[string]struct {
		database, broker error
		status           int
		body             string
	}{
		"ready":       {nil, nil, 200, `{"status":"ready","checks":{"database":{"ok":true},"broker":{"ok":true}}}`},
		"no broker":   {nil, down, 503, `{"status":"not ready","checks":{"database":{"ok":true},"broker":{"ok":false,"error":"message broker not connected"}}}`},
		"no database": {down, nil, 503, `{"status":"not ready","checks":{"database":{"ok":false,"error":"database cannot be reached"},"broker":{"ok":true}}}`},
		"neither":     {coded, down, 503, `{"status":"not ready","checks":{"database":{"ok":false,"error":"the database cannot be reached: is it started?"},"broker":{"ok":false,"error":"message broker not connected"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.store.setError(tc.database)
			h.broker.err = tc.broker
			a := h.get(t, "/readyz")
			a.want(t, tc.status)
			if string(a.body) != tc.body+"\n" {
				t.Errorf("got %s", a.body)
			}
			if (a.header.Get("Retry-After") != "") != (tc.status == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
			}
		})
	}
}
