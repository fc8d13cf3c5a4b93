package web_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/nodeset"
	"github.com/taskerhq/tasker/web"
)

// fakeAPI answers with what a test gives it, by path.
type fakeAPI struct {
	answers map[string]any
	asked   []string
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked = append(f.asked, r.URL.Path)
	v, ok := f.answers[r.URL.Path]
	if log, is := v.(client.LogAnswer); is && r.URL.Query().Get("offset") == fmt.Sprint(log.Next) {
		v = client.LogAnswer{Attempt: log.Attempt, Lines: []tasker.LogLine{}, Next: log.Next} // the end
	}
	if !ok {
		v = &client.Problem{Status: http.StatusNotFound, Code: tasker.NotFound, Detail: "not found: " + r.URL.Path}
	}
	w.Header().Set("Content-Type", "application/json")
	if p, ok := v.(*client.Problem); ok {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
	}
	_ = json.NewEncoder(w).Encode(v)
}

// page asks the dashboard over a fake API for a page.
func page(t testing.TB, api http.Handler, path string, headers ...string) answer {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	web.Handler(web.Options{API: api, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}).ServeHTTP(w, r)
	a := answer{w.Code, w.Header(), w.Body.String(), r.URL}
	if strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		checkPage(t, a)
	}
	return a
}

var day = time.Date(2026, 5, 6, 1, 14, 24, 0, time.UTC)

// view is a task of the fake API.
func view(status tasker.TaskStatus) client.TaskView {
	return client.TaskView{ID: 7, Type: "worker", Identifier: "w1", Status: status, StartTime: day, LastModifiedTime: day.Add(time.Minute)}
}

// large is a task for 10,000 endpoints with as many outcomes, and as long messages, as
// the API ever answers.
func large() *fakeAPI {
	g := client.TaskGroups{Task: view(tasker.Incomplete), Expected: 10_000, Received: 9_000}
	names := func(from, n int) client.EndpointSet {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("web%05d.rack%d.example", from+i, (from+i)%7)
		}
		return client.EndpointSet{Count: n, Names: nodeset.Fold(list)}
	}
	message := strings.Repeat("no space left on device: ", 160)
	for i := range 1000 {
		g.Groups = append(g.Groups, client.ResultGroup{
			State: tasker.ResultFailed, Errnr: i + 1, Errmsg: &message, Endpoint: fmt.Sprintf("web%05d.rack%d.example", i*8, i*8%7), EndpointSet: names(i*8, 8),
		})
	}
	g.Other = []client.OtherResults{{State: tasker.ResultDone, EndpointSet: names(8000, 1000)}}
	g.Missing = names(9000, 1000)
	for i := range 10_000 {
		g.Task.Endpoints = append(g.Task.Endpoints, fmt.Sprintf("web%05d.rack%d.example", i, i%7))
	}
	g.Task.Unserved, g.Task.RemovedEndpoints = g.Task.Endpoints[9000:], g.Task.Endpoints[:500]
	payload := json.RawMessage(`"` + strings.Repeat("<x>", 3<<20) + `"`)
	return &fakeAPI{answers: map[string]any{
		"/worker/w1/groups": g,
		"/worker":           client.TaskPage[tasker.Task]{Tasks: []tasker.Task{{ID: 7, Type: "worker", Identifier: "w1", Payload: payload}}},
	}}
}

func TestPageOfTenThousandEndpoints(t *testing.T) {
	t.Parallel()
	api := large()
	a := page(t, api, "/tasks/worker/w1")
	if a.status != http.StatusOK || len(a.body) >= 100_000 {
		t.Errorf("status %d, %d bytes of HTML", a.status, len(a.body))
	}
	t.Logf("%d bytes of HTML, %d requests", len(a.body), len(api.asked))
	if len(api.asked) > 2 {
		t.Errorf("the page asks %v", api.asked)
	}
	for _, text := range []string{"8,000 failed, 1,000 missing, 1,000 done of 10,000", "981 further outcomes", "of which this is the beginning"} {
		if !strings.Contains(a.body, text) {
			t.Errorf("the page does not contain %q:\n%s", text, clip(a.body))
		}
	}
	a = page(t, api, "/tasks/worker/w1/grid")
	var grid struct {
		Names  []string
		States string
	}
	if err := json.Unmarshal([]byte(a.body), &grid); err != nil {
		t.Fatal(err)
	}
	if len(grid.Names) != 10_000 || !slices.IsSorted(grid.Names) ||
		grid.States != strings.Repeat("f", 8000)+strings.Repeat("d", 1000)+strings.Repeat("m", 1000) {
		t.Errorf("%d names, states %s", len(grid.Names), clip(grid.States))
	}
	tag := a.header.Get("ETag")
	if b := page(t, api, "/tasks/worker/w1/grid", "If-None-Match", tag); b.status != http.StatusNotModified || b.body != "" || tag == "" {
		t.Errorf("the same grid again: %d, tag %s", b.status, tag)
	}
}

// A rollout with a wave for each of 10,000 endpoints, 1,000 of which are bad.
func TestPageOfTenThousandWaves(t *testing.T) {
	t.Parallel()
	api := large()
	groups := api.answers["/worker/w1/groups"].(client.TaskGroups)
	rollout := tasker.Rollout{State: "HALTED", Wave: 5000, Endpoints: 10_000, HaltsAt: 1000, Reason: "bad endpoints: 1000 of 10000; the rollout halts at 1000"}
	progress := tasker.RolloutProgress{Total: tasker.RolloutCounts{Done: 4000, Bad: 1000, Unopened: 5000}}
	groups.Task.Rollout = &tasker.Rollout{State: rollout.State, Wave: rollout.Wave}
	for i := range 10_000 {
		rollout.Waves = append(rollout.Waves, tasker.RolloutWave{N: i + 1, Size: 1, Until: i + 1, HaltsAt: 1})
		progress.Waves = append(progress.Waves, tasker.WaveProgress{N: i + 1, State: tasker.WaveEnded, RolloutCounts: tasker.RolloutCounts{Done: 1}})
	}
	rollout.Bad = groups.Task.Endpoints[8990:9990] // all but ten of them have not received it
	rollout.Forgiven, rollout.Skipped = groups.Task.Endpoints[:1000], groups.Task.Endpoints[1000:2000]
	api.answers["/worker/w1/groups"] = groups
	api.answers["/worker/w1/rollout"] = client.RolloutAnswer{Rollout: rollout, RolloutProgress: progress}
	a := page(t, api, "/tasks/worker/w1")
	if a.status != http.StatusOK || len(a.body) >= 100_000 || len(api.asked) > 3 {
		t.Errorf("status %d, %d bytes of HTML, asked %v", a.status, len(a.body), api.asked)
	}
	t.Logf("%d bytes of HTML, %d requests", len(a.body), len(api.asked))
	for _, text := range []string{
		"1,000 bad endpoints: ", "and 980 others", "9,980 waves before and after these", `<th scope="row">5001</th>`, "Resume, and forgive 1,000 endpoints",
		"the rollout halts at 1000", `<a href="tasks/worker/w1/results/web08999.rack4.example">web08999.rack4.example</a>, web09000.rack5.example (has not`,
	} {
		if !strings.Contains(a.body, text) {
			t.Errorf("the page does not contain %q:\n%s", text, clip(a.body))
		}
	}
}

// A rollout ends a moment after its task, whose stream has ended by then: the page asks until
// it has.
func TestRolloutThatFollowsItsTask(t *testing.T) {
	t.Parallel()
	for state, follows := range map[string]bool{"RUNNING": true, "DONE": false} {
		task := view(tasker.Done)
		task.Rollout = &tasker.Rollout{State: state, Wave: 1}
		a := page(t, &fakeAPI{answers: map[string]any{
			"/worker/w1/groups":  client.TaskGroups{Task: task, Expected: 1, Received: 1},
			"/worker":            client.TaskPage[tasker.Task]{Tasks: []tasker.Task{{ID: 7}}},
			"/worker/w1/rollout": client.RolloutAnswer{Rollout: *task.Rollout},
		}}, "/tasks/worker/w1")
		if got := strings.Contains(a.body, `data-events="tasks/`) && strings.Contains(a.body, " data-poll"); got != follows || a.status != http.StatusOK {
			t.Errorf("%s: status %d, followed: %t", state, a.status, got)
		}
		if strings.Contains(a.body, "Promote") {
			t.Errorf("%s: the rollout of a task that has ended can be promoted", state)
		}
	}
}

// hostile is what a stranger can put into any text.
const hostile = "\x1b]0;PWNED\x07\u009b2J\x7f\u202e</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{.}} \xff end"

func TestHostileTexts(t *testing.T) {
	t.Parallel()
	text := strings.ToValidUTF8(hostile, "?")
	task := view(tasker.Canceled)
	task.Labels = map[string]string{text: text, "note": "a b"}
	task.Errmsg, task.Select, task.Cancel = text, []string{text}, &tasker.Cancellation{By: text, Reason: text}
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := tasker.Endpoint{
		Name: "web01", TaskTypes: []string{"worker"}, Labels: map[string]string{text: text}, Manager: text, Host: text, Version: text,
	}
	info := client.TaskTypeInfo{Name: "worker", Handler: text, Description: text, Usage: text, Schema: quoted, Example: quoted, Labels: map[string]string{"a": text}}
	result := tasker.TaskResult{
		ID: 1, TaskID: 7, Endpoint: "web01", State: tasker.ResultFailed, Attempt: 1, Errnr: 2, Errmsg: text, Payload: quoted,
		Progress: &tasker.Progress{Message: text},
	}
	halted := view(tasker.Sent)
	halted.Rollout = &tasker.Rollout{State: "HALTED", Reason: text, By: text, Endpoints: 1, Forgiven: []string{text}, Skipped: []string{text}, Bad: []string{text}}
	schedule := tasker.Schedule{Name: "s1", Definition: tasker.ScheduleDefinition{Cron: text, TimeZone: text, Task: quoted, CatchUp: text, Jitter: text}}
	schedule.Pause, schedule.ChangedBy = &tasker.SchedulePause{By: text, Reason: text}, text
	slots := []tasker.ScheduleSlot{{Outcome: tasker.SlotMissed, Reason: text, By: text, Type: "worker", Identifier: "w1"}}
	letter := client.DeadLetter{ID: 3, Reason: text, Queue: text, MessageID: text, Body: &text}
	api := &fakeAPI{answers: map[string]any{
		"/v1/tasks":              client.TaskPage[client.TaskView]{Tasks: []client.TaskView{task}},
		"/v1/rollouts":           client.TaskPage[client.TaskView]{Tasks: []client.TaskView{halted}},
		"/worker/w2/groups":      client.TaskGroups{Task: halted, Expected: 1},
		"/worker/w1/rollout":     client.RolloutAnswer{Rollout: *halted.Rollout, RolloutProgress: tasker.RolloutProgress{Total: tasker.RolloutCounts{Bad: 1}}},
		"/v1/schedules":          client.SchedulePage{Schedules: []tasker.Schedule{schedule}},
		"/v1/schedules/s1":       client.ScheduleAnswer{Schedule: schedule, Slots: slots, Upcoming: []tasker.UpcomingSlot{{ClockChange: text}}},
		"/v1/schedules/s1/slots": client.SlotPage{Slots: slots},
		"/v1/endpoints":          client.EndpointPage{Endpoints: []tasker.Endpoint{endpoint}},
		"/v1/task-types":         client.TaskTypeList{TaskTypes: []client.TaskTypeInfo{info}},
		"/v1/task-types/worker":  client.TaskTypeAnswer{TaskTypeInfo: info},
		"/v1/dead-letters":       client.DeadLetterPage{DeadLetters: []client.DeadLetter{letter}},
		"/v1/dead-letters/3":     letter,
		"/healthz":               client.Health{Status: text, Version: text},
		"/readyz":                client.Readiness{Checks: client.Checks{Database: client.Check{Error: text}}},
		"/worker":                client.TaskPage[tasker.Task]{Tasks: []tasker.Task{{ID: 7, Payload: quoted}}},
		"/worker/w1/summary":     client.TaskSummary{Task: task},
		"/worker/w1/groups": client.TaskGroups{
			Task: task, Expected: 1, Received: 1,
			Groups: []client.ResultGroup{{State: tasker.ResultFailed, Errmsg: &text, Endpoint: "web01", EndpointSet: client.EndpointSet{Count: 1, Names: []string{text}}}},
		},
		"/worker/w1/results":       client.ResultPage{Results: []tasker.TaskResult{result}},
		"/worker/w1/results/web01": client.ResultAnswer{Result: result, Attempts: []tasker.Attempt{{Attempt: 1, State: tasker.ResultFailed, Errmsg: text, Log: tasker.LogTotals{Lines: 1}}}},
		"/worker/w1/results/web01/log": client.LogAnswer{Attempt: 1, Next: 3, Lines: []tasker.LogLine{
			{Text: text, Level: text, Stream: text}, {Text: strings.Repeat(text, 100), Size: 9999}, {LeftOut: 5},
		}},
		"/v1/task-types/evil": &client.Problem{Status: http.StatusBadRequest, Code: tasker.Malformed, Detail: text, Errors: []client.FieldError{{Field: text, Message: text}, {Field: text, Message: text}}},
	}}
	for _, path := range []string{
		"/", "/tasks", "/tasks?q=" + url.QueryEscape(hostile), "/tasks?q=id:a&cursor=" + url.QueryEscape(hostile), "/tasks/worker/w1", "/tasks/worker/w2", "/rollouts", "/schedules", "/schedules/s1",
		"/tasks/worker/w1/results", "/tasks/worker/w1/results?state=" + url.QueryEscape(hostile), "/tasks/worker/w1/results/web01",
		"/tasks/worker/w1/compare?a=web01&b=web01", "/tasks/worker/w1/compare?a=web01&b=" + url.QueryEscape(hostile),
		"/endpoints", "/endpoints?select=" + url.QueryEscape(hostile), "/endpoints/web01", "/types", "/types/worker", "/dead-letters", "/dead-letters/3",
		"/system", "/login?next=" + url.QueryEscape(hostile), "/nosuch?" + url.QueryEscape(hostile), "/types/evil",
	} {
		a := page(t, api, path) // checks for inline scripts, handlers of events and control characters
		if strings.Contains(a.body, "<script>") || strings.Contains(a.body, "<img") {
			t.Errorf("%s: %s", path, a.body)
		}
		if a.status == http.StatusInternalServerError {
			t.Errorf("%s: status %d", path, a.status)
		}
	}
	if a := page(t, api, "/tasks/worker/w1"); !strings.Contains(a.body, `\u001b]0;PWNED`) {
		t.Errorf("control characters are not visible: %s", a.body)
	}
	log := page(t, api, "/tasks/worker/w1/results/web01/log")
	if !strings.HasPrefix(log.header.Get("Content-Disposition"), "attachment") || strings.Contains(log.body, "\x1b") {
		t.Errorf("%v %q", log.header, log.body)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		problem client.Problem
		text    string
	}{
		"database away": {client.Problem{Status: 503, Code: tasker.Unavailable, Detail: "database unreachable", RequestID: "r1"}, "reload this page"},
		"overloaded":    {client.Problem{Status: 503, Code: tasker.Overloaded, Detail: "too many requests at once"}, "reload this page"},
		"internal":      {client.Problem{Status: 500, Code: tasker.Internal, Detail: "internal error: see the log"}, "internal error"},
		"newer code":    {client.Problem{Status: 429, Code: "slow_down", Detail: "slow down"}, "slow down"},
	} {
		t.Run(name, func(t *testing.T) {
			api := &fakeAPI{answers: map[string]any{"/v1/tasks": &c.problem}}
			a := page(t, api, "/")
			if a.status != c.problem.Status || !strings.Contains(a.body, c.problem.Detail) || !strings.Contains(a.body, c.text) {
				t.Errorf("status %d\n%s", a.status, a.body)
			}
			if len(api.asked) != 1 {
				t.Errorf("a person waits for %v", api.asked)
			}
		})
	}
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>proxy</html>")) })
	if a := page(t, broken, "/"); a.status != http.StatusInternalServerError || strings.Contains(a.body, "proxy") {
		t.Errorf("an answer that is no JSON: %d %s", a.status, a.body)
	}
	aborted := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if a := page(t, aborted, "/"); a.status != http.StatusServiceUnavailable {
		t.Errorf("an answer that was aborted: %d %s", a.status, a.body)
	}
}

// The dashboard works under any path: the browser resolves all links itself.
func TestPrefix(t *testing.T) {
	t.Parallel()
	pages := http.StripPrefix("/a/b", web.Handler(web.Options{API: large(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}))
	for _, path := range []string{"/a/b/tasks/worker/w1", "/a/b/login?next=tasks:x", "/a/b/tasks?q=type:worker"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
		pages.ServeHTTP(w, r)
		b := &browser{t: t, base: "http://localhost/a/b/"}
		links := b.links(answer{w.Code, w.Header(), w.Body.String(), r.URL})
		for _, page := range []string{"", "tasks", "types", strings.TrimPrefix(path, "/a/b/")} {
			if !slices.Contains(links, page) {
				t.Errorf("%s has no link to %q: %q", path, page, links)
			}
		}
	}
}
