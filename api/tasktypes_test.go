package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/schema"
)

const copySchema = `{"type":"object","required":["source","destination"],"additionalProperties":false,"properties":{"source":{"type":"string","pattern":"^/"},"destination":{"type":"string"},"copies":{"type":"integer","maximum":9}}}`

// withSchemaText returns the type with a schema.
func withSchemaText(t testing.TB, tt tasker.TaskType, text string) tasker.TaskType {
	t.Helper()
	compiled, err := schema.Compile([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	tt.Schema, tt.Payloads = json.RawMessage(text), compiled
	return tt
}

func withSchema(t testing.TB) func(*api.Config) {
	return func(c *api.Config) { c.TaskTypes[0] = withSchemaText(t, c.TaskTypes[0], copySchema) }
}

func TestTaskTypes(t *testing.T) {
	full := withSchemaText(t, tasker.TaskType{
		Name: "copy", Handler: "copyfile", Description: "copies", Usage: "give both",
		Example: json.RawMessage(`{"source":"/a","destination":"/b"}`), Concurrency: 4, Timeout: 1500 * time.Millisecond,
		Retry:      tasker.RetryPolicy{Delays: []time.Duration{time.Minute, 10 * time.Minute}, Jitter: true},
		MaxPayload: 1000, Labels: map[string]string{"role": "web"}, Retention: time.Hour,
	}, copySchema)
	wantFull := `"name":"copy","handler":"copyfile","description":"copies","usage":"give both","schema":` + copySchema +
		`,"example":{"source":"/a","destination":"/b"},"config_objects":{"copies":0,"destination":"","source":""},"concurrency":4,"timeout":1.5,"retry":[60,600],"retry_jitter":true,"max_payload":1000,"labels":{"role":"web"},"retention":3600`
	for name, tt := range map[string]struct {
		of   tasker.TaskType
		want string
	}{
		"full": {full, wantFull},
		"bare": {tasker.TaskType{Name: "copy"}, `"name":"copy","handler":"copy","description":"","usage":"","schema":null,"example":null,"config_objects":null,"concurrency":4,"timeout":3600,"retry":[],"retry_jitter":false,"max_payload":4096,"labels":{},"retention":2592000`},
		"an example of the schema": {
			withSchemaText(t, tasker.TaskType{Name: "copy", Retention: tasker.Forever}, `{"properties":{"n":{"default":7}}}`),
			`"name":"copy","handler":"copy","description":"","usage":"","schema":{"properties":{"n":{"default":7}}},"example":{"n":7},"config_objects":{"n":0},"concurrency":4,"timeout":3600,"retry":[],"retry_jitter":false,"max_payload":4096,"labels":{},"retention":null`,
		},
		"an example alone, and a limit that another one hides": {
			tasker.TaskType{Name: "copy", Example: json.RawMessage(`{"a":"b"}`), MaxPayload: 1 << 40},
			`"name":"copy","handler":"copy","description":"","usage":"","schema":null,"example":{"a":"b"},"config_objects":{"a":""},"concurrency":4,"timeout":3600,"retry":[],"retry_jitter":false,"max_payload":4096,"labels":{},"retention":2592000`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(c *api.Config) { c.TaskTypes = []tasker.TaskType{tt.of} })
			if diff := cmp.Diff(`{"task_types":[{`+tt.want+"}]}\n", string(h.get(t, "/v1/task-types").body)); diff != "" {
				t.Errorf("the list (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(`{`+tt.want+`,"endpoints":[],"next":null}`+"\n", string(h.get(t, "/v1/task-types/copy").body)); diff != "" {
				t.Errorf("the one (-want +got):\n%s", diff)
			}
		})
	}
	none := newHarness(t, func(c *api.Config) { c.TaskTypes = nil })
	if a := none.get(t, "/v1/task-types"); string(a.body) != `{"task_types":[]}`+"\n" {
		t.Errorf("none: %s", a.body)
	}
	none.get(t, "/v1/task-types/worker").want(t, http.StatusNotFound)
}

func TestTaskTypeEndpoints(t *testing.T) {
	h := newHarness(t)
	for i := range api.MaxPage + 2 {
		h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{Name: fmt.Sprintf("e%03d", i), TaskTypes: []string{"worker"}, Alive: i == 1})
	}
	h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{Name: "a", TaskTypes: []string{"backup"}})
	a := h.get(t, "/v1/task-types/worker")
	got := decode[struct {
		Endpoints []struct {
			Name  string
			Alive bool
		}
		Next string
	}](t, a.body)
	if len(got.Endpoints) != api.MaxPage || got.Endpoints[0].Name != "e000" || got.Endpoints[0].Alive || !got.Endpoints[1].Alive {
		t.Errorf("%d endpoints: %+v", len(got.Endpoints), got.Endpoints[:2])
	}
	if link := a.header.Get("Link"); link != "<"+got.Next+`>; rel="next"` {
		t.Errorf("Link %q and next %q", link, got.Next)
	}
	rest := decode[struct{ Endpoints []tasker.Endpoint }](t, h.get(t, got.Next).body)
	if len(rest.Endpoints) != 2 || rest.Endpoints[0].Name != "e200" {
		t.Errorf("the next page: %+v", rest.Endpoints)
	}
}

// A payload is held against the schema before the task is stored.
func TestPayloadSchema(t *testing.T) {
	h := newHarness(t, withSchema(t))
	a := h.post(t, "/worker", `{"identifier":"a","payload":{"source":"b","copies":10,"x":1}}`)
	a.want(t, http.StatusUnprocessableEntity)
	p := a.problem(t)
	if diff := cmp.Diff([]string{"/payload/copies", "/payload/destination", "/payload/source", "/payload/x"}, p.fields()); diff != "" {
		t.Error(diff)
	}
	for i, rule := range []string{"maximum", "required", "pattern", "additionalProperties"} {
		if text := p.Errors[i].Message; !strings.Contains(text, `"`+rule+`"`) || !strings.Contains(text, p.Errors[i].Field) {
			t.Errorf("the message names not the rule %q and the place: %s", rule, text)
		}
	}
	if !strings.Contains(p.Detail, "/payload/copies") || !strings.Contains(p.Detail, "and 3 more") {
		t.Error(p.Detail)
	}
	for _, body := range []string{`{"identifier":"a"}`, `{"identifier":"a","payload":null}`} {
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusUnprocessableEntity)
		if got := a.problem(t).fields(); len(got) != 1 || got[0] != "/payload" {
			t.Errorf("%s: %q", body, got)
		}
	}
	if n := h.store.called("CreateTask"); n != 0 {
		t.Errorf("%d tasks were stored", n)
	}
	const good = `{"identifier":"a","payload":{"source":"/a","destination":""}}`
	h.post(t, "/worker", good).want(t, http.StatusCreated)
	h.post(t, "/backup", `{"identifier":"a","payload":1}`).want(t, http.StatusCreated)

	many := newHarness(t, func(c *api.Config) { c.TaskTypes[0] = withSchemaText(t, c.TaskTypes[0], `{"items":{"type":"string"}}`) })
	a = many.post(t, "/worker", `{"identifier":"a","payload":[`+strings.Repeat("1,", 50)+`1]}`)
	if p := a.problem(t); len(p.Errors) != api.MaxFieldErrors || !strings.Contains(p.Detail, "and 50 more") {
		t.Errorf("%d errors: %s", len(p.Errors), p.Detail)
	}
}

// What was taken is not refused when it is sent again.
func TestPayloadSchemaChanged(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	if err := h.server.SetTaskTypes([]tasker.TaskType{withSchemaText(t, tasker.TaskType{Name: "worker"}, copySchema)}); err != nil {
		t.Fatal(err)
	}
	h.post(t, "/worker", newTask).want(t, http.StatusOK)
	h.post(t, "/worker", strings.Replace(newTask, "bar", "other", 1)).want(t, http.StatusConflict)
	h.post(t, "/worker", strings.Replace(newTask, "e7bd", "e7be", 1)).want(t, http.StatusUnprocessableEntity)
	h.store.setError(errors.New("down"))
	h.post(t, "/worker", newTask).want(t, http.StatusInternalServerError)
}

func TestMaxPayload(t *testing.T) {
	h := newHarness(t, func(c *api.Config) {
		c.TaskTypes[0] = withSchemaText(t, tasker.TaskType{Name: "worker", MaxPayload: 10}, `false`)
	})
	a := h.post(t, "/worker", `{"identifier":"a","payload":"123456789"}`)
	a.want(t, http.StatusRequestEntityTooLarge)
	if p := a.problem(t); !strings.Contains(p.Detail, "11 bytes") || !strings.Contains(p.Detail, "is 10") || len(p.Errors) != 1 || p.Errors[0].Field != "/payload" {
		t.Errorf("%s", a.body)
	}
	h.post(t, "/worker", `{"identifier":"a","payload":"12345678"}`).want(t, http.StatusUnprocessableEntity) // the next rule
	h.post(t, "/backup", `{"identifier":"a","payload":"123456789"}`).want(t, http.StatusCreated)
}

// A reload replaces all task types at once, or none.
func TestSetTaskTypes(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/new", newTask).want(t, http.StatusNotFound)
	for _, bad := range [][]tasker.TaskType{
		{{Name: "new"}, {Name: "new"}}, {{Name: "v1"}}, {{Name: "new", MaxPayload: -1}},
	} {
		if err := h.server.SetTaskTypes(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	h.post(t, "/new", newTask).want(t, http.StatusNotFound)
	types := []tasker.TaskType{{Name: "new", MaxPayload: 100}}
	if err := h.server.SetTaskTypes(types); err != nil {
		t.Fatal(err)
	}
	types[0].Name = "changed later"
	h.post(t, "/new", newTask).want(t, http.StatusCreated)
	h.get(t, "/worker").want(t, http.StatusNotFound)
	if a := h.get(t, "/v1/task-types"); !strings.Contains(string(a.body), `{"task_types":[{"name":"new"`) {
		t.Errorf("the list: %s", a.body)
	}
	// Reloads and requests at once: for the race detector.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if err := h.server.SetTaskTypes(types[:0]); err != nil {
					t.Error(err)
				}
				h.get(t, "/v1/task-types").want(t, http.StatusOK)
			}
		})
	}
	wg.Wait()
}
