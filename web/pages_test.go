package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// run creates a task, and waits for its end.
func (b *browser) run(taskType, identifier string, payload any, end tasker.TaskStatus) {
	b.t.Helper()
	if _, _, err := b.api.CreateTask(b.t.Context(), taskType, client.NewTask{Identifier: identifier, Payload: payload}); err != nil {
		b.t.Fatal(err)
	}
	if end != "" {
		b.until(taskType, identifier, end)
	}
}

// Every page that any page links to exists, and is as pages have to be.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("worker", "w1", map[string]string{"foo": "bar"}, tasker.Done)
	b.run("backup", "b1", nil, tasker.Failed)
	b.run("sleep", "s1", map[string]float64{"seconds": 3600}, "")
	b.roll("backup", "b2", client.NewRollout{Batch: 1}, "HALTED")
	b.schedule("nightly", client.NewSchedule{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"})
	_, _, err := b.api.CreateTask(t.Context(), "worker", client.NewTask{Identifier: "labeled", Labels: map[string]string{"ticket": "CHG 7"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.api.TriggerSchedule(t.Context(), "nightly", tasker.ScheduleExpect{}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"": true}
	for queue := []string{""}; len(queue) > 0; queue = queue[1:] {
		a := b.get(queue[0])
		if a.status == http.StatusSeeOther { // a comparison that names nobody yet
			a = b.follow(a)
		}
		b.want(a, http.StatusOK)
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue
		}
		for _, page := range b.links(a) {
			if !seen[page] {
				seen[page] = true
				queue = append(queue, page)
			}
		}
	}
	for _, page := range []string{
		"tasks", "rollouts", "rollouts?waiting=true", "tasks/backup/b2", "tasks/worker/w1", "tasks/worker/w1/results", "tasks/worker/w1/results/console1", "tasks/worker/w1/payload",
		"tasks/worker/w1/results/console1/payload", "tasks/worker/w1/compare?a=console1", "tasks/backup/b1", "endpoints", "endpoints/console2", "types", "types/sleep", "schedules", "schedules/nightly", "dead-letters", "system",
	} {
		if !seen[page] {
			t.Errorf("no page links to %s", page)
		}
	}
}

func TestPagesTell(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.want(b.get(""), http.StatusOK, "Nothing needs a person", "choose a type and run one")
	b.run("worker", "w1", map[string]string{"foo": "bar"}, tasker.Done)
	b.run("backup", "b1", nil, tasker.Failed)
	for page, texts := range map[string][]string{
		"":                                   {"Failed in the last 24 hours", "backup/b1", "2 failed of 2", "worker/w1", "all 2 done"},
		"tasks":                              {"worker/w1", "backup/b1"},
		"tasks?q=status:failed":              {"backup/b1", "2 failed of 2"},
		"tasks?q=type:worker+w":              {"worker/w1"},
		"tasks?q=nosuch":                     {"No task matches"},
		"tasks/worker/w1":                    {"all 2 done", "console[1-2]", "&#34;foo&#34;: &#34;bar&#34;", "curl http://127.0.0.1:", "tasker show worker/w1"},
		"tasks/backup/b1":                    {"2 failed of 2", "could not backup!", "32"},
		"tasks/backup/b1/results":            {"console1", "console2", "could not backup!"},
		"tasks/backup/b1/results?state=DONE": {"No result is DONE"},
		"tasks/worker/w1/missing":            {"None: every expected endpoint"},
		"tasks/worker/w1/results/console1":   {"Attempts", "yippie"},
		"endpoints":                          {"console1", "console2", "alive"},
		"endpoints?select=name%3Dconsole1":   {"console1"},
		"endpoints/console1":                 {"worker/w1", "backup/b1", "alive"},
		"types":                              {"worker", "backup", "sleep", "works"},
		"types/sleep":                        {"seconds", "All endpoints of the type"},
		"schedules":                          {"There are none"},
		"dead-letters":                       {"There are none"},
		"system":                             {"v-test", "ready"},
	} {
		b.want(b.get(page), http.StatusOK, texts...)
	}
	if a := b.get("tasks?q=status:failed"); strings.Contains(a.body, "worker/w1") {
		t.Error("the filter shows a task that is DONE as FAILED")
	}
	if a := b.get("endpoints?select=name%3Dconsole1"); strings.Contains(a.body, "console2") {
		t.Error("the selector shows an endpoint that it does not choose")
	}
	_, _, err := b.api.CreateTask(t.Context(), "worker", client.NewTask{Identifier: "labeled", Labels: map[string]string{"ticket": "CHG 7"}})
	if err != nil {
		t.Fatal(err)
	}
	b.want(b.get("tasks/worker/labeled"), http.StatusOK, "Labels", ">ticket=CHG 7</a>")
	labeled := b.want(b.get("tasks?q="+url.QueryEscape(`label:"ticket=CHG 7"`)), http.StatusOK, "worker/labeled", ">ticket=CHG 7</a>")
	if strings.Contains(labeled.body, "worker/w1") {
		t.Error("the filter shows a task without the label")
	}
	a := b.get("tasks/worker/w1/payload")
	if a.body != `{"foo":"bar"}` || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") ||
		!strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("the payload is %q, headers %v", a.body, a.header)
	}
}

func TestScheduledTask(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, _, err := b.api.CreateTask(t.Context(), "worker", client.NewTask{Identifier: "later", In: "100h"}); err != nil {
		t.Fatal(err)
	}
	b.want(b.get("tasks/worker/later"), http.StatusOK, "SCHEDULED", "starts in 4 d 3 h", "Cancel this task")
	b.want(b.get("tasks?q=status:SCHEDULED"), http.StatusOK, "worker/later", "in 4 d 3 h")
}

// A running task names its stream, an ended one has none; the stream is the API's.
func TestEvents(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("worker", "w1", nil, tasker.Done)
	if a := b.get("tasks/worker/w1"); strings.Contains(a.body, `data-events="tasks`) {
		t.Error("a task that has ended is followed")
	}
	a := b.get("tasks/worker/w1/events")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/event-stream" || !strings.Contains(a.body, "event: end") {
		t.Errorf("%d %v\n%s", a.status, a.header, a.body)
	}
	if a := b.get("tasks/worker/w1/events?last_event_id=end"); a.status != http.StatusNoContent {
		t.Errorf("the stream that was read to its end: %d", a.status)
	}
	b.run("sleep", "s1", map[string]float64{"seconds": 3600}, tasker.Sent)
	b.want(b.get("tasks/sleep/s1"), http.StatusOK, `data-events="tasks/sleep/s1/events"`, `data-stamp="SENT 2 `)
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.run("worker", "w1", nil, tasker.Done)
	for _, page := range []string{
		"nosuch", "tasks/", "tasks/worker", "tasks/worker/nosuch", "tasks/nosuch/w1", "tasks/worker/-", "tasks/worker/w1/results/nosuch",
		"tasks/worker/w1/results/console1?attempt=7", "tasks/worker/w1/results/console1?attempt=x", "tasks/worker/w1/results/any",
		"tasks/worker/nosuch/results", "tasks/worker/nosuch/missing", "tasks/worker/nosuch/grid", "tasks/worker/nosuch/payload",
		"endpoints/nosuch", "endpoints/-", "types/nosuch", "types/v1", "schedules/nosuch", "schedules/-", "dead-letters/1", "dead-letters/x", "assets/nosuch.js",
	} {
		a := b.want(b.get(page), http.StatusNotFound, "First page")
		if strings.Contains(a.body, "internal error") {
			t.Errorf("%s: %s", page, a.body)
		}
	}
	for _, page := range []string{"/tasks", "tasks//worker", "tasks/../tasks", "tasks/%77orker/w1", "tasks/worker%2Fw1", "./tasks"} {
		if a := b.get(page); a.status != http.StatusNotFound || a.header.Get("Location") != "" {
			t.Errorf("%s: %d, to %q", page, a.status, a.header.Get("Location"))
		}
	}
	b.want(b.post("tasks", url.Values{}), http.StatusNotFound)
}

func TestWrongFilters(t *testing.T) {
	t.Parallel()
	b := open(t)
	for filter, text := range map[string]string{
		"color:red":             "unknown filter",
		"status:lost":           "unknown status",
		"type:nosuch":           "not found",
		"since:yesterday":       "since",
		`text:"no end`:          "missing quote",
		"endpoint:":             "missing value",
		"endpoint:a endpoint:b": "duplicate filter",
		`"words"`:               "unexpected quote",
	} {
		a := b.get("tasks?q=" + url.QueryEscape(filter))
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s: status %d", filter, a.status)
		}
		b.want(a, a.status, text, `value="`)
	}
	b.want(b.get("endpoints?select=%3D%3D"), http.StatusUnprocessableEntity, "role=web,zone!=eu")
}
