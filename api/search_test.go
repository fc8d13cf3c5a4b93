package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
)

func TestSearch(t *testing.T) {
	h := newHarness(t)
	for _, identifier := range []string{"a", "b", "c"} {
		h.postTask(t, "worker", identifier)
		h.postTask(t, "backup", identifier)
	}
	type page struct {
		Tasks []tasker.Task
		Next  *string
	}
	a := h.get(t, "/v1/tasks?task_type=worker&task_type=backup&status=SENT&status=DONE&limit=4")
	a.want(t, http.StatusOK)
	first := decode[page](t, a.body)
	if len(first.Tasks) != 4 || first.Tasks[0].Type != "backup" || first.Next == nil || !strings.Contains(a.header.Get("Link"), "status=DONE") {
		t.Fatalf("%v %s", a.header, a.body)
	}
	if last := decode[page](t, h.get(t, "/v1/tasks?limit=4&cursor="+*first.Next).body); len(last.Tasks) != 2 || last.Next != nil {
		t.Errorf("%+v", last)
	}

	now := h.store.now
	for query, want := range map[string]tasker.TaskSearch{
		"":                                   {Types: []string{"backup", "worker"}},
		"?task_type=worker&task_type=worker": {Types: []string{"worker"}},
		"?created_by=alice@example.com":      {Types: []string{"backup", "worker"}, CreatedBy: "alice@example.com"},
		"?endpoint=web1&topic=upd&identifier=upd-&text=no%20space&cursor=7&since=2h": {
			Types: []string{"backup", "worker"}, Endpoint: "web1", Topic: "upd", Prefix: "upd-", Text: "no space", Before: 7, Since: now.Add(-2 * time.Hour),
		},
		"?since=2h&until=1h&created_since=2015-05-06T01:00:00Z&created_until=2015-05-06T01:30:00Z": {
			Types: []string{"backup", "worker"}, Since: now.Add(-2 * time.Hour), Until: now.Add(-time.Hour),
			CreatedSince: time.Date(2015, 5, 6, 1, 0, 0, 0, time.UTC), CreatedUntil: time.Date(2015, 5, 6, 1, 30, 0, 0, time.UTC),
		},
		"?since=2015-05-06T01:00:00Z": {Types: []string{"backup", "worker"}, Since: time.Date(2015, 5, 6, 1, 0, 0, 0, time.UTC)},
	} {
		h.get(t, "/v1/tasks"+query).want(t, http.StatusOK)
		want.Limit, want.MaxBytes = 50, 4<<20
		if diff := cmp.Diff(want, h.store.searched); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	for _, query := range []string{
		"task_type=none", "created_by=", "created_by=a%20b", "created_by=" + strings.Repeat("a", 65), "status=LATE", "endpoint=a/b", "endpoint=", "identifier=-x", "since=yesterday", "since=-2h", "text=", "text=" + strings.Repeat("x", 257),
		"text=%ff", "cursor=x", "until=tomorrow", "until=", "created_since=-1s", "created_until=2015-05-06", "until=2h&since=1h",
		"until=2015-05-06T01:00:00Z&since=2015-05-06T01:00:00Z", "created_until=1h&created_since=1m",
		"until=0001-01-01T00:00:00Z", "created_until=9999-12-31T23:30:00-01:00",
	} {
		a := h.get(t, "/v1/tasks?"+query)
		a.want(t, http.StatusUnprocessableEntity)
		name, _, _ := strings.Cut(query, "=")
		if p := a.problem(t); len(p.Errors) != 1 || p.Errors[0].Field != "?"+name {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	h.get(t, "/v1/tasks?%").want(t, http.StatusBadRequest)
	h.store.setError(tasker.Errorf(tasker.Unavailable, "the database is away"))
	h.get(t, "/v1/tasks").want(t, http.StatusServiceUnavailable)
	h.store.setError(errors.New("a bug"))
	h.get(t, "/v1/tasks").want(t, http.StatusInternalServerError)
}

func TestCounts(t *testing.T) {
	h := newHarness(t)
	h.postTask(t, "worker", "a")
	a := h.get(t, "/v1/tasks/counts?status=SENT&status=DONE&label=ticket=CHG-7&since=2h&endpoint=web1")
	a.want(t, http.StatusOK)
	if got := decode[tasker.TaskCounts](t, a.body); got.Total != 1 || !got.AtLeast || len(got.Statuses) != 1 || got.Statuses[0].Count != 1 {
		t.Errorf("%s", a.body)
	}
	want := tasker.TaskSearch{
		Types: []string{"backup", "worker"}, Statuses: []tasker.TaskStatus{tasker.Sent, tasker.Done}, Endpoint: "web1",
		Labels: []tasker.LabelFilter{{Key: "ticket", Value: new("CHG-7")}}, Since: h.store.now.Add(-2 * time.Hour),
	}
	if diff := cmp.Diff(want, h.store.searched); diff != "" {
		t.Error(diff)
	}
	for query, field := range map[string]string{"since=x": "?since", "label=": "?label", "limit=1": "?limit", "cursor=1": "?cursor", "status=LATE": "?status"} {
		a := h.get(t, "/v1/tasks/counts?"+query)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	h.get(t, "/v1/tasks/counts?%").want(t, http.StatusBadRequest)
	h.store.setError(tasker.Errorf(tasker.Unavailable, "the database is away"))
	h.get(t, "/v1/tasks/counts").want(t, http.StatusServiceUnavailable)
	h.store.setError(errors.New("a bug"))
	h.get(t, "/v1/tasks/counts").want(t, http.StatusInternalServerError)
}
