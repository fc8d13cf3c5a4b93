package api_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// noRollouts is a database without rollouts.
type noRollouts struct{ store *fakeStore }

func (n noRollouts) Approve(ctx context.Context, act tasker.RolloutAct) (bool, error) {
	if _, err := n.store.FindTask(ctx, act.Type, act.Identifier); err != nil {
		return false, err
	}
	return false, tasker.Errorf(tasker.Conflict, "it has no rollout")
}

func (n noRollouts) Resume(ctx context.Context, act tasker.RolloutAct) (bool, error) {
	return n.Approve(ctx, act)
}

func (noRollouts) PlanRollout(context.Context, *tasker.Task, []string) (*tasker.Rollout, error) {
	return &tasker.Rollout{}, nil
}

func (noRollouts) FindRollout(_ context.Context, task *tasker.Task, _ time.Duration, _ int) (*tasker.Rollout, error) {
	return task.Rollout, nil
}

func (n noRollouts) CountRollout(
	context.Context, *tasker.Task, time.Duration, int,
) (*tasker.Rollout, tasker.RolloutProgress, error) {
	return nil, tasker.RolloutProgress{}, n.store.err
}

func (n noRollouts) ListRollouts(context.Context, tasker.RolloutQuery) ([]tasker.Task, int64, error) {
	defer n.store.begin("ListRollouts")()
	return nil, 0, n.store.err
}

// waves is a system with endpoints a to f, which get messages.
func waves(t *testing.T) (*system, map[string]<-chan wire.Task) {
	t.Helper()
	s := newSystem(t)
	arrived := map[string]<-chan wire.Task{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		arrived[name] = s.subscribe(t, name)
	}
	return s, arrived
}

// end has endpoints that get a task end it, and looks at its rollout.
func (s *system) end(t *testing.T, task tasker.Task, arrived map[string]<-chan wire.Task, state tasker.ResultState, endpoints ...string) {
	t.Helper()
	for _, name := range endpoints {
		end := ledger.End{ResultKey: tasker.ResultKey{Endpoint: name}, State: state}
		if state != tasker.ResultDone {
			end.Errnr, end.Errmsg = 1, "it failed"
		}
		s.perform(t, arrived[name], end)
	}
	if err := s.conductor.Look(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
}

// rolloutOf returns the rollout of an answer with a task.
func rolloutOf(t *testing.T, body []byte) *tasker.Rollout {
	t.Helper()
	task := decode[tasker.Task](t, body)
	if task.Rollout == nil {
		t.Fatalf("no rollout in %s", body)
	}
	return task.Rollout
}

// A POST answers the resolved waves, and so does a dry run, which stores nothing. The first
// wave gets the task, the others do not until it has ended.
func TestRollout(t *testing.T) {
	s, arrived := waves(t)
	const body = `{"identifier":"r","payload":{},"rollout":{"batch":[1,"50%","100%"],"max_failures":1,"order":"name"}}`
	dry := s.post(t, "/worker?dry_run=true", body)
	dry.want(t, http.StatusOK)
	plan := decode[client.Plan](t, dry.body)
	if plan.Rollout == nil || len(plan.Rollout.Waves) != 3 || plan.Rollout.HaltsAt != 2 || plan.All || plan.Count != 6 {
		t.Fatalf("%s", dry.body)
	}
	planned := strings.Replace(body, `"payload"`, `"plan":"`+plan.Plan+`","payload"`, 1)
	s.post(t, "/worker", strings.Replace(planned, `"max_failures":1`, `"max_failures":2`, 1)).want(t, http.StatusConflict)
	a := s.post(t, "/worker", planned)
	a.want(t, http.StatusCreated)
	r := rolloutOf(t, a.body)
	if r.State != "RUNNING" || r.Wave != 1 || r.Endpoints != 6 || r.HaltsAt != 2 || len(r.Waves) != 3 || r.Waves[1].Size != 2 ||
		r.Waves[2].BadAtMost != 4 {
		t.Errorf("%s", a.body)
	}
	if task := decode[tasker.Task](t, a.body); task.Status != tasker.Sent || len(task.Endpoints) != 6 {
		t.Errorf("%s", a.body)
	}
	again := s.post(t, "/worker", body)
	again.want(t, http.StatusOK)
	if got := rolloutOf(t, again.body); got.Wave != 1 || len(got.Waves) != 3 {
		t.Errorf("%s", again.body)
	}
	s.post(t, "/worker", strings.Replace(body, `"50%",`, "", 1)).want(t, http.StatusConflict)

	task := decode[tasker.Task](t, a.body)
	s.end(t, task, arrived, tasker.ResultDone, "a")
	s.end(t, task, arrived, tasker.ResultFailed, "b", "c")
	for name, messages := range arrived {
		if len(messages) > 0 {
			t.Errorf("%s got %+v", name, <-messages)
		}
	}
	answer := decode[client.TaskAnswer](t, s.get(t, "/worker/r").body)
	if got := answer.Task.Rollout; got.State != "HALTED" || !slices.Equal(got.Bad, []string{"b", "c"}) || answer.Task.Hold == nil {
		t.Errorf("%+v", got)
	}
	if sum := answer.Summary; sum.Expected != 6 || sum.Received != 3 || sum.Unopened != 3 || len(sum.Missing) != 0 ||
		answer.Task.Status != tasker.Sent {
		t.Errorf("%+v", sum)
	}
	summary := decode[client.TaskSummary](t, s.get(t, "/worker/r/summary").body)
	if sum := summary.Summary; sum.Expected != 6 || sum.Unopened != 3 || summary.Task.Rollout.State != "HALTED" {
		t.Errorf("%+v", summary)
	}
	// It waits for a person, so nobody needs to wait longer.
	waited := s.do(t, http.MethodGet, "/worker/r", nil, "Prefer", "wait=30")
	waited.want(t, http.StatusOK)
	s.post(t, "/worker/r/pause", `{"until":"1s"}`).want(t, http.StatusConflict)
	resumed := s.post(t, "/worker/r/resume", `{"reason":"mended"}`)
	resumed.want(t, http.StatusOK)
	got := decode[client.Resumed](t, resumed.body)
	if !got.Changed || got.Rollout.State != "RUNNING" || got.Rollout.Wave != 3 || !slices.Equal(got.Rollout.Forgiven, []string{"b", "c"}) ||
		got.Rollout.Reason != "" && got.Rollout.Reason != "mended" {
		t.Errorf("%s", resumed.body)
	}
	s.end(t, task, arrived, tasker.ResultDone, "d", "e", "f")
	answer = decode[client.TaskAnswer](t, s.get(t, "/worker/r").body)
	if answer.Task.Rollout.State != "DONE" || answer.Task.Status != tasker.Failed {
		t.Errorf("%s, %+v", answer.Task.Status, answer.Task.Rollout)
	}
	s.post(t, "/worker/r/resume", `{"all":true}`).want(t, http.StatusConflict)
	s.post(t, "/worker/r/approve", "").want(t, http.StatusConflict)
}

// Waves wait for an approval, and a promoted rollout does not wait for the others.
func TestRolloutApproval(t *testing.T) {
	s, arrived := waves(t)
	const body = `{"identifier":"r","rollout":{"batch":1,"approve":[2],"pause":"1h","order":"name"}}`
	a := s.post(t, "/worker", body)
	a.want(t, http.StatusCreated)
	task := decode[tasker.Task](t, a.body)
	early := s.post(t, "/worker/r/approve", "")
	early.want(t, http.StatusConflict)
	if !strings.Contains(string(early.body), "wave 1 of 6 is open") {
		t.Errorf("%s", early.body)
	}
	s.end(t, task, arrived, tasker.ResultDone, "a")
	promoted := s.post(t, "/worker/r/resume", `{"all":true}`)
	promoted.want(t, http.StatusOK)
	if got := decode[client.Resumed](t, promoted.body); got.Rollout.State != "WAITING_APPROVAL" {
		t.Errorf("%s", promoted.body)
	}
	s.post(t, "/worker/r/resume", "").want(t, http.StatusConflict)
	for path, bodies := range map[string][]string{
		"/worker/r/approve": {`{"wave":0}`, `{"wave":"2"}`, `{"wave":7}`, `{"all":true}`, `{"reason":7}`, `[]`},
		"/worker/r/resume":  {`{"all":1}`, `{"wave":2}`, `7`},
	} {
		for _, body := range bodies {
			s.post(t, path, body).want(t, http.StatusUnprocessableEntity)
		}
	}
	for _, path := range []string{"/worker/r/approve", "/worker/r/resume"} {
		s.post(t, path, `{`).want(t, http.StatusBadRequest)
		s.post(t, path, `{"reason":"`+strings.Repeat("x", 5000)+`"}`).want(t, http.StatusRequestEntityTooLarge)
		s.do(t, http.MethodPost, path, []byte(`{}`), "Content-Type", "text/plain").want(t, http.StatusUnsupportedMediaType)
	}
	approved := s.post(t, "/worker/r/approve", `{"reason":"looks good"}`)
	approved.want(t, http.StatusOK)
	if got := decode[client.Approved](t, approved.body); !got.Changed || got.Rollout.State != "RUNNING" || got.Rollout.Wave != 6 {
		t.Errorf("%s", approved.body)
	}
	s.end(t, task, arrived, tasker.ResultDone, "b", "c", "d", "e", "f")
	s.post(t, "/worker", `{"identifier":"plain"}`).want(t, http.StatusCreated)
	for _, path := range []string{"/worker/plain/approve", "/worker/none/approve"} {
		if a := s.post(t, path, ""); a.status != http.StatusConflict && a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	s.post(t, "/worker/plain/resume", `{"all":true}`).want(t, http.StatusConflict)
	s.post(t, "/worker/plain/resume", "").want(t, http.StatusOK)
	s.post(t, "/worker/none/resume", "").want(t, http.StatusNotFound)
}

// The rollout of a task says what has become of the endpoints of each wave, and the list has
// those that go on, or are in some state.
func TestRolloutProgress(t *testing.T) {
	s, arrived := waves(t)
	const rollout = `"rollout":{"batch":[1,"50%","100%"],"max_failures":1,"wave_max_failures":"100%","order":"name"}`
	a := s.post(t, "/worker", `{"identifier":"r",`+rollout+`}`)
	a.want(t, http.StatusCreated)
	task := decode[tasker.Task](t, a.body)
	list := func(query string) string {
		t.Helper()
		a := s.get(t, "/v1/rollouts"+query)
		a.want(t, http.StatusOK)
		page := decode[client.TaskPage[client.TaskView]](t, a.body)
		var found []string
		for _, task := range page.Tasks {
			found = append(found, task.Identifier+" "+task.Rollout.State)
		}
		if page.Next != nil {
			found = append(found, "next")
			if *page.Next != strconv.FormatInt(page.Tasks[len(page.Tasks)-1].ID, 10) {
				t.Errorf("%s: next is %s", query, *page.Next)
			}
		}
		return strings.Join(found, ", ")
	}
	progress := func() client.RolloutAnswer {
		t.Helper()
		a := s.get(t, "/worker/r/rollout")
		a.want(t, http.StatusOK)
		return decode[client.RolloutAnswer](t, a.body)
	}
	got := progress()
	want := tasker.RolloutProgress{Total: tasker.RolloutCounts{Unfinished: 1, Unopened: 5}, Waves: []tasker.WaveProgress{
		{N: 1, State: tasker.WaveOpen, RolloutCounts: tasker.RolloutCounts{Unfinished: 1}},
		{N: 2, State: tasker.WaveUnopened, RolloutCounts: tasker.RolloutCounts{Unopened: 2}},
		{N: 3, State: tasker.WaveUnopened, RolloutCounts: tasker.RolloutCounts{Unopened: 3}},
	}}
	if diff := cmp.Diff(want, got.RolloutProgress); diff != "" || got.Rollout.State != "RUNNING" || len(got.Rollout.Waves) != 3 {
		t.Errorf("%+v: %s", got.Rollout, diff)
	}
	s.end(t, task, arrived, tasker.ResultFailed, "a")
	s.end(t, task, arrived, tasker.ResultFailed, "b")
	want = tasker.RolloutProgress{Total: tasker.RolloutCounts{Bad: 2, Unfinished: 1, Unopened: 3}, Waves: []tasker.WaveProgress{
		{N: 1, State: tasker.WaveEnded, RolloutCounts: tasker.RolloutCounts{Bad: 1}},
		{N: 2, State: tasker.WaveOpen, RolloutCounts: tasker.RolloutCounts{Bad: 1, Unfinished: 1}},
		{N: 3, State: tasker.WaveUnopened, RolloutCounts: tasker.RolloutCounts{Unopened: 3}},
	}}
	if got = progress(); got.Rollout.State != "HALTED" || !slices.Equal(got.Rollout.Bad, []string{"a", "b"}) {
		t.Errorf("%+v", got.Rollout)
	}
	if diff := cmp.Diff(want, got.RolloutProgress); diff != "" {
		t.Error(diff)
	}
	s.post(t, "/worker", `{"identifier":"later",`+rollout+`}`).want(t, http.StatusCreated)
	for query, want := range map[string]string{
		"":                           "later RUNNING, r HALTED",
		"?limit=1":                   "later RUNNING, next",
		"?limit=1&cursor=2":          "r HALTED",
		"?state=HALTED&state=PAUSED": "r HALTED",
		"?state=DONE":                "",
	} {
		if got := list(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	s.post(t, "/worker/later/cancel", "").want(t, http.StatusOK)
	if got, ended := list(""), list("?state=CANCELED"); got != "r HALTED" || ended != "later CANCELED" {
		t.Errorf("after the end of one: %s; ended: %s", got, ended)
	}
	s.post(t, "/worker", `{"identifier":"plain"}`).want(t, http.StatusCreated)
	s.get(t, "/worker/plain/rollout").want(t, http.StatusNotFound)
	// The tasks of a type that is no longer configured are not found, so they are not listed.
	if err := s.server.SetTaskTypes([]tasker.TaskType{{Name: "backup"}}); err != nil {
		t.Fatal(err)
	}
	if got := list(""); got != "" {
		t.Errorf("of no type any more: %s", got)
	}
}

// What cannot be is refused with the field and the rule, and nothing is stored.
func TestRolloutRefusals(t *testing.T) {
	s, _ := waves(t)
	for body, field := range map[string]string{
		`{"rollout":7}`:                                                   "/rollout",
		`{"rollout":{}}`:                                                  "/rollout/batch",
		`{"rollout":{"batch":0}}`:                                         "/rollout/batch",
		`{"rollout":{"batch":["60%","50%","100%"]}}`:                      "/rollout/batch/1",
		`{"rollout":{"batch":1,"max_failures":"101%"}}`:                   "/rollout/max_failures",
		`{"rollout":{"batch":[1,2]}}`:                                     "/rollout/batch/1",
		`{"rollout":{"batch":[1,2]},"in":"1h"}`:                           "",
		`{"rollout":{"batch":1},"endpoints":["a","a"]}`:                   "/endpoints/1",
		`{"rollout":{"batch":1},"select":"role=none"}`:                    "/select",
		`{"rollout":{"batch":[1,2]},"endpoints":["a","b","c"],"in":"1h"}`: "/rollout/batch/1",
	} {
		a := s.post(t, "/worker", body)
		if field == "" { // whom it is for is decided when it starts
			a.want(t, http.StatusCreated)
			continue
		}
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	many := s.post(t, "/worker", `{"rollout":{"batch":0,"pause":"x","what":1}}`)
	if p := many.problem(t); len(p.Errors) != 3 {
		t.Errorf("%s", many.body)
	}
	s.post(t, "/backup", `{"rollout":{"batch":1}}`).want(t, http.StatusUnprocessableEntity) // it has no endpoints
	page := decode[client.TaskPage[client.TaskView]](t, s.get(t, "/worker?payload=false").body)
	if len(page.Tasks) != 1 || page.Tasks[0].Rollout == nil || page.Tasks[0].Rollout.State != "" {
		t.Errorf("stored: %+v", page.Tasks)
	}
}

// What somebody expects of a rollout that is another one by now is a 409 that says how it
// is, and nothing is done.
func TestRolloutExpectations(t *testing.T) {
	s, arrived := waves(t)
	a := s.post(t, "/worker", `{"identifier":"r","rollout":{"batch":2,"order":"name"}}`)
	a.want(t, http.StatusCreated)
	task := decode[tasker.Task](t, a.body)
	s.end(t, task, arrived, tasker.ResultFailed, "a")
	seen := decode[client.RolloutAnswer](t, s.get(t, "/worker/r/rollout").body).Rollout
	if seen.State != "HALTED" || seen.BadDigest != tasker.EndpointsDigest([]string{"a"}) {
		t.Fatalf("%+v", seen)
	}
	for _, expect := range []string{
		`{"state":"RUNNING"}`, `{"state":""}`, `{"wave":2}`, `{"since":"2026-05-06T01:14:24Z"}`, `{"bad_digest":"sha256:00"}`, `{"state":"HALTED","wave":0}`,
	} {
		for _, act := range []string{"resume", "approve"} {
			a := s.post(t, "/worker/r/"+act, `{"expect":`+expect+`}`)
			a.want(t, http.StatusConflict)
			if act == "resume" && !strings.Contains(string(a.body), "rollout changed meanwhile: it is HALTED, wave 1 of 3 is open") {
				t.Errorf("%s", a.body)
			}
		}
	}
	for expect, field := range map[string]string{
		`7`: "/expect", `{"state":"halted"}`: "/expect/state", `{"state":1}`: "/expect/state", `{"since":"now"}`: "/expect/since",
		`{"wave":-1}`: "/expect/wave", `{"wave":"1"}`: "/expect/wave", `{"bad_digest":null}`: "/expect/bad_digest", `{"version":1}`: "/expect/version",
	} {
		a := s.post(t, "/worker/r/resume", `{"expect":`+expect+`}`)
		a.want(t, http.StatusUnprocessableEntity)
		if problem := decode[client.Problem](t, a.body); len(problem.Errors) != 1 || problem.Errors[0].Field != field {
			t.Errorf("%s: %s", expect, a.body)
		}
	}
	if got := decode[client.RolloutAnswer](t, s.get(t, "/worker/r/rollout").body).Rollout; got.State != "HALTED" || len(got.Forgiven) > 0 {
		t.Fatalf("%+v", got)
	}
	since := seen.Since.Format(time.RFC3339Nano)
	good := `{"expect":{"state":"HALTED","wave":1,"since":"` + since + `","bad_digest":"` + seen.BadDigest + `"}}`
	s.post(t, "/worker/r/resume", good).want(t, http.StatusOK)
	s.post(t, "/worker/r/resume", good).want(t, http.StatusConflict)
	s.post(t, "/worker/r/resume", `{"expect":{"state":""}}`).want(t, http.StatusConflict)
	// A task without a rollout is resumed by who expects none.
	s.post(t, "/worker", `{"identifier":"plain"}`).want(t, http.StatusCreated)
	s.post(t, "/worker/plain/pause", "").want(t, http.StatusOK)
	s.post(t, "/worker/plain/resume", good).want(t, http.StatusConflict)
	resumed := s.post(t, "/worker/plain/resume", `{"expect":{"state":""}}`)
	resumed.want(t, http.StatusOK)
	if !decode[client.Resumed](t, resumed.body).Changed {
		t.Errorf("%s", resumed.body)
	}
}
