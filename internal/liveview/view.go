// Package liveview turns the events of a task into the lines that a person reads:
// events in, lines out. It has neither a clock nor a terminal, and keeps one entry
// for each endpoint.
//
// Everything that comes from elsewhere is made visible: no line has a control
// character, but for the colors of [Style].
package liveview

import (
	"fmt"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

const (
	// shownAlike is how many failures that are alike are shown one by one.
	shownAlike = 3
	// shownFailures is how many failures are shown one by one altogether.
	shownFailures = 50
)

// View is what is known of a task that is being watched.
type View struct {
	task  string
	style Style

	status   tasker.TaskStatus
	hold     *tasker.Hold // of the task
	summary  tasker.Summary
	starts   string // when a SCHEDULED task starts
	complete bool   // results has every result
	results  map[string]seen
	alike    map[string]*alike
	order    []*alike // of alike
	shown    int
	leftOut  int
}

// seen is what was last seen of the result of an endpoint.
type seen struct {
	state   tasker.ResultState
	attempt int
}

// alike are failures that differ in the endpoint only.
type alike struct {
	first         string // endpoint
	shown, hidden int
}

// New returns the view of a task, TYPE/IDENTIFIER, of which nothing is known yet.
func New(task string, style Style) *View {
	return &View{task: task, style: style, results: map[string]seen{}, alike: map[string]*alike{}}
}

// Apply takes an event of [client.Client.Watch], and returns the lines about what
// failed by it. Width is that of the terminal, or 0. Events of other kinds, and
// states that are unknown, change nothing but the numbers.
func (v *View) Apply(event client.Event, width int) (lines []string) {
	switch data := event.Data.(type) {
	case *client.TaskAnswer:
		v.complete = data.ResultsLeftOut == nil
		v.setTask(data.Task.Status, data.Task.Hold, data.Task.StartTime)
		v.summary = data.Summary
		for i := range data.Results {
			lines = append(lines, v.result(&data.Results[i], width)...)
		}
	case *client.TaskEvent:
		v.setTask(data.Task.Status, data.Task.Hold, data.Task.StartTime)
		v.summary = data.Summary
	case *tasker.TaskResult:
		lines = v.result(data, width)
	case *client.LeftOutEvent:
		v.leftOut += data.Changes
	}
	return lines
}

func (v *View) setTask(status tasker.TaskStatus, hold *tasker.Hold, start time.Time) {
	v.status, v.hold, v.starts = status, hold, start.Format("2006-01-02 15:04:05 MST")
}

// result takes a result, and returns the line about its failure, if that is new.
func (v *View) result(r *tasker.TaskResult, width int) []string {
	before, known := v.results[r.Endpoint]
	now := seen{r.State, r.Attempt}
	v.results[r.Endpoint] = now
	if known && before == now || !Failed(r.State) {
		return nil
	}
	key := fmt.Sprintf("%s %d %s", r.State, r.Errnr, strings.ReplaceAll(r.Errmsg, r.Endpoint, "*"))
	a := v.alike[key]
	if a == nil {
		a = &alike{first: r.Endpoint}
		v.alike[key] = a
		v.order = append(v.order, a)
	}
	if a.shown == shownAlike || v.shown == shownFailures {
		a.hidden++
		return nil
	}
	a.shown++
	v.shown++
	return []string{v.style.failure(r, width)}
}

// Failed reports whether a state is an end that is neither DONE, CANCELED nor SUPERSEDED,
// or LOST.
func Failed(state tasker.ResultState) bool {
	switch state {
	case tasker.ResultDone, tasker.ResultCanceled, tasker.Superseded:
		return false
	case tasker.Lost:
		return true
	}
	return state.Finished()
}

// Hidden returns lines about the failures that were not shown.
func (v *View) Hidden() (lines []string) {
	const most = 5
	others := 0
	for _, a := range v.order {
		switch {
		case a.hidden > 0 && len(lines) < most:
			lines = append(lines, v.style.dim(fmt.Sprintf("... and %d more like %s", a.hidden, visible(a.first))))
		default:
			others += a.hidden
		}
	}
	if others > 0 {
		lines = append(lines, v.style.dim(fmt.Sprintf("... and %d others", others)))
	}
	if v.leftOut > 0 {
		more := fmt.Sprintf("... and %d changes that were too many to follow: they are in the numbers", v.leftOut)
		lines = append(lines, v.style.dim(more))
	}
	return lines
}

// Status returns the task's status, or an empty one if none is known yet.
func (v *View) Status() tasker.TaskStatus { return v.status }

// Summary returns the numbers of the task's results.
func (v *View) Summary() tasker.Summary { return v.summary }

// Held reports whether a task waits for a person: nothing runs, since somebody has
// paused it without saying until when, or what is open is held.
func Held(status tasker.TaskStatus, hold *tasker.Hold, s tasker.Summary) bool {
	if status.Final() || s.Received-s.Finished-s.Lost != s.Held {
		return false
	}
	paused := hold != nil && hold.Until == nil
	return paused || s.Held > 0 && (s.Expected == s.Received || status == tasker.Incomplete)
}

// Over reports whether nothing more is to be expected of the task by itself: it has
// ended, waits for a person, or is INCOMPLETE and nobody works on it.
func (v *View) Over() bool {
	s := v.summary
	return Held(v.status, v.hold, s) || v.status.Final() || v.status == tasker.Incomplete && s.Received == s.Finished+s.Lost
}

// numbers are the parts of a status line.
type numbers struct {
	total, ended           int
	ok, failed, canceled   int
	running, waiting, open int
	held                   int
}

func (v *View) numbers() numbers {
	s := v.summary
	n := numbers{total: s.Expected, ended: s.Finished + s.Lost, failed: s.Failed + s.Lost, canceled: s.Canceled, held: s.Held}
	n.ok = max(s.Finished-s.Failed-s.Canceled, 0)
	unfinished := max(s.Expected-n.ended-n.held, 0)
	if !v.complete {
		n.open = unfinished
		return n
	}
	for _, r := range v.results {
		if r.state == tasker.Running {
			n.running++
		}
	}
	n.running = min(n.running, unfinished)
	n.waiting = unfinished - n.running
	return n
}
