package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/client"
)

// A task that starts later is stored, not sent, and whoever starts it is told when.
func TestCreateTaskLater(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	now := h.store.Now()
	for _, test := range []struct {
		body string
		want time.Time // zero if it starts at once
	}{
		{`"in":"5m"`, now.Add(5 * time.Minute)},
		{`"in":"1h30m"`, now.Add(90 * time.Minute)},
		{`"in":90`, now.Add(90 * time.Second)},
		{`"in":1.5`, now.Add(1500 * time.Millisecond)},
		{`"in":"87600h"`, now.Add(tasker.MaxAhead)},
		{`"start_time":"2015-05-06T03:30:00+02:00"`, time.Date(2015, 5, 6, 1, 30, 0, 0, time.UTC)},
		{`"start_time":"2015-05-06T01:30:00.5Z"`, time.Date(2015, 5, 6, 1, 30, 0, 5e8, time.UTC)},
		{`"start_time":1430875800`, time.Unix(1430875800, 0).UTC()},
		{`"start_time":1430875800.25`, time.Unix(1430875800, 25e7).UTC()},
		{`"in":"1m","start_time":null`, now.Add(time.Minute)},
		{`"in":0`, time.Time{}},
		{`"in":"0s"`, time.Time{}},
		{`"start_time":0`, time.Time{}},
		{`"start_time":"2015-05-06T01:14:24.103482Z"`, time.Time{}}, // now
		{`"start_time":"1999-12-31T23:59:59Z"`, time.Time{}},
		{`"start_time":null,"in":null`, time.Time{}},
	} {
		h.starter.expected = nil
		task := h.created(t, "{"+test.body+"}")
		if test.want.IsZero() {
			if task.Status != tasker.Sent || !task.StartTime.Equal(now) || task.AcceptedTime != nil || h.starter.expected != nil {
				t.Errorf("%s: %+v, expected at %v", test.body, task, h.starter.expected)
			}
			continue
		}
		if task.Status != tasker.Scheduled || !task.StartTime.Equal(test.want) || task.AcceptedTime == nil || !task.AcceptedTime.Equal(now) ||
			!slices.EqualFunc(h.starter.expected, []time.Time{test.want}, time.Time.Equal) {
			t.Errorf("%s: %+v, expected at %v", test.body, task, h.starter.expected)
		}
		h.get(t, "/worker/"+task.Identifier).want(t, http.StatusOK)
		h.get(t, "/worker/"+task.Identifier+"/summary").want(t, http.StatusOK)
	}
	h.get(t, "/worker?status=SCHEDULED").want(t, http.StatusOK)
}

func TestCreateTaskLaterInvalid(t *testing.T) {
	h := newHarness(t)
	const badTime = `invalid start_time: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", ` +
		"or a number of seconds since 1970, in UTC"
	const badIn = `invalid in: must be a duration such as "1h30m", or a number of seconds, from 0 to 10 years`
	const far = ` is more than 10 years ahead: give a time such as "2026-05-06T01:14:24Z", or Unix seconds`
	for body, want := range map[string][2]string{
		`"start_time":"2015-05-06T03:30:00"`:  {"/start_time", badTime},
		`"start_time":"tomorrow"`:             {"/start_time", badTime},
		`"start_time":""`:                     {"/start_time", badTime},
		`"start_time":"1430875800"`:           {"/start_time", badTime},
		`"start_time":-1`:                     {"/start_time", badTime},
		`"start_time":true`:                   {"/start_time", badTime},
		`"start_time":{}`:                     {"/start_time", badTime},
		`"start_time":1430875800000`:          {"/start_time", "invalid start_time: 9999-12-31T23:59:59Z" + far},
		`"start_time":1e300`:                  {"/start_time", "invalid start_time: 9999-12-31T23:59:59Z" + far},
		`"start_time":"2025-05-05T00:00:00Z"`: {"/start_time", "invalid start_time: 2025-05-05T00:00:00Z" + far},
		`"in":"soon"`:                         {"/in", badIn},
		`"in":""`:                             {"/in", badIn},
		`"in":"-5m"`:                          {"/in", badIn},
		`"in":-1`:                             {"/in", badIn},
		`"in":"87601h"`:                       {"/in", badIn},
		`"in":1e300`:                          {"/in", badIn},
		`"in":[1]`:                            {"/in", badIn},
		`"in":"5m","start_time":"2015-05-07T00:00:00Z"`:  {"/in", "in and start_time cannot be combined: omit one of them"},
		`"in":"5m","endpoints":["a"],"expect":{"min":2}`: {"/expect/min", "expected at least 2 endpoints, the task lists 1"},
	} {
		for _, path := range []string{"/worker", "/worker?dry_run=true"} {
			a := h.post(t, path, "{"+body+"}")
			a.want(t, http.StatusUnprocessableEntity)
			if p := a.problem(t); p.Detail != want[1] || !slices.Equal(p.fields(), []string{want[0]}) {
				t.Errorf("%s: %q of %q, want %q of %q", body, p.Detail, p.fields(), want[1], want[0])
			}
		}
	}
	if len(h.store.tasks) > 0 {
		t.Errorf("%d tasks are stored", len(h.store.tasks))
	}
}

// A task may expire, by its own word or that of its type.
func TestCreateTaskExpires(t *testing.T) {
	h := newHarness(t, func(c *api.Config) { c.TaskTypes[1].Expires = time.Minute })
	now := h.store.Now()
	for _, test := range []struct {
		path, body string
		want       time.Time // zero for never
	}{
		{"/worker", `{}`, time.Time{}},
		{"/worker", `{"expires":null}`, time.Time{}},
		{"/worker", `{"expires":"1h"}`, now.Add(time.Hour)},
		{"/worker", `{"expires":90}`, now.Add(90 * time.Second)},
		{"/worker", `{"expires":"90"}`, now.Add(90 * time.Second)},
		{"/worker", `{"expires":"2015-05-06T03:30:00+02:00"}`, time.Date(2015, 5, 6, 1, 30, 0, 0, time.UTC)},
		{"/worker", `{"in":"1h","expires":"1h"}`, now.Add(2 * time.Hour)},
		{"/worker", `{"in":"5m","expires":"2015-05-06T03:30:00+02:00"}`, time.Date(2015, 5, 6, 1, 30, 0, 0, time.UTC)},
		{"/worker", `{"start_time":"1999-01-01T00:00:00Z","expires":"1h"}`, now.Add(time.Hour)},
		{"/backup", `{}`, now.Add(time.Minute)},
		{"/backup", `{"in":"1h"}`, now.Add(time.Hour + time.Minute)},
		{"/backup", `{"expires":"1h"}`, now.Add(time.Hour)},
	} {
		a := h.post(t, test.path, test.body)
		a.want(t, http.StatusCreated)
		task := decode[tasker.Task](t, a.body)
		if (task.Expires == nil) != test.want.IsZero() || task.Expires != nil && !task.Expires.Equal(test.want) {
			t.Errorf("%s %s expires at %v, want %s", test.path, test.body, task.Expires, test.want)
		}
		h.get(t, test.path+"/"+task.Identifier).want(t, http.StatusOK)
	}
	h.get(t, "/v1/task-types").want(t, http.StatusOK)

	const invalid = `invalid expires: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", ` +
		`or a duration after the start, such as "1h" or a number of seconds, of at most 10 years`
	for body, want := range map[string]string{
		`"expires":"soon"`:                            invalid,
		`"expires":0`:                                 invalid,
		`"expires":-5`:                                invalid,
		`"expires":{}`:                                invalid,
		`"expires":"2015-05-06T01:30:00"`:             invalid,
		`"expires":"2015-05-06T01:14:24.103482Z"`:     "invalid expires: 2015-05-06T01:14:24.103482Z is not after the start of the task, 2015-05-06T01:14:24.103482Z",
		`"expires":"2015-05-06T01:30:00Z","in":"1h"`:  "invalid expires: 2015-05-06T01:30:00Z is not after the start of the task, 2015-05-06T02:14:24.103482Z",
		`"expires":"1999-05-06T01:30:00Z","in":"10h"`: "invalid expires: 1999-05-06T01:30:00Z is not after the start of the task, 2015-05-06T11:14:24.103482Z",
	} {
		a := h.post(t, "/worker", "{"+body+"}")
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); p.Detail != want || !slices.Equal(p.fields(), []string{"/expires"}) {
			t.Errorf("%s: %q of %q, want %q", body, p.Detail, p.fields(), want)
		}
	}
	// The same POST is the same task, also when it has expired.
	const body = `{"identifier":"a","expires":"2015-05-06T01:30:00Z"}`
	h.post(t, "/worker", body).want(t, http.StatusCreated)
	h.store.mu.Lock()
	h.store.now = h.store.now.Add(time.Hour)
	h.store.mu.Unlock()
	h.post(t, "/worker", body).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusConflict)
}

// The same POST again is the same task: it is not moved, even once its time has
// passed.
func TestCreateTaskLaterAgain(t *testing.T) {
	h := newHarness(t)
	for _, body := range []string{`{"identifier":"a","in":"5m"}`, `{"identifier":"b","start_time":"2015-05-06T01:30:00Z"}`} {
		first := h.created(t, body)
		h.store.mu.Lock()
		h.store.now = h.store.now.Add(time.Hour)
		h.store.mu.Unlock()
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusOK)
		if again := decode[tasker.Task](t, a.body); again.ID != first.ID || !again.StartTime.Equal(first.StartTime) {
			t.Errorf("%s: %+v", body, again)
		}
	}
	h.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusConflict)
	h.post(t, "/worker", `{"identifier":"a","in":"6m"}`).want(t, http.StatusConflict)
	h.post(t, "/worker", `{"identifier":"a","in":"300s"}`).want(t, http.StatusOK)
	h.post(t, "/worker", `{"identifier":"b","start_time":"2015-05-06T03:30:00+02:00"}`).want(t, http.StatusOK)
}

// Whom a task is for is chosen when it starts; until then it keeps what was asked for.
func TestCreateTaskLaterChoice(t *testing.T) {
	h := newHarness(t)
	h.addFleet()
	task := h.created(t, `{"in":"5m","select":"role=none","limit":"50%","seed":"s","expect":{"min":40}}`)
	if task.Endpoints != nil || task.Chosen != nil || task.Status != tasker.Scheduled || task.Limit != "50%" || task.Seed != "s" ||
		!slices.Equal(task.Select, []string{"role=none"}) || task.Expect == nil || *task.Expect.Min != 40 {
		t.Errorf("%+v", task)
	}
	if listed := h.created(t, `{"in":"5m","endpoints":["a"],"expect":{"max":1}}`); !slices.Equal(listed.Endpoints, []string{"a"}) ||
		listed.Expect != nil {
		t.Errorf("%+v", listed)
	}
	h.post(t, "/worker?dry_run=true", `{"in":"5m","select":"role=none"}`).want(t, http.StatusUnprocessableEntity)
	plan := h.plan(t, `{"in":"5m","select":"role=web"}`)
	if plan.Count != 2 || plan.StartTime == nil || !plan.StartTime.Equal(h.store.Now().Add(5*time.Minute)) {
		t.Errorf("plan %+v", plan)
	}
	if now := h.plan(t, `{"select":"role=web"}`); now.StartTime != nil || now.Plan != plan.Plan {
		t.Errorf("plan of now %+v", now)
	}
	planned := h.created(t, `{"in":"5m","select":"role=web","plan":"`+plan.Plan+`"}`)
	if planned.Plan != plan.Plan || planned.Endpoints != nil {
		t.Errorf("planned %+v", planned)
	}
	h.post(t, "/worker", `{"in":"5m","select":"role=db","plan":"`+plan.Plan+`"}`).want(t, http.StatusConflict)
}

func TestReschedule(t *testing.T) {
	h := newHarness(t)
	now := h.store.Now()
	h.created(t, `{"identifier":"a","in":"5m"}`)
	h.created(t, `{"identifier":"sent"}`)
	patch := func(identifier, body string) answer {
		return h.do(t, http.MethodPatch, "/worker/"+identifier, []byte(body), "Content-Type", "application/json")
	}
	for body, want := range map[string]time.Time{
		`{"in":"1h"}`:                             now.Add(time.Hour),
		`{"in":60}`:                               now.Add(time.Minute),
		`{"in":0}`:                                now,
		`{"start_time":"2015-05-07T00:00:00Z"}`:   time.Date(2015, 5, 7, 0, 0, 0, 0, time.UTC),
		`{"start_time":1430875800}`:               time.Unix(1430875800, 0),
		`{"start_time":"1999-01-01T00:00:00Z"}`:   now,
		`{"start_time":null,"in":"100h","in ":1}`: {},
	} {
		h.starter.expected = nil
		a := patch("a", body)
		if want.IsZero() {
			a.want(t, http.StatusUnprocessableEntity)
			continue
		}
		a.want(t, http.StatusOK)
		if task := decode[tasker.Task](t, a.body); !task.StartTime.Equal(want) || task.Status != tasker.Scheduled ||
			!slices.EqualFunc(h.starter.expected, []time.Time{want}, time.Time.Equal) {
			t.Errorf("%s: %+v, expected at %v", body, task, h.starter.expected)
		}
	}
	h.starter.expected = nil
	for body, field := range map[string]string{
		`{}`:                                    "/start_time",
		`{"in":null}`:                           "/start_time",
		`{"in":"x"}`:                            "/in",
		`{"in":"5m","start_time":0}`:            "/in",
		`{"in":"5m","in":"6m"}`:                 "/in",
		`{"start_time":"2035-05-07T00:00:00Z"}`: "/start_time",
		`{"in":"5m","payload":1}`:               "/payload",
	} {
		a := patch("a", body)
		a.want(t, http.StatusUnprocessableEntity)
		if p := a.problem(t); !slices.Equal(p.fields(), []string{field}) {
			t.Errorf("%s: %q of %q", body, p.Detail, p.fields())
		}
	}
	patch("a", `[]`).want(t, http.StatusUnprocessableEntity)
	patch("a", `{`).want(t, http.StatusBadRequest)
	patch("a", `{"in":"`+strings.Repeat("1", 5000)+`"}`).want(t, http.StatusRequestEntityTooLarge)
	patch("none", `{"in":1}`).want(t, http.StatusNotFound)
	patch("sent", `{"in":1}`).want(t, http.StatusConflict)
	h.do(t, http.MethodPatch, "/worker/a", []byte(`{"in":1}`)).want(t, http.StatusUnsupportedMediaType)
	if h.starter.expected != nil {
		t.Errorf("expected at %v", h.starter.expected)
	}
}

// The client's form of all of this.
func TestClientLater(t *testing.T) {
	h := newHarness(t)
	c, err := client.New(h.http.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	at := h.store.Now().Add(time.Hour)
	task, created, err := c.CreateTask(t.Context(), "worker", client.NewTask{Identifier: "a", StartTime: &at})
	if err != nil || !created || task.Status != tasker.Scheduled || !task.StartTime.Equal(at) {
		t.Fatalf("created %+v, %t, %v", task, created, err)
	}
	task, err = c.Reschedule(t.Context(), "worker", "a", client.Reschedule{In: "1m"})
	if err != nil || !task.StartTime.Equal(h.store.Now().Add(time.Minute)) {
		t.Errorf("rescheduled %+v, %v", task, err)
	}
	if _, err := c.Reschedule(t.Context(), "worker", "b", client.Reschedule{In: "1m"}); tasker.CodeOf(err) != tasker.NotFound {
		t.Errorf("of no task: %v", err)
	}
	if _, err := c.Reschedule(t.Context(), "worker", "../b", client.Reschedule{}); tasker.CodeOf(err) != tasker.Invalid {
		t.Errorf("of a bad name: %v", err)
	}
}
