package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
)

func TestListTasks(t *testing.T) {
	h := newHarness(t)
	type page struct {
		Tasks []task
		Next  *string
	}
	if a := h.get(t, "/worker"); string(a.body) != `{"tasks":[],"next":null}`+"\n" {
		t.Errorf("an empty list is %s", a.body)
	}
	for i := range 60 {
		h.post(t, "/worker", fmt.Sprintf(`{"identifier":"t%d"}`, i)).want(t, http.StatusCreated)
	}
	h.store.update("t57", func(t *tasker.Task) { t.Status = tasker.Failed })
	h.store.update("t3", func(t *tasker.Task) { t.Status = tasker.Failed })

	if got := decode[page](t, h.get(t, "/worker").body); len(got.Tasks) != 50 || got.Next == nil {
		t.Errorf("the default page has %d tasks, next %v", len(got.Tasks), got.Next)
	}
	var ids []int64
	path, pages := "/worker?limit=25", 0
	for path != "" {
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		got := decode[page](t, a.body)
		for _, task := range got.Tasks {
			ids = append(ids, task.ID)
		}
		link, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), `>; rel="next"`)
		if (got.Next == nil) != (link == "") || got.Next != nil && !strings.HasSuffix(link, "?cursor="+*got.Next+"&limit=25") {
			t.Fatalf("next %v, Link %q", got.Next, link)
		}
		path = link
		if pages++; pages > 3 {
			t.Fatal("the pages do not end")
		}
	}
	if len(ids) != 60 || ids[0] != 60 || ids[59] != 1 || !slices.IsSortedFunc(ids, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("the pages hold %v", ids)
	}
	got := decode[page](t, h.get(t, "/worker?status=FAILED&limit=1").body)
	if len(got.Tasks) != 1 || got.Tasks[0].ID != 58 || got.Next == nil {
		t.Errorf("filtered: %+v", got)
	}
	got = decode[page](t, h.get(t, "/worker?status=FAILED&limit=1&cursor="+*got.Next).body)
	if len(got.Tasks) != 1 || got.Tasks[0].ID != 4 || got.Next != nil {
		t.Errorf("filtered, second page: %+v", got)
	}
	if got := decode[page](t, h.get(t, "/backup").body); len(got.Tasks) != 0 {
		t.Errorf("another type has %d tasks", len(got.Tasks))
	}
}

func TestBadQueries(t *testing.T) {
	h := newHarness(t)
	for path, fields := range map[string][]string{
		"/worker?status=done":                     {"?status"},
		"/worker?status=":                         {"?status"},
		"/worker?limit=0":                         {"?limit"},
		"/worker?limit=201":                       {"?limit"},
		"/worker?limit=ten":                       {"?limit"},
		"/worker?cursor=":                         {"?cursor"},
		"/worker?cursor=-1":                       {"?cursor"},
		"/worker?cursor=99999999999999999999":     {"?cursor"},
		"/worker?status=x&limit=x&cursor=x":       {"?limit", "?cursor", "?status"},
		"/worker?limit=1&limit=2":                 {"?limit"},
		"/worker?state=DONE&Limit=1":              {"?Limit", "?state"},
		"/worker/a?verbose":                       {"?verbose"},
		"/worker/a/summary?limit=1":               {"?limit"},
		"/worker/a/groups?limit=1&state=DONE":     {"?limit", "?state"},
		"/worker/a/rollout?limit=1":               {"?limit"},
		"/v1/rollouts?state=x&limit=0&cursor=-1":  {"?state", "?cursor", "?limit"},
		"/worker/a/missing?limit=0&cursor=-a":     {"?limit", "?cursor"},
		"/worker/a/results?state=done&cursor=":    {"?cursor", "?state"},
		"/v1/task-types?limit=1":                  {"?limit"},
		"/v1/endpoints?task_type=a.b&cursor=a%2F": {"?task_type", "?cursor"},
		"/v1/endpoints?limit=-1":                  {"?limit"},
		"/v1/endpoints?alive=true":                {"?alive"},

		"/v1/task-types/worker?limit=1":                        {"?limit"},
		"/v1/events?status=open&task_type=nosuch":              {"?task_type", "?status"},
		"/v1/events?last_event_id=7":                           {"?last_event_id"},
		"/v1/events?last_event_id=-1-1":                        {"?last_event_id"},
		"/worker/a/events?last_event_id=x":                     {"?last_event_id"},
		"/worker/a/events?follow=":                             {"?follow"},
		"/worker/a/results/b?attempt=1":                        {"?attempt"},
		"/worker/a/results/b/log?offset=-1&limit=0&attempt=0":  {"?offset", "?limit", "?attempt"},
		"/worker/a/results/b/log?limit=10001&offset=x":         {"?offset", "?limit"},
		"/worker/a/results/b/log?attempt=99999999999999999999": {"?attempt"},
	} {
		a := h.get(t, path)
		a.want(t, http.StatusUnprocessableEntity)
		if got := a.problem(t).fields(); !slices.Equal(got, fields) {
			t.Errorf("%s: fields %q, want %q", path, got, fields)
		}
	}
	for _, path := range []string{
		"/worker?a=%", "/worker/a?a;b", "/v1/task-types?%", "/v1/task-types/worker?%", "/v1/endpoints?%", "/v1/rollouts?%",
		"/v1/events?%", "/worker/a/events?%", "/worker/a/results/b?%", "/worker/a/results/b/log?%",
	} {
		h.get(t, path).want(t, http.StatusBadRequest)
	}
}

func TestListEndpoints(t *testing.T) {
	h := newHarness(t)
	type page struct {
		Endpoints []tasker.Endpoint
		Next      *string
	}
	if a := h.get(t, "/v1/endpoints"); string(a.body) != `{"endpoints":[],"next":null}`+"\n" {
		t.Errorf("an empty list is %s", a.body)
	}
	for _, name := range []string{"c", "a.example.com", "b"} {
		h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{Name: name, TaskTypes: []string{"worker"}, Alive: name == "b"})
	}
	h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{Name: "idle"})
	var names []string
	path := "/v1/endpoints?limit=1&task_type=worker"
	for path != "" {
		a := h.get(t, path)
		a.want(t, http.StatusOK)
		for _, e := range decode[page](t, a.body).Endpoints {
			names = append(names, e.Name)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	if !slices.Equal(names, []string{"a.example.com", "b", "c"}) {
		t.Errorf("the pages hold %q", names)
	}
	if got := decode[page](t, h.get(t, "/v1/endpoints").body); len(got.Endpoints) != 4 || got.Next != nil {
		t.Errorf("all: %+v", got)
	}
}
