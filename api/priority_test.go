package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/client"
)

// A task has a priority by its own word or that of its type, and is shown with it.
func TestCreateTaskPriority(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.TaskTypes[1].Priority = 4 })
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"/worker", `{}`, 0},
		{"/worker", `{"priority":null}`, 0},
		{"/worker", `{"priority":0}`, 0},
		{"/worker", `{"priority":9}`, 9},
		{"/worker", `{"priority":9,"in":"1h"}`, 9},
		{"/backup", `{}`, 4},
		{"/backup", `{"priority":0}`, 0},
		{"/backup", `{"priority":5}`, 5},
	} {
		a := h.post(t, test.path, test.body)
		a.want(t, http.StatusCreated)
		task := decode[tasker.Task](t, a.body)
		found := h.get(t, test.path+"/"+task.Identifier)
		found.want(t, http.StatusOK)
		if got := decode[client.TaskAnswer](t, found.body).Task.Priority; task.Priority != test.want || got != test.want {
			t.Errorf("%s %s has priority %d, then %d, want %d", test.path, test.body, task.Priority, got, test.want)
		}
	}
	if info := h.get(t, "/v1/task-types/backup"); !strings.Contains(string(info.body), `"priority":4`) {
		t.Errorf("the type: %s", info.body)
	}
	for _, priority := range []string{"-1", "10", "1.5", `"9"`, `"high"`, "{}", "true", "1e99"} {
		a := h.post(t, "/worker", `{"identifier":"invalid","priority":`+priority+`}`)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); p.Detail != "invalid priority: must be a whole number 0-9, and 9 comes first" ||
			!slices.Equal(p.fields(), []string{"/priority"}) {
			t.Errorf("%s: %q of %q", priority, p.Detail, p.fields())
		}
	}
	h.get(t, "/worker/invalid").want(t, http.StatusNotFound)
	const body = `{"identifier":"a","priority":3}`
	h.post(t, "/worker", body).want(t, http.StatusCreated)
	h.post(t, "/worker", body).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"a","priority":4}`).want(t, http.StatusConflict)
	h.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusConflict)
}
