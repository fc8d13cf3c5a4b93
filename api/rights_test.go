package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/identity"
)

// people are the principals of an access file, with a token each.
type people struct {
	tokens map[string]string
	policy *access.Policy
}

// newPeople gives each principal a token for a year. rules are the lines of the file
// after its principals.
func newPeople(t testing.TB, rules string, names ...string) *people {
	t.Helper()
	p := &people{tokens: map[string]string{}}
	for _, name := range names {
		p.tokens[name] = identity.NewPrincipalToken()
	}
	p.set(t, rules, time.Now().Add(365*24*time.Hour), names...)
	return p
}

// set makes another policy with the same tokens, which end at a time.
func (p *people) set(t testing.TB, rules string, end time.Time, names ...string) {
	t.Helper()
	file := "principals:\n"
	for _, name := range names {
		sum := sha256.Sum256([]byte(p.tokens[name]))
		file += fmt.Sprintf("  %s:\n    tokens:\n      - {sha256: %s, expires: %q}\n", name, hex.EncodeToString(sum[:]), end.Format(time.RFC3339Nano))
	}
	var err error
	if p.policy, err = access.Parse("access.yaml", []byte(file+rules)); err != nil {
		t.Fatal(err)
	}
}

func (p *people) use(c *api.Config) { c.Access = p.policy }

// as are the headers of a principal.
func (p *people) as(name string) []string {
	return []string{"Authorization", "Bearer " + p.tokens[name]}
}

func (h *harness) send(t testing.TB, p *people, name, method, path, body string) answer {
	t.Helper()
	headers := p.as(name)
	if body != "" {
		headers = append(headers, "Content-Type", "application/json")
	}
	return h.do(t, method, path, []byte(body), headers...)
}

// The roles of TestRights; each has its rights for the type worker alone, except drainer
// and admin.
const roleRules = `roles:
  runner: [run]
  allbackup: [view, run, cancel, retry, pause, approve, schedule]
rules:
  - {who: [viewer], may: [viewer], types: [worker]}
  - {who: [runner], may: [runner], types: [worker]}
  - {who: [operator], may: [operator], types: [worker]}
  - {who: [approver], may: [approver], types: [worker]}
  - {who: [stranger], may: [allbackup], types: [backup]}
  - {who: [drainer], may: [drain]}
  - {who: [auditor], may: [view]}
  - {who: [admin], may: [admin]}
`

var roleNames = []string{"viewer", "runner", "operator", "approver", "stranger", "drainer", "auditor", "admin", "nobody"}

// rolesOf are who may use a route, by what it needs. Those who may not are told so, or, if
// they have no right for the type at all, that it does not exist.
var rolesOf = map[string]string{
	"open":          "viewer runner operator approver stranger drainer auditor admin nobody",
	"anybody":       "viewer runner operator approver stranger drainer auditor admin nobody",
	"any view":      "viewer operator approver stranger auditor admin",
	"any schedule":  "operator stranger admin", // who is told then of what they may not change
	"all view":      "auditor admin",
	"known":         "viewer runner operator approver auditor admin",
	"view":          "viewer operator approver auditor admin",
	"run":           "runner operator admin",
	"cancel":        "operator admin",
	"retry":         "operator admin",
	"pause":         "operator admin",
	"approve":       "approver admin",
	"pause/approve": "operator approver admin",
	"drain":         "drainer admin",
	"admin":         "admin",
}

// neededFor says what each route needs. It is not derived from the table of routes: a change
// there must be meant.
var neededFor = map[string]string{
	"GET /healthz": "open", "GET /readyz": "any view", "GET /metrics": "all view", "GET /openapi.yaml": "anybody",
	"GET /v1/task-types": "anybody", "GET /v1/task-types/{task_type}": "known",
	"POST /v1/task-types/{task_type}/pause": "pause", "POST /v1/task-types/{task_type}/resume": "pause",
	"GET /v1/endpoints": "any view", "DELETE /v1/endpoints/{endpoint}": "admin",
	"POST /v1/endpoints/{endpoint}/drain": "drain", "POST /v1/endpoints/{endpoint}/resume": "drain",
	"POST /v1/endpoints/{endpoint}/token": "admin", "POST /v1/endpoints/{endpoint}/token/rotate": "admin", "GET /v1/endpoint-tokens": "admin",
	"GET /v1/dead-letters": "all view", "GET /v1/dead-letters/{id}": "all view",
	"DELETE /v1/dead-letters/{id}": "admin", "POST /v1/dead-letters/{id}/requeue": "admin",
	"GET /v1/schedule-preview": "anybody", "GET /v1/schedules": "any view", "GET /v1/schedules/{schedule}": "any view",
	"GET /v1/schedules/{schedule}/next": "any view", "GET /v1/schedules/{schedule}/slots": "any view",
	"PUT /v1/schedules/{schedule}": "any schedule", "DELETE /v1/schedules/{schedule}": "any schedule",
	"POST /v1/schedules/{schedule}/pause": "any schedule", "POST /v1/schedules/{schedule}/resume": "any schedule",
	"POST /v1/schedules/{schedule}/trigger": "any schedule", "POST /v1/schedules/{schedule}/backfill": "any schedule",
	"GET /v1/tasks": "any view", "GET /v1/tasks/counts": "any view", "GET /v1/tasks/{id}": "any view", "GET /v1/rollouts": "any view", "GET /v1/events": "any view",
	"GET /{task_type}": "view", "POST /{task_type}": "run", "GET /{task_type}/{identifier}": "view", "PATCH /{task_type}/{identifier}": "run",
	"POST /{task_type}/{identifier}/cancel": "cancel", "POST /{task_type}/{identifier}/retry": "retry",
	"POST /{task_type}/{identifier}/pause": "pause", "POST /{task_type}/{identifier}/resume": "pause/approve", "POST /{task_type}/{identifier}/approve": "approve",
	"GET /{task_type}/{identifier}/summary": "view", "GET /{task_type}/{identifier}/groups": "view", "GET /{task_type}/{identifier}/rollout": "view",
	"GET /{task_type}/{identifier}/missing": "view", "GET /{task_type}/{identifier}/results": "view", "GET /{task_type}/{identifier}/events": "view",
	"GET /{task_type}/{identifier}/results/{endpoint}": "view", "GET /{task_type}/{identifier}/results/{endpoint}/log": "view",
}

// TestRights walks every route with every role.
func TestRights(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use)
	if none := h.server.WithoutNeed(); len(none) > 0 {
		t.Errorf("routes without a right: %q", none)
	}
	const noType = `task type "worker" not found: /v1/task-types lists them`
	for _, to := range h.targets() {
		need, known := neededFor[to.method+" "+to.template]
		if !known {
			t.Errorf("it is not known what %s %s needs", to.method, to.template)
			continue
		}
		for _, role := range roleNames {
			// What the roles did before must not matter.
			h.store.change(func() { h.store.tasks = nil })
			h.schedules.list = nil
			a := h.call(t, to, p.as(role)...)
			detail := ""
			if a.status >= 400 {
				detail = a.problem(t).Detail
			}
			ofType := strings.Contains(to.template, "{task_type}")
			allowed := slices.Contains(strings.Fields(rolesOf[need]), role)
			hidden := ofType && (role == "stranger" || role == "drainer" || role == "nobody")
			switch {
			case need == "any schedule" && role == "stranger" && to.method == http.MethodPut: // the body is of a type that it must not know
				if a.want(t, http.StatusUnprocessableEntity); detail != noType {
					t.Errorf("%s %s as %s: %s", to.method, to.path, role, detail)
				}
			case !allowed && !hidden:
				if a.status != http.StatusForbidden || !strings.Contains(detail, role+" does not have the right ") {
					t.Errorf("%s %s as %s: %d %s", to.method, to.path, role, a.status, detail)
				}
			case hidden:
				if a.status != http.StatusNotFound || detail != noType {
					t.Errorf("%s %s as %s, who must not know the type: %d %s", to.method, to.path, role, a.status, detail)
				}
			case a.status == http.StatusForbidden || a.status == http.StatusUnauthorized || a.status == http.StatusInternalServerError || detail == noType:
				t.Errorf("%s %s as %s: %d %s", to.method, to.path, role, a.status, detail)
			}
		}
	}
	for route := range neededFor {
		method, path, _ := strings.Cut(route, " ")
		if !slices.Contains(h.server.Operations()[path], method) {
			t.Errorf("there is no route %s", route)
		}
	}
}

// A type that somebody has no right for answers, to the byte, as one that does not exist.
func TestHiddenTypes(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use)
	h.send(t, p, "admin", "POST", "/worker", `{"identifier":"a"}`).want(t, http.StatusCreated)
	for _, path := range []string{"/%s", "/%s/a", "/%s/", "/%s/a/", "/%s/a/summary", "/v1/task-types/%s", "/v1/events?task_type=%s", "/v1/tasks?task_type=%s"} {
		bodies := map[string]string{}
		for _, name := range []string{"worker", "nosuch"} {
			a := h.send(t, p, "stranger", "GET", fmt.Sprintf(path, name), "")
			bodies[name] = strings.ReplaceAll(fmt.Sprint(a.status, " ", a.problem(t).Detail), name, "TYPE")
		}
		if bodies["worker"] != bodies["nosuch"] || strings.HasPrefix(bodies["worker"], "2") {
			t.Errorf("%s: %q", path, bodies)
		}
	}
	a, b := h.send(t, p, "stranger", "GET", "/v1/tasks/1", ""), h.send(t, p, "stranger", "GET", "/v1/tasks/2", "")
	a.want(t, http.StatusNotFound)
	b.want(t, http.StatusNotFound)
	h.send(t, p, "viewer", "GET", "/v1/tasks/1", "").want(t, http.StatusTemporaryRedirect)
}

// Lists have what the principal may view, and say nothing of the rest.
func TestListsByRights(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use)
	h.store.endpoints = []tasker.Endpoint{{Name: "console1", TaskTypes: []string{"backup", "worker"}, LastSeen: h.store.now}}
	for _, taskType := range []string{"worker", "backup"} {
		h.send(t, p, "admin", "POST", "/"+taskType, `{"identifier":"a"}`).want(t, http.StatusCreated)
		h.send(t, p, "admin", "PUT", "/v1/schedules/"+taskType, `{"every":"1h","task":{"type":"`+taskType+`"}}`).want(t, http.StatusCreated)
	}
	for role, want := range map[string]string{"viewer": "worker", "stranger": "backup", "admin": "backup worker"} {
		types := strings.Fields(want)
		var found []string
		for _, info := range decode[client.TaskTypeList](t, h.send(t, p, role, "GET", "/v1/task-types", "").body).TaskTypes {
			found = append(found, info.Name)
		}
		slices.Sort(found)
		searched := map[string]bool{}
		for _, task := range decode[client.TaskPage[client.TaskView]](t, h.send(t, p, role, "GET", "/v1/tasks", "").body).Tasks {
			searched[task.Type] = true
		}
		counted := decode[tasker.TaskCounts](t, h.send(t, p, role, "GET", "/v1/tasks/counts", "").body).Total
		var schedules []string
		for _, schedule := range decode[client.SchedulePage](t, h.send(t, p, role, "GET", "/v1/schedules", "").body).Schedules {
			schedules = append(schedules, schedule.Name)
		}
		endpoints := decode[client.EndpointPage](t, h.send(t, p, role, "GET", "/v1/endpoints", "").body).Endpoints
		stream := h.follow(t, "/v1/events", p.as(role)...)
		snapshot := map[string]bool{}
		for _, task := range decode[client.TaskSnapshot](t, []byte(stream.next().data)).Tasks {
			snapshot[task.Type] = true
		}
		stream.cancel()
		for what, got := range map[string][]string{
			"task types": found, "search": slices.Sorted(maps.Keys(searched)), "schedules": schedules, "snapshot": slices.Sorted(maps.Keys(snapshot)),
			"types of the endpoint": endpoints[0].TaskTypes,
		} {
			if !slices.Equal(got, types) {
				t.Errorf("%s of %s: %q, want %q", what, role, got, types)
			}
		}
		if counted != len(types) {
			t.Errorf("%s counts %d", role, counted)
		}
	}
	a := h.send(t, p, "stranger", "GET", "/v1/schedules/worker", "")
	if a.want(t, http.StatusNotFound); a.problem(t).Detail != `schedule "worker" not found` {
		t.Error(a.problem(t).Detail)
	}
	h.send(t, p, "stranger", "POST", "/v1/schedules/worker/pause", "").want(t, http.StatusNotFound)
	h.send(t, p, "stranger", "DELETE", "/v1/schedules/worker", "").want(t, http.StatusNotFound)
	h.send(t, p, "stranger", "PUT", "/v1/schedules/worker", `{"every":"1h","task":{"type":"backup"}}`).want(t, http.StatusForbidden)
	h.send(t, p, "stranger", "POST", "/v1/schedules/backup/pause", "").want(t, http.StatusOK)
	h.send(t, p, "viewer", "POST", "/v1/schedules/worker/pause", "").want(t, http.StatusForbidden)
	for _, call := range []string{"DeleteSchedule", "Trigger"} {
		if n := h.store.called(call); n > 0 {
			t.Errorf("%s was called", call)
		}
	}
}

// Somebody who may view types that there are not finds nothing, and no error.
func TestListsOfNoType(t *testing.T) {
	p := newPeople(t, "rules:\n  - {who: [a], may: [view], types: [nosuch]}\n", "a")
	h := newHarness(t, p.use)
	if a := h.send(t, p, "a", "GET", "/v1/tasks", ""); a.status != http.StatusOK || h.store.called("SearchTasks") > 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	a := h.send(t, p, "a", "GET", "/v1/tasks/counts?status=DONE", "")
	if counts := decode[tasker.TaskCounts](t, a.body); len(counts.Statuses) != 1 || counts.Total != 0 || h.store.called("CountTasks") > 0 {
		t.Errorf("%s", a.body)
	}
}

// A stream has only the types that its client may view.
func TestEventsByRights(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use)
	h.server.SetStreams(fast)
	f := h.follow(t, "/v1/events", p.as("viewer")...)
	f.next()
	h.send(t, p, "admin", "POST", "/backup", `{"identifier":"hidden"}`).want(t, http.StatusCreated)
	h.store.change(func() { h.store.now = h.store.now.Add(time.Second) })
	h.send(t, p, "admin", "POST", "/worker", `{"identifier":"seen"}`).want(t, http.StatusCreated)
	if e := f.next(); !strings.Contains(e.data, `"seen"`) {
		t.Errorf("%+v", e)
	}
}

const scopedRules = `rules:
  - {who: [ann], may: [operator, approve, drain], endpoints: "role=web"}
`

// scoped is a harness in which ann has her rights at web1 and web2 alone.
func scoped(t *testing.T) (*harness, *people) {
	t.Helper()
	p := newPeople(t, scopedRules+"  - {who: [root], may: [admin]}\n", "ann", "root")
	h := newHarness(t, p.use)
	for name, role := range map[string]string{"web1": "web", "web2": "web", "db1": "db"} {
		h.store.endpoints = append(h.store.endpoints, tasker.Endpoint{
			Name: name, Labels: map[string]string{"role": role}, TaskTypes: []string{"worker"}, LastSeen: h.store.now, Alive: true,
		})
	}
	for identifier, endpoints := range map[string]string{"web": `["web1","web2"]`, "mixed": `["web1","db1"]`, "all": "null"} {
		h.send(t, p, "root", "POST", "/worker", `{"identifier":"`+identifier+`","endpoints":`+endpoints+`}`).want(t, http.StatusCreated)
	}
	for name, endpoints := range map[string]string{"web": `["web1"]`, "mixed": `["web1","db1"]`, "all": "null"} {
		h.send(t, p, "root", "PUT", "/v1/schedules/"+name, `{"every":"1h","task":{"type":"worker","endpoints":`+endpoints+`}}`).want(t, http.StatusCreated)
	}
	return h, p
}

// A rule for some endpoints is held against all that a request is about. Nothing is cut, and
// nothing was done if one is outside.
func TestScope(t *testing.T) {
	const (
		oneOutside = "at 1 of the 2 endpoints: db1 (others are allowed by line 9: role=web)"
		notAll     = "at all of its endpoints, but at some (line 9: role=web)"
	)
	for name, test := range map[string]struct {
		method, path, body string
		want               string // what is missing; empty if it is allowed
	}{
		"run at listed ones":            {"POST", "/worker", `{"endpoints":["web1","web2"]}`, ""},
		"one outside":                   {"POST", "/worker", `{"endpoints":["web1","db1"]}`, oneOutside},
		"one that is not registered":    {"POST", "/worker", `{"endpoints":["web1","web9"]}`, "at 1 of the 2 endpoints: web9"},
		"all":                           {"POST", "/worker", `{}`, notAll},
		"all, by word":                  {"POST", "/worker", `{"all":true}`, notAll},
		"chosen":                        {"POST", "/worker", `{"select":["name~web*"]}`, ""},
		"chosen, one outside":           {"POST", "/worker", `{"select":["name in (db1,web1)"]}`, oneOutside},
		"a limit of all":                {"POST", "/worker", `{"limit":"100%"}`, "at 1 of the 3 endpoints: db1"},
		"any of the chosen":             {"POST", "/worker", `{"select":["role=web"],"deliver":"any"}`, ""},
		"any":                           {"POST", "/worker", `{"deliver":"any"}`, notAll},
		"later, at listed ones":         {"POST", "/worker", `{"endpoints":["web1"],"in":"1h"}`, ""},
		"later, one outside":            {"POST", "/worker", `{"endpoints":["db1","web1"],"in":"1h"}`, oneOutside},
		"later, chosen then":            {"POST", "/worker", `{"select":["role=web"],"in":"1h"}`, notAll},
		"a plan":                        {"POST", "/worker?dry_run=true", `{"select":["role=web"]}`, ""},
		"a plan, one outside":           {"POST", "/worker?dry_run=true", `{"endpoints":["db1","web1"]}`, oneOutside},
		"cancel":                        {"POST", "/worker/web/cancel", "", ""},
		"cancel, one outside":           {"POST", "/worker/mixed/cancel", "", oneOutside},
		"cancel at one":                 {"POST", "/worker/mixed/cancel", `{"endpoints":["web1"]}`, ""},
		"cancel at one, outside":        {"POST", "/worker/mixed/cancel", `{"endpoints":["db1"]}`, "at 1 of the 1 endpoints: db1"},
		"cancel one for all":            {"POST", "/worker/all/cancel", "", notAll},
		"cancel one for all at one":     {"POST", "/worker/all/cancel", `{"endpoints":["web1"]}`, ""},
		"retry":                         {"POST", "/worker/web/retry", `{"endpoints":"failed"}`, ""},
		"retry, one outside":            {"POST", "/worker/mixed/retry", `{"endpoints":"failed"}`, oneOutside},
		"retry at one":                  {"POST", "/worker/mixed/retry", `{"endpoints":["web1"]}`, ""},
		"pause":                         {"POST", "/worker/web/pause", "", ""},
		"pause, one outside":            {"POST", "/worker/mixed/pause", "", oneOutside},
		"pause one for all":             {"POST", "/worker/all/pause", "", notAll},
		"resume":                        {"POST", "/worker/web/resume", "", ""},
		"resume, one outside":           {"POST", "/worker/mixed/resume", "", oneOutside},
		"approve, one outside":          {"POST", "/worker/mixed/approve", "", oneOutside},
		"move, one outside":             {"PATCH", "/worker/mixed", `{"in":1}`, oneOutside},
		"view is not about endpoints":   {"GET", "/worker/mixed", "", ""},
		"pause a type":                  {"POST", "/v1/task-types/worker/pause", "", notAll},
		"drain":                         {"POST", "/v1/endpoints/web1/drain", "", ""},
		"drain, outside":                {"POST", "/v1/endpoints/db1/drain", "", "ann does not have the right drain at 1 of the 1 endpoints: db1"},
		"drain none":                    {"POST", "/v1/endpoints/nosuch/drain", "", "at 1 of the 1 endpoints: nosuch"},
		"schedule":                      {"PUT", "/v1/schedules/x", `{"every":"1h","task":{"type":"worker","endpoints":["web1"]}}`, ""},
		"schedule, one outside":         {"PUT", "/v1/schedules/x", `{"every":"1h","task":{"type":"worker","endpoints":["db1","web1"]}}`, oneOutside},
		"schedule, chosen later":        {"PUT", "/v1/schedules/x", `{"every":"1h","task":{"type":"worker","select":["role=web"]}}`, notAll},
		"take a schedule over":          {"PUT", "/v1/schedules/mixed", `{"every":"1h","task":{"type":"worker","endpoints":["web1"]}}`, oneOutside},
		"trigger":                       {"POST", "/v1/schedules/web/trigger", "", ""},
		"trigger, one outside":          {"POST", "/v1/schedules/mixed/trigger", "", oneOutside},
		"trigger one for all":           {"POST", "/v1/schedules/all/trigger", "", notAll},
		"delete a schedule":             {"DELETE", "/v1/schedules/web", "", ""},
		"delete a schedule, all":        {"DELETE", "/v1/schedules/all", "", notAll},
		"pause a schedule, one outside": {"POST", "/v1/schedules/mixed/pause", "", oneOutside},
		"backfill, one outside":         {"POST", "/v1/schedules/mixed/backfill", `{"from":"2015-05-05T00:00:00Z","to":"2015-05-06T00:00:00Z"}`, oneOutside},
	} {
		t.Run(name, func(t *testing.T) {
			h, p := scoped(t)
			changing := []string{
				"CreateTask", "Cancel", "Retry", "Hold", "Resume", "Reschedule", "PutSchedule", "DeleteSchedule", "PauseSchedule", "Trigger", "Backfill",
			}
			before := 0
			for _, call := range changing {
				before += h.store.called(call)
			}
			a := h.send(t, p, "ann", test.method, test.path, test.body)
			if test.want == "" {
				if a.status >= 400 {
					t.Errorf("%d %s", a.status, a.body)
				}
				return
			}
			a.want(t, http.StatusForbidden)
			if got := a.problem(t); got.Code != "forbidden" || !strings.Contains(got.Detail, test.want) {
				t.Errorf("%s\nwant %s", got.Detail, test.want)
			}
			after := 0
			for _, call := range changing {
				after += h.store.called(call)
			}
			if after != before {
				t.Errorf("something was done: %q", h.store.calls)
			}
		})
	}
}

// Tasks, and what is done to them, have the name of the principal.
func TestCreatedBy(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use, withToken)
	a := h.send(t, p, "operator", "POST", "/worker", `{"identifier":"a"}`)
	if task := decode[tasker.Task](t, a.body); task.CreatedBy != "operator" {
		t.Errorf("%s", a.body)
	}
	// The same task again, of somebody else, is the same.
	h.send(t, p, "admin", "POST", "/worker", `{"identifier":"a"}`).want(t, http.StatusOK)
	h.do(t, "POST", "/worker", []byte(`{"identifier":"b"}`), "Content-Type", "application/json", "Authorization", tokenHeader).want(t, http.StatusCreated)
	found := map[string]string{}
	for _, task := range decode[client.TaskPage[client.TaskView]](t, h.send(t, p, "viewer", "GET", "/v1/tasks", "").body).Tasks {
		found[task.Identifier] = task.CreatedBy
	}
	if found["a"] != "operator" || found["b"] != "token" {
		t.Errorf("%q", found)
	}
	h.send(t, p, "operator", "POST", "/worker/a/cancel", "").want(t, http.StatusOK)
	h.send(t, p, "operator", "POST", "/worker/a/pause", "").want(t, http.StatusOK)
	if by := h.store.canceled[0].By + " " + h.store.held[0].By; by != "operator operator" {
		t.Errorf("%q", by)
	}
	open := newHarness(t)
	b := open.post(t, "/worker", `{"identifier":"a"}`)
	if strings.Contains(string(b.body), "created_by") {
		t.Errorf("without authentication: %s", b.body)
	}
	h.http.Close()
	for _, line := range h.log.lines(t, "request") {
		if line["principal"] == "" {
			t.Errorf("no principal in %v", line)
		}
	}
	if strings.Contains(h.log.String(), p.tokens["operator"]) {
		t.Error("the log has a token")
	}
}

// The access file counts as authentication, and the token stays beside it.
func TestTokenBesideAccess(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use, withToken, func(c *api.Config) { c.Listen = "0.0.0.0" })
	h.get(t, "/v1/task-types").want(t, http.StatusUnauthorized)
	h.get(t, "/v1/dead-letters", "Authorization", tokenHeader, "Host", "tasker.example").want(t, http.StatusOK)
	h.get(t, "/v1/task-types", append(p.as("viewer"), "Host", "tasker.example")...).want(t, http.StatusOK)
	h.get(t, "/v1/task-types", "Authorization", "Bearer "+identity.NewPrincipalToken()).want(t, http.StatusUnauthorized)
	h.get(t, "/healthz").want(t, http.StatusOK)
	h.server.SetToken("another-t0ken")
	h.get(t, "/v1/dead-letters", "Authorization", "Bearer another-t0ken").want(t, http.StatusOK)

	only := newHarness(t, p.use)
	only.get(t, "/v1/task-types").want(t, http.StatusUnauthorized)
	only.server.SetToken("s3cret-token") // it had none: it takes a restart
	only.get(t, "/v1/task-types", "Authorization", tokenHeader).want(t, http.StatusUnauthorized)
	if _, err := api.New(api.Config{Listen: "0.0.0.0", Access: p.policy}, only.deps()); err != nil {
		t.Errorf("listens nowhere: %v", err)
	}
	open := newHarness(t)
	open.server.SetAccess(p.policy) // it had no authentication: it takes a restart
	open.get(t, "/v1/task-types").want(t, http.StatusOK)
}

// Another access file counts at once. Streams of the one before end, and come back with
// what the new one says; the same file again ends none.
func TestReplacedAccess(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use, withToken)
	h.server.SetStreams(fast)
	h.send(t, p, "admin", "POST", "/worker", `{"identifier":"a"}`).want(t, http.StatusCreated)
	ofTask, ofAll := h.follow(t, "/worker/a/events", p.as("viewer")...), h.follow(t, "/v1/events", p.as("viewer")...)
	ofToken := h.follow(t, "/v1/events", "Authorization", tokenHeader)
	for _, f := range []*follower{ofTask, ofAll, ofToken} {
		f.next()
	}
	h.server.SetAccess(p.policy)
	h.server.SetAccess(nil)
	year := time.Now().Add(365 * 24 * time.Hour)
	h.send(t, p, "admin", "POST", "/worker", `{"identifier":"b"}`).want(t, http.StatusCreated)
	ofAll.next() // it goes on

	p.set(t, strings.Replace(roleRules, "who: [viewer]", "who: [nobody]", 1), year, roleNames...)
	h.server.SetAccess(p.policy)
	for _, f := range []*follower{ofTask, ofAll} {
		f.ended()
	}
	h.send(t, p, "viewer", "GET", "/worker/a", "").want(t, http.StatusNotFound)
	h.send(t, p, "nobody", "GET", "/worker/a", "").want(t, http.StatusOK)
	h.send(t, p, "admin", "POST", "/worker", `{"identifier":"c"}`).want(t, http.StatusCreated)
	for e := ofToken.next(); !strings.Contains(e.data, `"c"`); e = ofToken.next() {
	}

	p.set(t, "", year, "admin")
	h.server.SetAccess(p.policy)
	h.send(t, p, "nobody", "GET", "/v1/task-types", "").want(t, http.StatusUnauthorized)
}

// A token that ends takes its streams with it.
func TestTokenEnds(t *testing.T) {
	p := newPeople(t, roleRules, roleNames...)
	h := newHarness(t, p.use)
	h.server.SetStreams(fast)
	p.set(t, roleRules, time.Now().Add(3*time.Second), roleNames...)
	h.server.SetAccess(p.policy)
	f := h.follow(t, "/v1/events", p.as("viewer")...)
	if f.status != http.StatusOK {
		t.Fatalf("status %d", f.status)
	}
	f.ended()
	a := h.send(t, p, "viewer", "GET", "/v1/events", "")
	a.want(t, http.StatusUnauthorized)
	if detail := a.problem(t).Detail; !strings.Contains(detail, "expired token: this one of viewer ended at") {
		t.Error(detail)
	}
}

// With approval: other, nobody approves a task of their own.
func TestFourEyes(t *testing.T) {
	p := newPeople(t, "rules:\n  - {who: [ann, bob], may: [operator, approve]}\n", "ann", "bob")
	h := newHarness(t, p.use, func(c *api.Config) { c.TaskTypes[0].Approval = tasker.ApprovalOther })
	for _, taskType := range []string{"worker", "backup"} {
		h.send(t, p, "ann", "POST", "/"+taskType, `{"identifier":"a"}`).want(t, http.StatusCreated)
	}
	a := h.send(t, p, "ann", "POST", "/worker/a/approve", "")
	a.want(t, http.StatusForbidden)
	if detail := a.problem(t).Detail; detail != `ann created the task, and task type "worker" has approval: other: ask another principal with the right approve` {
		t.Error(detail)
	}
	// What follows is refused since there is no rollout.
	h.send(t, p, "bob", "POST", "/worker/a/approve", "").want(t, http.StatusConflict)
	h.send(t, p, "ann", "POST", "/backup/a/approve", "").want(t, http.StatusConflict)
	h.send(t, p, "bob", "POST", "/worker/none/approve", "").want(t, http.StatusNotFound)
	if info := h.send(t, p, "ann", "GET", "/v1/task-types/worker", ""); !strings.Contains(string(info.body), `"approval":"other"`) {
		t.Errorf("%s", info.body)
	}
	open := newHarness(t, func(c *api.Config) { c.TaskTypes[0].Approval = tasker.ApprovalOther })
	open.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusCreated)
	open.do(t, "POST", "/worker/a/approve", nil).want(t, http.StatusForbidden)
}
