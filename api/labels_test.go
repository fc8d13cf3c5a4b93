package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A task has the labels of its POST, wherever it is shown.
func TestCreateTaskLabels(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]map[string]string{
		`{}`:              nil,
		`{"labels":null}`: nil,
		`{"labels":{}}`:   nil,
		`{"labels":{"ticket":"CHG-7","a/b.c_d-e":" <é>, = ","none":""}}`:                    {"ticket": "CHG-7", "a/b.c_d-e": " <é>, = ", "none": ""},
		`{"labels":{"name":"an attribute of endpoints"},"in":"1h"}`:                         {"name": "an attribute of endpoints"},
		`{"labels":` + manyLabels(16, 1) + `}`:                                              labelsOf(16, 1),
		`{"labels":{"` + strings.Repeat("k", 63) + `":"` + strings.Repeat("v", 255) + `"}}`: {strings.Repeat("k", 63): strings.Repeat("v", 255)},
	} {
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusCreated)
		task := decode[tasker.Task](t, a.body)
		found := decode[client.TaskAnswer](t, h.get(t, "/worker/"+task.Identifier).body).Task
		page := decode[client.TaskPage[client.TaskView]](t, h.get(t, "/v1/tasks?limit=1").body)
		if !maps.Equal(task.Labels, want) || !maps.Equal(found.Labels, want) || !maps.Equal(page.Tasks[0].Labels, want) {
			t.Errorf("%s: %v, then %v and %v", body, task.Labels, found.Labels, page.Tasks[0].Labels)
		}
	}
	for labels, field := range map[string]string{
		`"a=b"`: "/labels", `[]`: "/labels", `{"a":"1","a":"2"}`: "/labels/a",
		manyLabels(17, 1): "/labels", manyLabels(16, 200): "/labels",
		`{"a b":"1"}`: "/labels/a b", `{"":"1"}`: "/labels/", `{"-a":"1"}`: "/labels/-a", `{"é":"1"}`: "/labels/é",
		`{"` + strings.Repeat("k", 64) + `":"1"}`: "/labels/" + strings.Repeat("k", 64),
		`{"a":1}`: "/labels/a", `{"a":null}`: "/labels/a", `{"a/b":{}}`: "/labels/a~1b", `{"a":"\n"}`: "/labels/a",
		`{"a":"` + strings.Repeat("v", 256) + `"}`: "/labels/a",
	} {
		a := h.post(t, "/worker", `{"identifier":"invalid","labels":`+labels+`}`)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); !slices.Equal(p.fields(), []string{field}) || !strings.Contains(p.Detail, "label") {
			t.Errorf("%s: %q of %q", labels, p.Detail, p.fields())
		}
	}
	h.get(t, "/worker/invalid").want(t, http.StatusNotFound)
	h.post(t, "/worker", `{"identifier":"a","labels":{"x":"1","y":"2"}}`).want(t, http.StatusCreated)
	h.post(t, "/worker", `{"identifier":"a","labels":{"y":"2","x":"1"}}`).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"a","labels":{"x":"1"}}`).want(t, http.StatusConflict)
	h.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusConflict)
	task, err := h.server.ScheduledTask(t.Context(), []byte(`{"type":"worker","labels":{"ticket":"CHG-7"}}`))
	if err != nil || task.Labels["ticket"] != "CHG-7" {
		t.Errorf("a schedule's: %v, %v", task.Labels, err)
	}
}

func labelsOf(n, size int) map[string]string {
	labels := map[string]string{}
	for i := range n {
		labels[fmt.Sprint("k", i)] = strings.Repeat("v", size)
	}
	return labels
}

func manyLabels(n, size int) string {
	var list []string
	for key, value := range labelsOf(n, size) {
		list = append(list, fmt.Sprintf("%q:%q", key, value))
	}
	return "{" + strings.Join(list, ",") + "}"
}

func TestSearchByLabel(t *testing.T) {
	h := newHarness(t)
	h.get(t, "/v1/tasks?label=ticket=CHG-7&label=customer&label=note=a%3Db&label=empty=").want(t, http.StatusOK)
	want := []tasker.LabelFilter{
		{Key: "ticket", Value: new("CHG-7")}, {Key: "customer"}, {Key: "note", Value: new("a=b")}, {Key: "empty", Value: new("")},
	}
	if diff := cmp.Diff(want, h.store.searched.Labels); diff != "" {
		t.Error(diff)
	}
	for _, query := range []string{
		"label=", "label==x", "label=a%20b=1", "label=a=%0A", "label=a=" + strings.Repeat("v", 256), strings.Repeat("label=a&", 16) + "label=b",
	} {
		a := h.get(t, "/v1/tasks?"+query)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); !slices.Equal(p.fields(), []string{"?label"}) {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}
