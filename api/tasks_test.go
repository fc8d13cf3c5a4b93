package api_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
)

const (
	identifier = "e7bd91d0-16ad-11e2-892e-0800200c9a66"
	newTask    = `{"identifier":"e7bd91d0-16ad-11e2-892e-0800200c9a66","payload":{"foo":"bar"},"endpoints":["console1","console2"]}`
)

type task struct {
	ID         int64
	Identifier string
	Status     string
	Payload    any
	Endpoints  []string
}

type taskAnswer struct {
	Task    task
	Results []struct {
		Endpoint string
		Status   int
		State    string
		Errmsg   *string
	} `json:"taskResponseList"`
	Summary tasker.Summary
}

func TestCreateTask(t *testing.T) {
	h := newHarness(t)
	a := h.post(t, "/worker", newTask)
	a.want(t, http.StatusCreated)
	if got := a.header.Get("Location"); got != "/worker/"+identifier {
		t.Errorf("Location %q", got)
	}
	want := `{"id":1,"identifier":"e7bd91d0-16ad-11e2-892e-0800200c9a66","type":"worker","status":"SENT","payload":{"foo":"bar"},"endpoints":["console1","console2"],"start_time":"2015-05-06T01:14:24.103482Z","sent_time":"2015-05-06T01:14:24.103482Z","last_modified_time":"2015-05-06T01:14:24.103482Z"}` + "\n"
	if diff := cmp.Diff(want, string(a.body)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestCreateTaskKeepsThePayload(t *testing.T) {
	h := newHarness(t)
	const payload = `{ "html":"<b>&amp;</b>",  "z":1.00, "a":[ 1e2 ] }`
	h.post(t, "/worker", `{"identifier":"a","payload":`+payload+`}`).want(t, http.StatusCreated)
	if got := string(h.store.tasks[0].Payload); got != payload {
		t.Errorf("stored %s", got)
	}
	if a := h.get(t, "/worker/a"); !bytes.Contains(a.body, []byte(`{"html":"<b>&amp;</b>","z":1.00,"a":[1e2]}`)) {
		t.Errorf("answered %s", a.body)
	}
}

// A task without an identifier gets one, which the response has.
func TestCreateTaskWithoutIdentifier(t *testing.T) {
	h := newHarness(t)
	seen := map[string]bool{}
	for _, body := range []string{`{}`, `{"identifier":null,"endpoints":[]}`} {
		a := h.post(t, "/worker", body)
		a.want(t, http.StatusCreated)
		got := decode[task](t, a.body)
		if _, err := ulid.ParseStrict(got.Identifier); err != nil || seen[got.Identifier] {
			t.Errorf("the identifier is %q: %v", got.Identifier, err)
		}
		seen[got.Identifier] = true
		if a.header.Get("Location") != "/worker/"+got.Identifier || !bytes.Contains(a.body, []byte(`"endpoints":null`)) {
			t.Errorf("%s %s", a.header.Get("Location"), a.body)
		}
	}
}

// The id of a task leads to the task.
func TestTaskOfAnID(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", `{"identifier":"a"}`).want(t, http.StatusCreated)
	a := h.get(t, "/v1/tasks/1")
	a.want(t, http.StatusTemporaryRedirect)
	if a.header.Get("Location") != "/worker/a" {
		t.Errorf("it leads to %q", a.header.Get("Location"))
	}
	for _, id := range []string{"2", "0", "01", "x", "99999999999999999999"} {
		h.get(t, "/v1/tasks/"+id).want(t, http.StatusNotFound)
	}
	h.get(t, "/v1/tasks/1?x=1").want(t, http.StatusUnprocessableEntity)
	h.get(t, "/v1/tasks/1?%zz").want(t, http.StatusBadRequest)
}

func TestCreateTaskAgain(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	a := h.post(t, "/worker", newTask)
	a.want(t, http.StatusOK)
	if got := decode[task](t, a.body); got.ID != 1 || got.Status != "SENT" {
		t.Errorf("the second POST returned %+v", got)
	}
	b := h.post(t, "/worker", `{"identifier":"`+identifier+`"}`)
	b.want(t, http.StatusConflict)
	if p := b.problem(t); p.Code != "conflict" {
		t.Errorf("code %q", p.Code)
	}
	h.post(t, "/backup", newTask).want(t, http.StatusCreated) // identifiers are unique within their type
}

func TestCreateTaskWithoutBroker(t *testing.T) {
	h := newHarness(t)
	h.dispatcher.err = errors.New("no broker")
	a := h.post(t, "/worker", newTask)
	a.want(t, http.StatusCreated)
	if got := decode[task](t, a.body); got.Status != "CREATED" {
		t.Errorf("status %s", got.Status)
	}
	if a.header.Get("Location") == "" {
		t.Error("no Location")
	}
	h.dispatcher.forgets = true
	if got := decode[task](t, h.post(t, "/backup", newTask).body); got.ID != 2 || got.Status != "CREATED" {
		t.Errorf("with a dispatcher that forgets, got %+v", got)
	}
	lines := h.log.lines(t, "task stored but not sent: the relay will send it")
	if len(lines) != 2 || lines[0]["level"] != "WARN" || lines[0]["err"] != "no broker" {
		t.Errorf("logged %v", lines)
	}
}

func TestCreateTaskWithoutDatabase(t *testing.T) {
	h := newHarness(t)
	h.dispatcher.entered = make(chan struct{}) // a dispatch would hang the test
	h.store.setError(tasker.WrapError(tasker.Unavailable, errors.New("dial tcp 10.0.0.1: refused"), "the database cannot be reached"))
	a := h.post(t, "/worker", newTask)
	a.want(t, http.StatusServiceUnavailable)
	if p := a.problem(t); p.Detail != "the database cannot be reached" || p.Code != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%v %s", a.header, a.body)
	}
	h.store.setError(nil)
	h.dispatcher.entered = nil
	h.post(t, "/worker", newTask).want(t, http.StatusCreated) // it comes back by itself
}

// A client that hangs up does not stop the dispatch of its task.
func TestCreateTaskSurvivesItsClient(t *testing.T) {
	h := newHarness(t)
	h.dispatcher.entered, h.dispatcher.release = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.http.URL+"/worker", strings.NewReader(newTask))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answered := make(chan error, 1)
	go func() {
		resp, err := h.http.Client().Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		answered <- err
	}()
	<-h.dispatcher.entered
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client got %v", err)
	}
	h.dispatcher.release <- struct{}{}
	h.http.Close() // waits for the handler
	if h.store.tasks[0].Status != tasker.Sent {
		t.Errorf("the task is %s", h.store.tasks[0].Status)
	}
}

func TestBadInput(t *testing.T) {
	h := newHarness(t)
	const ct = "application/json"
	for name, tc := range map[string]struct {
		path, body string
		headers    []string
		status     int
		code       string
		fields     []string
	}{
		"unknown type":          {"/nosuch", newTask, []string{"Content-Type", ct}, 404, "not_found", nil},
		"no content type":       {"/worker", newTask, nil, 415, "unsupported_type", nil},
		"form":                  {"/worker", newTask, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_type", nil},
		"text":                  {"/worker", newTask, []string{"Content-Type", "text/plain"}, 415, "unsupported_type", nil},
		"bad content type":      {"/worker", newTask, []string{"Content-Type", "application/json; charset"}, 415, "unsupported_type", nil},
		"other charset":         {"/worker", newTask, []string{"Content-Type", "application/json; charset=latin1"}, 415, "unsupported_type", nil},
		"two content types":     {"/worker", newTask, []string{"Content-Type", ct, "Content-Type", "text/plain"}, 415, "unsupported_type", nil},
		"compressed":            {"/worker", newTask, []string{"Content-Type", ct, "Content-Encoding", "gzip"}, 415, "unsupported_type", nil},
		"empty":                 {"/worker", "", []string{"Content-Type", ct}, 400, "malformed", nil},
		"not JSON":              {"/worker", "{", []string{"Content-Type", ct}, 400, "malformed", nil},
		"too large":             {"/worker", strings.Repeat(" ", 5000), []string{"Content-Type", ct}, 413, "too_large", nil},
		"all the broken rules":  {"/worker", `{"prio":1,"endpoints":["a","a"]}`, []string{"Content-Type", ct}, 422, "invalid", []string{"/prio", "/endpoints/1"}},
		"query":                 {"/worker?dry=1", newTask, []string{"Content-Type", ct}, 422, "invalid", []string{"?dry"}},
		"query not percent":     {"/worker?a=%zz", newTask, []string{"Content-Type", ct}, 400, "malformed", nil},
		"post to an identifier": {"/worker/a", newTask, []string{"Content-Type", ct}, 405, "method_not_allowed", nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.do(t, http.MethodPost, tc.path, []byte(tc.body), tc.headers...)
			a.want(t, tc.status)
			p := a.problem(t)
			if p.Code != tc.code || !slices.Equal(p.fields(), tc.fields) {
				t.Errorf("code %q, fields %q, want %q, %q", p.Code, p.fields(), tc.code, tc.fields)
			}
		})
	}
	if n := h.store.called("CreateTask"); n != 0 {
		t.Errorf("%d tasks were stored", n)
	}
	for _, header := range []string{"application/json; charset=utf-8", "Application/JSON;charset=UTF-8", `application/json; charset="utf-8"`} {
		a := h.do(t, http.MethodPost, "/worker", []byte(newTask), "Content-Type", header, "Content-Encoding", "identity")
		if a.status >= 300 {
			t.Errorf("Content-Type: %s: %d\n%s", header, a.status, a.body)
		}
	}
}

// A body without a length is bounded too.
func TestTooLargeWithoutLength(t *testing.T) {
	h := newHarness(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.http.URL+"/worker",
		struct{ *strings.Reader }{strings.NewReader(strings.Repeat(" ", 5000))})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %s", resp.Status)
	}
}

func TestGetTask(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask)
	get := func(status string, summary tasker.Summary) {
		t.Helper()
		a := h.get(t, "/worker/"+identifier)
		a.want(t, http.StatusOK)
		got := decode[taskAnswer](t, a.body)
		if got.Task.Status != status {
			t.Errorf("status %s, want %s", got.Task.Status, status)
		}
		if diff := cmp.Diff(summary, got.Summary); diff != "" {
			t.Errorf("summary (-want +got):\n%s", diff)
		}
	}
	result := func(id int64, endpoint string, state tasker.ResultState) tasker.TaskResult {
		return tasker.TaskResult{ID: id, TaskID: 1, Endpoint: endpoint, State: state, Attempt: 1, StartTime: h.store.now, LastModifiedTime: h.store.now}
	}
	both := []string{"console1", "console2"}
	get("SENT", tasker.Summary{Expected: 2, Missing: both})
	if !bytes.Contains(h.get(t, "/worker/"+identifier).body, []byte(`"taskResponseList":[],`)) {
		t.Error("no results are not an empty list")
	}
	h.store.results = []tasker.TaskResult{result(1, "console1", tasker.ResultDone)}
	get("SENT", tasker.Summary{Expected: 2, Received: 1, Finished: 1, Missing: both[1:]})
	h.store.now = h.store.now.Add(60*time.Second - time.Microsecond) // not yet over
	get("SENT", tasker.Summary{Expected: 2, Received: 1, Finished: 1, Missing: both[1:]})
	if n := h.store.called("Aggregate"); n != 0 {
		t.Errorf("%d aggregations without a change", n)
	}
	h.store.now = h.store.now.Add(time.Microsecond)
	get("INCOMPLETE", tasker.Summary{Expected: 2, Received: 1, Finished: 1, Missing: both[1:]})
	if h.store.tasks[0].Status != tasker.Incomplete {
		t.Errorf("the status was not stored: %s", h.store.tasks[0].Status)
	}
	h.store.results = append(h.store.results, result(2, "console2", tasker.Running))
	get("INCOMPLETE", tasker.Summary{Expected: 2, Received: 2, Finished: 1, Missing: []string{}})
	h.store.results[1].State, h.store.results[1].Errnr, h.store.results[1].Errmsg = tasker.ResultFailed, 32, "could not backup!"
	get("FAILED", tasker.Summary{Expected: 2, Received: 2, Finished: 2, Failed: 1, Missing: []string{}})
}

// TestGetUnserved names the endpoints that had no queue and have not received
// the task since: of one that has, as of one that ended it, GET says the result.
func TestGetUnserved(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask)
	h.store.tasks[0].Unserved = []string{"console1", "console2"}
	get := func(status string, want ...string) {
		t.Helper()
		a := h.get(t, "/worker/"+identifier)
		a.want(t, http.StatusOK)
		got := decode[struct {
			Task struct {
				Status   string
				Unserved []string
			}
		}](t, a.body).Task
		if got.Status != status || !slices.Equal(got.Unserved, want) {
			t.Errorf("the task is %s, unserved %q, want %s and %q", got.Status, got.Unserved, status, want)
		}
	}
	get("SENT", "console1", "console2")
	result := tasker.TaskResult{ID: 1, TaskID: 1, Endpoint: "console1", State: tasker.Running, Attempt: 1, StartTime: h.store.now, LastModifiedTime: h.store.now}
	h.store.results = []tasker.TaskResult{result}
	get("SENT", "console2")
	h.store.results[0].State = tasker.ResultDone
	result.ID, result.Endpoint, result.State = 2, "console2", tasker.ResultDone
	h.store.results = append(h.store.results, result)
	get("DONE")
	if bytes.Contains(h.get(t, "/worker/"+identifier).body, []byte("unserved")) {
		t.Error("a task of which nobody is unserved names unserved")
	}
}

// The response is correct even if the computed status cannot be stored.
// A status that could not be stored is told where the rows do not leave it:
// a task does not go back.
func TestGetTaskWithoutAggregation(t *testing.T) {
	h := newHarness(t)
	h.post(t, "/worker", newTask)
	h.store.aggregate = tasker.Errorf(tasker.Unavailable, "gone")
	row := func(id int64, endpoint string, state tasker.ResultState) tasker.TaskResult {
		return tasker.TaskResult{ID: id, TaskID: 1, Endpoint: endpoint, State: state, Attempt: 1, StartTime: h.store.now, LastModifiedTime: h.store.now}
	}
	for name, test := range map[string]struct {
		one, two tasker.ResultState
		later    time.Duration
		want     tasker.TaskStatus
	}{
		"lost":      {tasker.Lost, tasker.Running, 0, tasker.Sent},
		"done":      {tasker.ResultDone, tasker.ResultDone, 0, tasker.Done},
		"failed":    {tasker.ResultDone, tasker.TimedOut, 0, tasker.Failed},
		"overdue":   {tasker.ResultDone, "", 2 * time.Minute, tasker.Sent},
		"under way": {tasker.ResultDone, tasker.Running, 0, tasker.Sent},
	} {
		h.store.now = h.store.now.Add(test.later)
		h.store.results = []tasker.TaskResult{row(1, "console1", test.one)}
		if test.two != "" {
			h.store.results = append(h.store.results, row(2, "console2", test.two))
		}
		a := h.get(t, "/worker/"+identifier)
		a.want(t, http.StatusOK)
		if got := decode[taskAnswer](t, a.body); got.Task.Status != string(test.want) {
			t.Errorf("%s: status %s, want %s", name, got.Task.Status, test.want)
		}
		if h.store.tasks[0].Status != tasker.Sent {
			t.Error("the fake stored it all the same")
		}
	}
}

func TestGetUnknownTask(t *testing.T) {
	h := newHarness(t)
	for path, text := range map[string]string{
		"/worker/nosuch":                       "nosuch",
		"/worker/-bad":                         "-bad",
		"/worker/" + strings.Repeat("x", 1000): "xxx...",
		"/nosuch/a":                            "/v1/task-types lists them",
		"/nosuch":                              "/v1/task-types lists them",
	} {
		a := h.get(t, path)
		a.want(t, http.StatusNotFound)
		if p := a.problem(t); !strings.Contains(p.Detail, text) {
			t.Errorf("%s: %q does not contain %q", path, p.Detail, text)
		}
	}
}
