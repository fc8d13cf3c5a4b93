package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// A pause and a drain answer what runs and waits; what is held says so wherever it is
// shown, until it is resumed.
func TestHolds(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	task := "/worker/" + identifier
	for path, want := range map[string]tasker.HoldSubject{
		task + "/pause":                      {TaskType: "worker", Identifier: identifier},
		"/v1/task-types/worker/pause":        {TaskType: "worker"},
		"/v1/endpoints/console1/drain":       {Endpoint: "console1"},
		"/v1/endpoints/not-registered/drain": {Endpoint: "not-registered"},
	} {
		resume := path[:strings.LastIndexByte(path, '/')] + "/resume"
		a := h.do(t, http.MethodPost, resume, nil)
		a.want(t, http.StatusOK)
		if decode[client.Resumed](t, a.body).Changed {
			t.Errorf("%s: changed what was not held", resume)
		}
		for _, body := range []string{"", "{}", `{"reason":"new disk","until":"2h"}`, `{"reason":"","until":null}`} {
			a := h.do(t, http.MethodPost, path, []byte(body), "Content-Type", "application/json")
			a.want(t, http.StatusOK)
			if want.Endpoint != "" {
				got := decode[client.Drained](t, a.body)
				if got.Running.Count != 2 || got.Running.Tasks[0] != "worker/one" || got.Held != 3 || !got.Unaware || got.Hold.By != "anonymous" {
					t.Errorf("%s: %+v", path, got)
				}
				continue
			}
			got := decode[client.Paused](t, a.body)
			if got.Running.Count != 1 || got.Running.Endpoints[0] != "console1" || got.Held != 3 || got.Unaware.Endpoints[0] != "console2" {
				t.Errorf("%s: %+v", path, got)
			}
		}
		last := h.store.held[len(h.store.held)-2]
		if last.HoldSubject != want || last.Reason != "new disk" || last.Until.After != 2*time.Hour || last.By != "anonymous" {
			t.Errorf("%s: %+v", path, last)
		}
		a = h.do(t, http.MethodPost, resume, nil)
		a.want(t, http.StatusOK)
		if !decode[client.Resumed](t, a.body).Changed {
			t.Errorf("%s: changed nothing", resume)
		}
	}
}

// A result that waits says what holds it, and the summary counts those.
func TestHeldResults(t *testing.T) {
	for name, test := range map[string]struct {
		hold tasker.HoldRequest
		want string
	}{
		"type": {tasker.HoldRequest{HoldSubject: tasker.HoldSubject{TaskType: "worker"}, By: "ann"}, "task type paused by ann"},
		"endpoint": {
			tasker.HoldRequest{HoldSubject: tasker.HoldSubject{Endpoint: "console1"}, By: "ann", Reason: "new disk"},
			"endpoint drained by ann: new disk",
		},
		"another": {tasker.HoldRequest{HoldSubject: tasker.HoldSubject{Endpoint: "console9"}, By: "ann"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.post(t, "/worker", newTask).want(t, http.StatusCreated)
			id := h.store.tasks[0].ID
			h.store.results = []tasker.TaskResult{
				{ID: 1, TaskID: id, Endpoint: "console1", State: tasker.Received, StartTime: h.store.now, LastModifiedTime: h.store.now},
				{ID: 2, TaskID: id, Endpoint: "console2", State: tasker.Running, Attempt: 1, StartTime: h.store.now, LastModifiedTime: h.store.now},
			}
			h.store.held = []tasker.HoldRequest{test.hold}
			held := 0
			if test.want != "" {
				held = 1
			}
			a := h.get(t, "/worker/"+identifier)
			a.want(t, http.StatusOK)
			got := decode[client.TaskAnswer](t, a.body)
			if got.Results[0].Held != test.want || got.Results[1].Held != "" || got.Summary.Held != held {
				t.Errorf("%s", a.body)
			}
			a = h.get(t, "/worker/"+identifier+"/results")
			if got := decode[client.ResultPage](t, a.body); got.Results[0].Held != test.want {
				t.Errorf("%s", a.body)
			}
			a = h.get(t, "/worker/"+identifier+"/results/console1")
			if got := decode[client.ResultAnswer](t, a.body); got.Result.Held != test.want {
				t.Errorf("%s", a.body)
			}
			a = h.get(t, "/v1/task-types")
			if got := decode[client.TaskTypeList](t, a.body); (got.TaskTypes[0].Hold != nil) != (name == "type") {
				t.Errorf("%s", a.body)
			}
			a = h.get(t, "/v1/task-types/worker")
			if got := decode[client.TaskTypeAnswer](t, a.body); (got.Hold != nil) != (name == "type") {
				t.Errorf("%s", a.body)
			}
		})
	}
}

// What cannot be held is refused, with the field and the rule.
func TestHoldRefusals(t *testing.T) {
	h := newHarness(t)
	for body, text := range map[string]string{
		`[]`:           "object",
		`{"reason":1}`: "reason",
		`{"reason":"` + strings.Repeat("x", 1025) + `"}`: "too long",
		`{"until":"soon"}`:           "until",
		`{"until":0}`:                "until",
		`{"until":"-1h"}`:            "until",
		`{"endpoints":["console1"]}`: "endpoints",
	} {
		for _, path := range []string{"/worker/one/pause", "/v1/task-types/worker/pause", "/v1/endpoints/console1/drain"} {
			a := h.do(t, http.MethodPost, path, []byte(body), "Content-Type", "application/json")
			if a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
				t.Errorf("%s %.100s: %d", path, body, a.status)
			}
			if p := a.problem(t); !strings.Contains(string(a.body), text) {
				t.Errorf("%s %.100s: %+v", path, body, p)
			}
		}
	}
	h.do(t, http.MethodPost, "/worker/ended/pause", nil).want(t, http.StatusConflict)
	for _, path := range []string{"/worker/one/", "/v1/task-types/worker/", "/v1/endpoints/console1/"} {
		verb := "pause"
		if strings.HasPrefix(path, "/v1/endpoints") {
			verb = "drain"
		}
		h.do(t, http.MethodPost, path+verb, []byte("{}"), "Content-Type", "text/plain").want(t, http.StatusUnsupportedMediaType)
		h.do(t, http.MethodPost, path+verb, []byte("{"), "Content-Type", "application/json").want(t, http.StatusBadRequest)
		h.do(t, http.MethodPost, path+verb, []byte(`{"reason":"`+strings.Repeat("x", 2<<20)+`"}`), "Content-Type", "application/json").
			want(t, http.StatusRequestEntityTooLarge)
		h.do(t, http.MethodPost, path+"resume?%zz", nil).want(t, http.StatusBadRequest)
		h.do(t, http.MethodPost, path+"resume?x=1", nil).want(t, http.StatusUnprocessableEntity)
	}
	for _, path := range []string{
		"/nosuch/one/pause", "/nosuch/one/resume", "/worker/a%20b/pause", "/v1/task-types/nosuch/pause", "/v1/task-types/nosuch/resume",
		"/v1/endpoints/a%20b/drain", "/v1/endpoints/a%20b/resume",
	} {
		h.do(t, http.MethodPost, path, nil).want(t, http.StatusNotFound)
	}
	if len(h.store.held) > 0 {
		t.Errorf("stored %+v", h.store.held)
	}
}
