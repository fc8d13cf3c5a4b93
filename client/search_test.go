package client_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A search asks the API for all that it selects.
func TestSearchQuery(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 10, 0, 0, 500, time.FixedZone("", 3600))
	var got url.Values
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Query()
		_, _ = w.Write([]byte(`{"tasks":[{"id":7}],"next":null}`))
	})
	q := client.TaskSearch{
		Types: []string{"worker", "backup"}, Statuses: []tasker.TaskStatus{tasker.Failed}, Endpoint: "web1", Prefix: "upd-", Text: "no space",
		Labels: []tasker.LabelFilter{tasker.ParseLabelFilter("ticket=CHG 7"), tasker.ParseLabelFilter("customer")},
		Since:  at, Until: at.Add(time.Hour), CreatedSince: at.Add(2 * time.Hour), CreatedUntil: at.Add(3 * time.Hour),
	}
	for task, err := range c.Search(t.Context(), q) {
		if err != nil || task.ID != 7 {
			t.Errorf("%+v, %v", task, err)
		}
	}
	want := url.Values{
		"task_type": {"worker", "backup"}, "status": {"FAILED"}, "endpoint": {"web1"}, "identifier": {"upd-"}, "text": {"no space"},
		"label": {"ticket=CHG 7", "customer"}, "since": {"2026-11-30T10:00:00.0000005+01:00"}, "until": {"2026-11-30T11:00:00.0000005+01:00"},
		"created_since": {"2026-11-30T12:00:00.0000005+01:00"}, "created_until": {"2026-11-30T13:00:00.0000005+01:00"},
	}
	got.Del("limit")
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("asked for %v, want %v", got, want)
	}
}

// A count asks for the same, and has its own answer.
func TestCount(t *testing.T) {
	t.Parallel()
	var got url.URL
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = *r.URL
		_, _ = w.Write([]byte(`{"statuses":[{"status":"DONE","count":7,"at_least":true}],"total":7,"at_least":true}`))
	})
	counts, err := c.Count(t.Context(), client.TaskSearch{Types: []string{"worker"}, Labels: []tasker.LabelFilter{tasker.ParseLabelFilter("ticket")}})
	if err != nil || counts.Total != 7 || !counts.AtLeast || len(counts.Statuses) != 1 || counts.Statuses[0] != (tasker.StatusCount{Status: tasker.Done, Count: 7, AtLeast: true}) {
		t.Errorf("%+v, %v", counts, err)
	}
	if got.Path != "/v1/tasks/counts" || got.RawQuery != "label=ticket&task_type=worker" {
		t.Errorf("asked for %s", &got)
	}
}
