package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
)

func withUI(c *api.Config) { c.UI = true }

// page asks for a page. The document of the API does not describe it.
func (h *harness) page(t *testing.T, method, path string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body}
}

func TestDashboard(t *testing.T) {
	h := newHarness(t, withUI)
	a := h.page(t, http.MethodGet, "/ui")
	a.want(t, http.StatusMovedPermanently)
	if a.header.Get("Location") != "ui/" {
		t.Errorf("/ui redirects to %q", a.header.Get("Location"))
	}
	h.post(t, "/worker", newTask)
	for _, path := range []string{"/ui/", "/ui/tasks", "/ui/tasks/worker/" + "e7bd91d0-16ad-11e2-892e-0800200c9a66", "/ui/types/worker"} {
		a := h.page(t, http.MethodGet, path, "X-Request-Id", "page-1")
		a.want(t, http.StatusOK)
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || a.header.Get("X-Request-Id") != "page-1" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
	levels := map[string]int{}
	for _, line := range h.log.lines(t, "request") {
		if line["request_id"] == "page-1" {
			levels[line["level"].(string)]++
			if route := line["route"].(string); (route == "/ui/") != (line["level"] == "INFO") {
				t.Errorf("route %s is logged at level %s", route, line["level"])
			}
		}
	}
	if levels["INFO"] != 4 || levels["DEBUG"] < 4 {
		t.Errorf("four pages are logged with %v", levels)
	}
	h.page(t, http.MethodPost, "/ui/types/worker/run", "Sec-Fetch-Site", "cross-site").want(t, http.StatusForbidden)
	h.page(t, http.MethodDelete, "/ui/").want(t, http.StatusMethodNotAllowed)
}

// What a form changes is logged as any other change.
func TestDashboardChangesAreLogged(t *testing.T) {
	h := newHarness(t, withUI)
	h.store.letters = []tasker.DeadLetter{{ID: 1, Body: []byte("x"), Size: 1}}
	h.page(t, http.MethodPost, "/ui/dead-letters/1/discard").want(t, http.StatusSeeOther)
	for _, line := range h.log.lines(t, "request") {
		if line["method"] == http.MethodDelete && line["level"] == "INFO" {
			return
		}
	}
	t.Errorf("the request of the form is not logged: %s", h.log)
}

func TestDashboardNeedsTheToken(t *testing.T) {
	h := newHarness(t, withUI, withToken)
	a := h.page(t, http.MethodGet, "/ui/")
	a.want(t, http.StatusSeeOther)
	if !strings.HasPrefix(a.header.Get("Location"), "./login") {
		t.Errorf("to %q", a.header.Get("Location"))
	}
	h.page(t, http.MethodGet, "/ui/events").want(t, http.StatusUnauthorized)
	h.page(t, http.MethodGet, "/ui/login").want(t, http.StatusOK)
}
