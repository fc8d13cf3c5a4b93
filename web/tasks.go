package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

const (
	// pageRows is how many rows the long lists have.
	pageRows = 50
	// countingTime is how long a page of tasks counts their results. Those that it
	// does not get to are shown without numbers.
	countingTime = 500 * time.Millisecond
)

// taskRow is a task in a list.
type taskRow struct {
	client.TaskView
	Counts *counts // nil if they are not known
}

// Took returns how long a task took or, if it has not ended, takes until now. It is
// empty for one that has not begun.
func (t taskRow) Took() string {
	switch {
	case t.Status == tasker.Scheduled || t.Status == tasker.Created:
		return ""
	case t.Status.Final():
		return since(t.StartTime, t.LastModifiedTime)
	}
	return since(t.StartTime, now())
}

// RolloutState returns the state of its rollout, if it has one that has not ended.
func (t taskRow) RolloutState() string {
	if t.Rollout == nil || t.Status.Final() || !isOpenRollout(t.Rollout.State) {
		return ""
	}
	return t.Rollout.State
}

// Why returns why its rollout is in that state.
func (t taskRow) Why() string {
	if t.RolloutState() == "" {
		return ""
	}
	return t.Rollout.Reason
}

// After how many seconds a page may be out of date without an event: what goes on by
// itself, and what waits for a person.
const (
	pollSoon   = 3
	pollSlowly = 30
)

// rolling returns after how many seconds a list of tasks may be out of date since the
// rollout of one goes on or waits, of which no event of all tasks tells; 0 for never.
func rolling(rows ...taskRow) int {
	poll := 0
	for _, t := range rows {
		switch state := t.RolloutState(); {
		case state == "":
		case slices.Contains(waitingStates, state):
			poll = max(poll, pollSlowly)
		default:
			return pollSoon
		}
	}
	return poll
}

// search asks for tasks, newest first.
func (v *visit) search(query url.Values, limit int) (client.TaskPage[client.TaskView], error) {
	query.Set("limit", strconv.Itoa(limit))
	return get[client.TaskPage[client.TaskView]](v, query, "v1", "tasks")
}

// rows counts the results of tasks.
func (v *visit) rows(tasks []client.TaskView) []taskRow {
	rows := make([]taskRow, len(tasks))
	begun := time.Now()
	for i, task := range tasks {
		rows[i].TaskView = task
		if task.Status == tasker.Scheduled || time.Since(begun) > countingTime {
			continue
		}
		// A task that cannot be counted is no reason to show none.
		if answer, err := v.api.Summary(v.ctx(), task.Type, task.Identifier); err == nil {
			numbers := countsOf(answer.Summary)
			rows[i].Counts = &numbers
		}
	}
	return rows
}

// tasksPage is the list of tasks.
type tasksPage struct {
	Filter string
	Wrong  string // why the filter is refused
	Rows   []taskRow
	First  bool   // no cursor
	Next   string // cursor of the next page; empty on the last one
	// Short reports that the search stopped before it had looked at everything.
	Short bool
	Quick []quickFilter
}

// quickFilter is a filter to click on.
type quickFilter struct {
	Name, Filter string
	Current      bool
}

func showTasks(v *visit) error {
	given := v.r.URL.Query()
	p := tasksPage{Filter: v.param("q"), First: !given.Has("cursor")}
	for _, q := range []quickFilter{
		{Name: "All"},
		{Name: "Open", Filter: "status:CREATED,SENT,INCOMPLETE,CANCELING"},
		{Name: "Failed", Filter: "status:FAILED"},
		{Name: "Incomplete", Filter: "status:INCOMPLETE"},
		{Name: "Scheduled", Filter: "status:SCHEDULED"},
		{Name: "Last 24 h", Filter: "since:24h"},
	} {
		q.Current = q.Filter == p.Filter
		p.Quick = append(p.Quick, q)
	}
	status := http.StatusOK
	query, err := parseFilter(p.Filter)
	if err == nil {
		if !p.First {
			query.Set("cursor", given.Get("cursor"))
		}
		var found client.TaskPage[client.TaskView]
		if found, err = v.search(query, pageRows); err == nil {
			p.Rows = v.rows(found.Tasks)
			p.Next = value(found.Next)
			p.Short = p.Next != "" && len(found.Tasks) < pageRows
		}
	}
	if err != nil {
		if !refused(err) {
			return err
		}
		f, code := failureOf(err)
		p.Wrong, status = f.Detail, code
	}
	out := page{Title: "Tasks", Section: "tasks", Body: p}
	if p.First && p.Wrong == "" {
		out.Events, out.Poll = "events", rolling(p.Rows...)
	}
	return v.show(status, "tasks", out)
}
