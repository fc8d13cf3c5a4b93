package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A task has a topic, and says what happens to older ones of it.
func TestCreateTaskTopic(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]tasker.OnConflict{
		`{}`:                                "",
		`{"topic":null,"on_conflict":null}`: "",
		`{"topic":"nightly-patch"}`:         tasker.ConflictRefuse,
		`{"topic":"a.B_2","on_conflict":"refuse"}`:          tasker.ConflictRefuse,
		`{"topic":"nightly","on_conflict":"supersede"}`:     tasker.ConflictSupersede,
		`{"on_conflict":"supersede","topic":"x","in":"1h"}`: tasker.ConflictSupersede,
	} {
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusCreated)
		task := decode[tasker.Task](t, a.body)
		found := h.get(t, "/worker/"+task.Identifier)
		found.want(t, http.StatusOK)
		got := decode[client.TaskAnswer](t, found.body).Task
		if task.OnConflict != want || got.OnConflict != want || (task.Topic != "") != strings.Contains(body, `"topic":"`+task.Topic+`"`) {
			t.Errorf("%s: topic %q, on conflict %q, then %q, want %q", body, task.Topic, task.OnConflict, got.OnConflict, want)
		}
	}
	for body, want := range map[string][2]string{
		`{"topic":""}`:                        {"/topic", "invalid topic"},
		`{"topic":"-a"}`:                      {"/topic", "1 to 64 letters, digits"},
		`{"topic":7}`:                         {"/topic", "must be a string, not a number"},
		`{"topic":"a","on_conflict":"allow"}`: {"/on_conflict", "must be one of refuse, supersede"},
		`{"topic":"a","on_conflict":true}`:    {"/on_conflict", "must be one of refuse, supersede"},
		`{"on_conflict":"supersede"}`:         {"/on_conflict", "on_conflict without topic"},
	} {
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); !strings.Contains(p.Detail, want[1]) || !slices.Equal(p.fields(), []string{want[0]}) {
			t.Errorf("%s: %q of %q", body, p.Detail, p.fields())
		}
	}
	const body = `{"identifier":"a","topic":"nightly"}`
	h.post(t, "/worker", body).want(t, http.StatusCreated)
	h.post(t, "/worker", body).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"a","topic":"nightly","on_conflict":"refuse"}`).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"a","topic":"nightly","on_conflict":"supersede"}`).want(t, http.StatusConflict)
	h.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusConflict)
	// A dry run answers what the POST would.
	for body, want := range map[string]int{
		body:                                   http.StatusOK, // it exists
		`{"identifier":"b","topic":"nightly"}`: http.StatusConflict,
		`{"identifier":"b","topic":"nightly","on_conflict":"supersede"}`: http.StatusOK,
		`{"identifier":"b","topic":"nightly","in":"1h"}`:                 http.StatusOK, // it has time to end
		`{"identifier":"b","topic":"weekly"}`:                            http.StatusOK,
	} {
		a := h.post(t, "/worker?dry_run=true", body)
		a.want(t, want)
		if want == http.StatusConflict && !strings.Contains(a.problem(t).Detail, "has not ended") {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	if p := h.get(t, "/v1/tasks?topic=-").problem(t); !slices.Equal(p.fields(), []string{"?topic"}) {
		t.Errorf("%q of %q", p.Detail, p.fields())
	}
}
