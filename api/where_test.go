package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// created posts a task, wants it to be created, and returns it.
func (h *harness) created(t *testing.T, body string) tasker.Task {
	t.Helper()
	a := h.post(t, "/worker", body)
	a.want(t, http.StatusCreated)
	return decode[tasker.Task](t, a.body)
}

func TestSelectForTask(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	for _, test := range []struct {
		body, endpoints, selectors string
		chosen                     int
	}{
		{`"select":"role=web"`, "web1 web2", "role=web", 2},
		{`"select":" zone!=eu , role=web "`, "web2", "role=web,zone!=eu", 1},
		{`"select":["role=db","name=bare","role=db"]`, "bare db1", "name=bare|role=db", 2},
		{`"select":"role=web","expect":{"min":2,"max":2}`, "web1 web2", "role=web", 2},
		{`"select":"role=none","expect":{"min":0}`, "", "role=none", 0},
		{`"select":"!role,seen<5m","all":false`, "bare", "!role,seen<5m", 1},
	} {
		task := h.created(t, "{"+test.body+"}")
		if task.Endpoints == nil || strings.Join(task.Endpoints, " ") != test.endpoints || strings.Join(task.Select, "|") != test.selectors ||
			task.Chosen == nil || *task.Chosen != test.chosen {
			t.Errorf("%s: %+v", test.body, task)
		}
	}
	for _, body := range []string{
		`{"all":true}`, `{"select":"*","all":true}`, `{"select":[],"all":true}`, `{"select":["role=web",""],"all":true}`, `{"select":null}`,
		`{"expect":{"min":4,"max":4}}`, `{"expect":null,"limit":null,"seed":null,"plan":null}`,
	} {
		if task := h.created(t, body); task.Endpoints != nil || task.Select != nil || task.Chosen != nil {
			t.Errorf("%s is not for all: %+v", body, task)
		}
	}
}

// A task keeps its endpoints, and the same POST is the same task, whatever becomes
// of the fleet.
func TestSelectIsPartOfTheRequest(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	const body = `{"identifier":"a","select":"role=web,zone=eu","expect":{"min":1}}`
	first := h.created(t, body)
	for i := range h.store.endpoints {
		h.store.endpoints[i].Labels = nil
	}
	for _, again := range []string{body, `{"identifier":"a","select":["zone=eu,role=web"],"expect":{"min":40}}`} {
		a := h.post(t, "/worker", again)
		a.want(t, http.StatusOK)
		if task := decode[tasker.Task](t, a.body); task.ID != first.ID || !slices.Equal(task.Endpoints, []string{"web1"}) {
			t.Errorf("%s: %+v", again, task)
		}
	}
	for _, other := range []string{
		`{"identifier":"a","select":"role=web"}`, `{"identifier":"a","endpoints":["web1"]}`, `{"identifier":"a"}`,
		`{"identifier":"a","select":"role=web,zone=eu","limit":1}`,
	} {
		h.post(t, "/worker", other).want(t, http.StatusConflict)
		h.post(t, "/worker?dry_run=true", other).want(t, http.StatusConflict)
	}
	a := h.post(t, "/worker?dry_run=true", `{"identifier":"a","select":"role=web,zone=eu","expect":{"min":0}}`)
	a.want(t, http.StatusOK)
	if plan := decode[client.Plan](t, a.body); !plan.Exists || plan.Count != 0 {
		t.Errorf("the plan of a task that exists: %+v", plan)
	}
}

func TestSelectForTaskInvalid(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	const empty = `selector is empty or matches every endpoint: to choose all, use "all": true instead`
	const limit = `invalid limit: must be a number of endpoints from 1 to 999999, or a percentage from "1%" to "100%"`
	for body, want := range map[string][2]string{
		`"select":""`:                                  {"/select", empty},
		`"select":" * "`:                               {"/select", empty},
		`"select":[]`:                                  {"/select", empty},
		`"select":["role=web","name~*"]`:               {"/select", empty},
		`"select":"role==web"`:                         {"/select", `invalid selector: column 5: expected an operator (= != ~ !~ in notin) or "," after "role", got "==": write =`},
		`"select":["role","role="]`:                    {"/select/1", `invalid selector 2: column 6: expected a value after "=", got the end`},
		`"select":["role",7]`:                          {"/select/1", "invalid selector: must be a string, not a number"},
		`"select":7`:                                   {"/select", "invalid select: must be a selector or an array of selectors, not a number"},
		`"select":{}`:                                  {"/select", "invalid select: must be a selector or an array of selectors, not an object"},
		`"select":"role","endpoints":["a"]`:            {"/select", "select and endpoints cannot be combined: omit one of them"},
		`"select":"role","all":true`:                   {"/all", "all and select cannot be combined: omit one of them"},
		`"all":true,"endpoints":["a"]`:                 {"/all", "all and endpoints cannot be combined: omit one of them"},
		`"all":null`:                                   {"/all", "invalid all: must be true or false, not null"},
		`"select":"role=none"`:                         {"/select", "expected at least 1 endpoint, the selector chose 0"},
		`"select":["rol=web","role=none"]`:             {"/select", `expected at least 1 endpoint, the selectors chose 0: unknown key "rol": did you mean "role"?`},
		`"select":"role","expect":{"min":45}`:          {"/expect/min", "expected at least 45 endpoints, the selector chose 3"},
		`"select":"role","expect":{"max":2}`:           {"/expect/max", "expected at most 2 endpoints, the selector chose 3"},
		`"expect":{"min":5}`:                           {"/expect/min", `expected at least 5 endpoints, task type "worker" has 4`},
		`"all":true,"expect":{"max":1}`:                {"/expect/max", `expected at most 1 endpoint, task type "worker" has 4`},
		`"endpoints":["a"],"expect":{"min":2}`:         {"/expect/min", "expected at least 2 endpoints, the task lists 1"},
		`"select":"role","limit":2,"expect":{"min":3}`: {"/expect/min", "expected at least 3 endpoints, the selector chose 3 and the limit left 2"},
		`"expect":{"min":3,"max":2}`:                   {"/expect", "invalid expect: min 3 is more than max 2"},
		`"expect":{"min":-1}`:                          {"/expect/min", "invalid min: must be an integer from 0 to 1000000"},
		`"expect":{"max":1.5}`:                         {"/expect/max", "invalid max: must be an integer from 0 to 1000000"},
		`"expect":{"least":1}`:                         {"/expect/least", `unknown member "least" of expect: use min, max`},
		`"expect":3`:                                   {"/expect", "invalid expect: must be an object with min, max or both, not a number"},
		`"expect":{"min":1,"min":2}`:                   {"/expect", `duplicate member "/min" of expect`},
		`"limit":0`:                                    {"/limit", limit},
		`"limit":"101%"`:                               {"/limit", limit},
		`"limit":1.5`:                                  {"/limit", limit},
		`"limit":"x"`:                                  {"/limit", limit},
		`"limit":[1]`:                                  {"/limit", limit},
		`"limit":1,"endpoints":["a"]`:                  {"/limit", "limit and endpoints cannot be combined: omit one of them"},
		`"seed":"x"`:                                   {"/seed", "seed without limit: it decides whom a limit leaves"},
		`"limit":1,"seed":""`:                          {"/seed", "invalid seed: must be a string of 1-64 bytes"},
		`"plan":"sha256:12"`:                           {"/plan", `invalid plan: must be the "plan" of a response to ?dry_run=true, such as "sha256:" and 64 digits`},
	} {
		for _, path := range []string{"/worker", "/worker?dry_run=true"} {
			a := h.post(t, path, "{"+body+"}")
			a.want(t, http.StatusUnprocessableEntity)
			if p := a.problem(t); p.Detail != want[1] || !slices.Equal(p.fields(), []string{want[0]}) {
				t.Errorf("%s: %q of %q, want %q of %q", body, p.Detail, p.fields(), want[1], want[0])
			}
		}
	}
	h.post(t, "/worker?dry_run=1", "{}").want(t, http.StatusUnprocessableEntity)
	if len(h.store.tasks) > 0 {
		t.Errorf("%d tasks are stored", len(h.store.tasks))
	}
}

func (h *harness) plan(t *testing.T, body string) client.Plan {
	t.Helper()
	a := h.post(t, "/worker?dry_run=true", body)
	a.want(t, http.StatusOK)
	return decode[client.Plan](t, a.body)
}

func TestDryRun(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	plan := h.plan(t, `{"identifier":"a","payload":{"v":1},"select":"zone!=eu,role!=cache"}`)
	want := client.Plan{
		Type: "worker", Plan: plan.Plan, Count: 3, Endpoints: []string{"bare", "db1", "web2"}, Select: []string{"role!=cache,zone!=eu"}, Chosen: 3,
		Lacking:  []client.LackingEndpoint{{Endpoint: "bare", Key: "role"}, {Endpoint: "db1", Key: "zone"}},
		Silent:   []string{"web2"},
		Warnings: []string{},
	}
	if got, want := fmt.Sprintf("%+v", plan), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	// The digest as documented: printf 'worker\n%s\nbare\ndb1\nweb2\n' "$(printf '{"v":1}' | sha256sum | cut -c1-64)" | sha256sum
	const digest = "sha256:6efff39f0f11178d749104d424503cc114db2fa9cacf4f1fe31f93b57a27346e"
	if plan.Plan != digest {
		t.Errorf("plan %s, want %s", plan.Plan, digest)
	}
	if listed := h.plan(t, `{"endpoints":["web1","web2","nobody"]}`); !slices.Equal(listed.Silent, []string{"nobody", "web2"}) || listed.All {
		t.Errorf("of listed endpoints: %+v", listed)
	}
	h.store.endpoints[1].LastSeen = h.store.now.Add(-seenWithin - time.Second)
	if all := h.plan(t, `{}`); !all.All || !slices.Equal(all.Endpoints, []string{"bare", "db1", "web1"}) {
		t.Errorf("of all: %+v", all)
	}
	if known := h.plan(t, `{"select":"rol!=x"}`); len(known.Warnings) != 1 || !strings.Contains(known.Warnings[0], `did you mean "role"?`) || known.Count != 4 {
		t.Errorf("of an unknown key: %+v", known)
	}
	h.dispatcher.refuses = tasker.Errorf(tasker.TooLarge, "no")
	h.post(t, "/worker?dry_run=true", "{}").want(t, http.StatusRequestEntityTooLarge)
	if len(h.store.tasks) > 0 {
		t.Errorf("%d tasks are stored", len(h.store.tasks))
	}
}

func TestPlan(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	request := func(member string) string { return `{"identifier":"a","payload":1,"select":"role=web"` + member + `}` }
	planned := `,"plan":"` + h.plan(t, request("")).Plan + `"`
	h.store.endpoints[0].Labels, h.store.endpoints[2].Labels = nil, map[string]string{"role": "web"}
	for body, want := range map[string]string{
		request(planned): "task is not as planned: joined: db1; left: web1: ask for another plan with ?dry_run=true",
		`{"payload":2,"endpoints":["web1","web2"]` + planned + `}`:  "task is not as planned: the endpoints are the same, the payload or the task type is not: ask for another plan with ?dry_run=true",
		request(`,"plan":"sha256:` + strings.Repeat("0", 64) + `"`): "task is not as planned: this API does not remember the plan, so it cannot say what is different: ask for another plan with ?dry_run=true",
	} {
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusConflict)
		if p := a.problem(t); p.Detail != want || !slices.Equal(p.fields(), []string{"/plan"}) {
			t.Errorf("%s: %q of %q, want %q", body, p.Detail, p.fields(), want)
		}
	}
	if len(h.store.tasks) > 0 {
		t.Fatalf("%d tasks are stored", len(h.store.tasks))
	}
	planned = `,"plan":"` + h.plan(t, request("")).Plan + `"`
	first := h.created(t, request(planned))
	h.store.endpoints = nil
	a := h.post(t, "/worker", request(planned))
	a.want(t, http.StatusOK) // the same POST, which chooses nobody again
	if task := decode[tasker.Task](t, a.body); task.ID != first.ID || !slices.Equal(task.Endpoints, []string{"db1", "web2"}) {
		t.Errorf("%+v", task)
	}
}

// A conflict names ten of many.
func TestPlanOfMany(t *testing.T) {
	h := newHarness(t)
	plan := h.plan(t, `{}`)
	for i := range 15 {
		h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{Name: fmt.Sprintf("e%02d", i), TaskTypes: []string{"worker"}, LastSeen: h.store.now})
	}
	a := h.post(t, "/worker", `{"plan":"`+plan.Plan+`"}`)
	a.want(t, http.StatusConflict)
	if detail := a.problem(t).Detail; !strings.Contains(detail, "joined: e00, e01, e02, e03, e04, e05, e06, e07, e08, e09 and 5 more:") {
		t.Error(detail)
	}
}

func TestLimit(t *testing.T) {
	h := newHarness(t)
	for i := range 40 {
		h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{
			Name: fmt.Sprintf("e%02d", i), TaskTypes: []string{"worker"}, LastSeen: h.store.now, Labels: map[string]string{"half": fmt.Sprint(i % 2)},
		})
	}
	take := func(members string) []string {
		t.Helper()
		task := h.created(t, "{"+members+"}")
		if task.Chosen == nil || task.Limit == "" || !slices.IsSorted(task.Endpoints) {
			t.Errorf("%s: %+v", members, task)
		}
		return task.Endpoints
	}
	five, ten := take(`"limit":5,"seed":"a"`), take(`"limit":10,"seed":"a"`)
	for _, name := range five {
		if !slices.Contains(ten, name) {
			t.Errorf("a higher limit leaves out %s: %v, then %v", name, five, ten)
		}
	}
	if other := take(`"limit":"25%","seed":"b"`); len(other) != 10 || slices.Equal(other, ten) {
		t.Errorf("another seed takes %v, as the first: %v", other, ten)
	}
	if again := take(`"limit":"10","seed":"a","all":true`); !slices.Equal(again, ten) {
		t.Errorf("the same seed takes %v, then %v", ten, again)
	}
	for limit, want := range map[string]int{`"1%"`: 1, `"26%"`: 6, `"100%"`: 20, `999`: 20, `1`: 1} {
		if got := take(`"select":"half=1","limit":` + limit); len(got) != want {
			t.Errorf("limit %s takes %v, want %d", limit, got, want)
		}
	}
	h.post(t, "/worker", `{"identifier":"l","limit":5}`).want(t, http.StatusCreated)
	h.post(t, "/worker", `{"identifier":"l","limit":5}`).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"l","limit":5,"seed":"b"}`).want(t, http.StatusConflict)
	h.store.endpoints = nil
	a := h.post(t, "/worker", `{"limit":5}`)
	a.want(t, http.StatusUnprocessableEntity)
	if p := a.problem(t); p.Detail != `expected at least 1 endpoint, task type "worker" has 0` || p.Errors[0].Field != "/limit" {
		t.Errorf("of none: %+v", p)
	}
}

func TestLimitForm(t *testing.T) {
	for text, want := range map[tasker.Limit]string{"10": `10`, "10%": `"10%"`} {
		encoded, err := json.Marshal(text)
		if err != nil || string(encoded) != want {
			t.Errorf("%s is encoded as %s, %v", text, encoded, err)
		}
		if got := decode[tasker.Limit](t, encoded); got != text {
			t.Errorf("%s is decoded as %s", encoded, got)
		}
	}
}
