package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// addFleet stores the endpoints web1, web2 (silent for an hour), db1 and bare,
// which has no labels, for the type worker; and backup1 for backup.
func (h *harness) addFleet() {
	add := func(name, taskType string, silent time.Duration, labels map[string]string) {
		h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{
			Name: name, TaskTypes: []string{taskType}, Labels: labels, Host: "h", LastSeen: h.store.now.Add(-silent), Alive: silent < time.Minute,
		})
	}
	add("web1", "worker", 0, map[string]string{"role": "web", "zone": "eu"})
	add("web2", "worker", time.Hour, map[string]string{"role": "web", "zone": "us"})
	add("db1", "worker", 0, map[string]string{"role": "db"})
	add("bare", "worker", 0, nil)
	add("backup1", "backup", 0, map[string]string{"role": "web"})
}

// listed returns the names in all pages of endpoints that selectors choose.
func (h *harness) listed(t *testing.T, query url.Values) (names []string) {
	t.Helper()
	path := "/v1/endpoints?" + query.Encode()
	for path != "" {
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		for _, e := range decode[client.EndpointPage](t, a.body).Endpoints {
			if e.Host == "" {
				t.Errorf("%s is not complete", e.Name)
			}
			names = append(names, e.Name)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	return names
}

func TestSelectEndpoints(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	for _, test := range []struct {
		selectors []string
		want      string
	}{
		{[]string{"role=web"}, "backup1 web1 web2"},
		{[]string{"role=web,type=worker"}, "web1 web2"},
		{[]string{"role!=web"}, "bare db1"},
		{[]string{"seen>30m", "name=bare"}, "bare web2"},
		{[]string{"role=none"}, ""},
		{[]string{"drained"}, ""},
		{[]string{"!drained"}, "backup1 bare db1 web1 web2"},
	} {
		for _, limit := range []string{"1", "2", "200"} {
			if got := strings.Join(h.listed(t, url.Values{"select": test.selectors, "limit": {limit}}), " "); got != test.want {
				t.Errorf("%q in pages of %s chooses %q, want %q", test.selectors, limit, got, test.want)
			}
		}
	}
	if got := h.listed(t, url.Values{"select": {"role=web"}, "task_type": {"backup"}}); !slices.Equal(got, []string{"backup1"}) {
		t.Errorf("of one type: %q", got)
	}
	if a := h.get(t, "/v1/endpoints?select=role%3Dnone"); string(a.body) != `{"endpoints":[],"next":null}`+"\n" {
		t.Errorf("none is %s", a.body)
	}
}

// A page may need many reads of the fleet.
func TestSelectEndpointsOfLargeFleet(t *testing.T) {
	h := newHarness(t)
	var want []string
	for i := range 2500 {
		e := tasker.Endpoint{Name: fmt.Sprintf("e%04d", i), Host: "h", Labels: map[string]string{"group": fmt.Sprint(i % 700)}}
		h.store.endpoints = append(h.store.endpoints, e)
		if i%700 == 3 {
			want = append(want, e.Name)
		}
	}
	for _, limit := range []string{"1", "3", "4", "50"} {
		if got := h.listed(t, url.Values{"select": {"group=3"}, "limit": {limit}}); !slices.Equal(got, want) {
			t.Errorf("pages of %s: %q, want %q", limit, got, want)
		}
	}
}

func TestSelectEndpointsInvalid(t *testing.T) {
	h := newHarness(t)
	for query, want := range map[string]string{
		"select=":                              "selector is empty or matches every endpoint: to list all, omit it",
		"select=*":                             "selector is empty or matches every endpoint: to list all, omit it",
		"select=role%3Dweb&select=name~*":      "selector is empty or matches every endpoint: to list all, omit it",
		"select=role%3Dweb&select=role==":      `invalid selector 2: column 5: expected an operator (= != ~ !~ in notin) or "," after "role", got "==": write =`,
		"select=role%3D":                       `invalid selector 1: column 6: expected a value after "=", got the end`,
		strings.Repeat("&select=role", 17)[1:]: "invalid number of selectors 17: must be 1-16",
	} {
		a := h.get(t, "/v1/endpoints?"+query)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); p.Detail != want || !slices.Equal(p.fields(), []string{"?select"}) {
			t.Errorf("%s: %q of %q, want %q", query, p.Detail, p.fields(), want)
		}
	}
	h.get(t, "/v1/endpoints?limit=1&limit=2").want(t, http.StatusUnprocessableEntity)
}
