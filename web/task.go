package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/x/text"
)

// maxGroups is how many groups of results a page shows.
const maxGroups = 20

// taskPage is a task with its outcomes.
type taskPage struct {
	Task      client.TaskView
	Row       taskRow
	Counts    counts
	Groups    []client.ResultGroup
	MoreKinds int // groups that are not shown
	Missing   client.EndpointSet
	Payload   document
	Open      bool   // it can be canceled
	Address   string // of the API, for commands
	Token     bool   // the API asks for one
	Wrong     refusal
	Retriable bool // some of its endpoints may run it again
	Classes   []tasker.RetryClass
	Rollout   *rolloutView // nil if it has none
}

// refusal is why a form was refused; the zero value is that none was.
type refusal struct {
	Cancel bool // it was the form that cancels, which is shown again
	Detail string
	Reason string // that the form had
}

// Pausable reports whether it can be paused, or resumed if it has no rollout.
func (p taskPage) Pausable() bool {
	return p.Open && (p.Rollout == nil || !p.Rollout.Open() || p.Task.Hold == nil && !p.Rollout.Halted() && !p.Rollout.Paused())
}

// Hold returns who paused it. That a rollout has halted it is said elsewhere.
func (p taskPage) Hold() *tasker.Hold {
	if p.Rollout != nil && p.Rollout.Halted() {
		return nil
	}
	return p.Task.Hold
}

// Verdict says in words how it stands.
func (p taskPage) Verdict() string {
	if p.Task.Status == tasker.Scheduled {
		return "starts " + ago(now().Sub(p.Task.StartTime))
	}
	return p.Counts.Words()
}

func showTask(v *visit) error { return v.showTask(http.StatusOK, refusal{}) }

// showTask shows a task, with the form that was refused, if any.
func (v *visit) showTask(status int, wrong refusal) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	g, err := v.api.Groups(v.ctx(), taskType, identifier)
	if err != nil {
		return err
	}
	payload, err := v.payload(g.Task)
	if err != nil {
		return err
	}
	numbers := countsOfGroups(g)
	p := taskPage{
		Task: g.Task, Row: taskRow{TaskView: g.Task}, Counts: numbers, Groups: g.Groups, Missing: g.Missing, Payload: documentOf(payload),
		Open: !g.Task.Status.Final(), Address: v.address(), Token: v.token != "", Wrong: wrong,
		Retriable: g.Task.Status.CanRetry() && numbers.Expected > numbers.OK+numbers.Open+numbers.Unopened, Classes: tasker.RetryClasses(),
	}
	if p.MoreKinds = len(g.Groups) + len(g.Other) - maxGroups; p.MoreKinds > 0 {
		p.Groups = g.Groups[:min(maxGroups, len(g.Groups))]
	}
	out := page{
		Title: taskType + "/" + identifier, Section: "tasks", Status: string(g.Task.Status),
		Stamp: stamp(g.Task, numbers), Large: g.Expected > 1000,
		Say: string(g.Task.Status) + ": " + numbers.Words(),
	}
	if g.Task.Rollout != nil { // after the groups, so that the stamp is not newer than what is shown
		if p.Rollout, err = v.rollout(g.Task, g.Missing); err != nil {
			return err
		}
		if state := p.Rollout.Rollout.State; p.Open && p.Rollout.Open() {
			out.Status, out.Say = state, out.Say+", rollout "+state
		}
		if !p.Open && p.Rollout.Open() {
			out.Poll = pollSoon // it ends a moment after its task, of which no event tells
		}
	}
	out.Body = p
	if wrong.Detail != "" {
		out.Poll = 0 // the address is that of a form, which no script can ask for again
	} else if p.Open || out.Poll > 0 {
		out.Events = "tasks/" + taskType + "/" + identifier + "/events"
	}
	return v.show(status, "task", out)
}

// payload returns the payload of a task. The one list that has payloads is that of a
// type, in which a task comes right after the cursor of the next id.
func (v *visit) payload(t client.TaskView) (json.RawMessage, error) {
	query := url.Values{"payload": {"true"}, "limit": {"1"}, "cursor": {strconv.FormatInt(t.ID+1, 10)}}
	found, err := get[client.TaskPage[tasker.Task]](v, query, t.Type)
	if err != nil {
		return nil, err
	}
	if len(found.Tasks) == 0 || found.Tasks[0].ID != t.ID {
		return nil, tasker.Errorf(tasker.NotFound, "task not found: it was deleted meanwhile")
	}
	return found.Tasks[0].Payload, nil
}

// serveTaskPayload serves the whole payload as a file.
func serveTaskPayload(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	found, err := v.api.Summary(v.ctx(), taskType, identifier)
	if err != nil {
		return err
	}
	payload, err := v.payload(found.Task)
	if err != nil {
		return err
	}
	v.attachment("application/json", taskType+"-"+identifier+".json")
	_, _ = v.w.Write(payload) // an error means that the browser is gone
	return nil
}

// cancelTask cancels a task, or stops it at one endpoint.
func cancelTask(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	if err := v.form(); err != nil {
		return err
	}
	reason := v.r.PostForm.Get("reason")
	_, err = v.api.Cancel(v.ctx(), taskType, identifier, client.Cancel{Reason: reason})
	if err != nil && refused(err) {
		f, status := failureOf(err)
		return v.showTask(status, refusal{Cancel: true, Detail: f.Detail, Reason: text.Visible(reason)})
	}
	if err != nil {
		return err
	}
	return v.redirect("tasks/" + taskType + "/" + identifier)
}

var plainHost = regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]+$`)

// address returns the address of the API for a command to copy, as far as it is known:
// a proxy may serve it under another path.
func (v *visit) address() string {
	host, scheme := v.r.Host, "http"
	if !plainHost.MatchString(host) {
		host = "HOST" // it must do no harm in a shell
	}
	if v.r.TLS != nil || v.r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + host
}

func passTaskEvents(v *visit) error {
	taskType, identifier, err := v.task()
	if err != nil {
		return err
	}
	v.passEvents(taskType, identifier, "events")
	return nil
}

func passAllEvents(v *visit) error {
	v.passEvents("v1", "events")
	return nil
}

// passEvents answers with a stream of the API, from the event on that the browser has.
func (v *visit) passEvents(path ...string) {
	query := url.Values{}
	if id := v.r.URL.Query().Get("last_event_id"); id != "" {
		query.Set("last_event_id", id)
	}
	v.pass(query, path...)
}
