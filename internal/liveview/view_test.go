package liveview_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/liveview"
)

func failed(endpoint, message string) *tasker.TaskResult {
	return &tasker.TaskResult{Endpoint: endpoint, State: tasker.ResultFailed, Errnr: 2, Errmsg: message, Attempt: 1}
}

func result(r *tasker.TaskResult) client.Event { return client.Event{Name: "result", Data: r} }

func snapshot(status tasker.TaskStatus, s tasker.Summary, results ...tasker.TaskResult) client.Event {
	return client.Event{Name: "snapshot", Data: &client.TaskAnswer{Task: tasker.Task{Status: status}, Summary: s, Results: results}}
}

func task(status tasker.TaskStatus, s tasker.Summary) client.Event {
	return client.Event{Name: "task", Data: &client.TaskEvent{Task: client.TaskView{Status: status}, Summary: s}}
}

// TestFailures are shown as they come, once each, and at most three that are alike.
func TestFailures(t *testing.T) {
	t.Parallel()
	v := liveview.New("deploy/a", liveview.Style{})
	var got []string
	apply := func(events ...client.Event) {
		for _, e := range events {
			got = append(got, v.Apply(e, 0)...)
		}
	}
	running := tasker.TaskResult{Endpoint: "web01", State: tasker.Running, Attempt: 1}
	apply(snapshot(tasker.Sent, tasker.Summary{Expected: 9, Received: 1}, running))
	for i := range 6 {
		name := fmt.Sprintf("web%02d", i+1)
		apply(result(failed(name, "no space left on "+name+":/var\x1b[2J")))
	}
	again := failed("web01", "no space left on web01:/var\x1b[2J")
	apply(result(again), snapshot(tasker.Sent, tasker.Summary{}, *again)) // nothing new
	apply(result(&tasker.TaskResult{Endpoint: "db1", State: tasker.TimedOut, Errnr: -1, Errmsg: "after 1m0s", Attempt: 3}))
	apply(result(&tasker.TaskResult{Endpoint: "db2", State: tasker.ResultDone}))
	apply(result(&tasker.TaskResult{Endpoint: "db3", State: tasker.ResultCanceled, Errnr: -2}))
	apply(result(&tasker.TaskResult{Endpoint: "db4", State: "NEW_STATE", Errnr: 1}))
	apply(client.Event{Name: "left_out", Data: &client.LeftOutEvent{Changes: 7}}, client.Event{Name: "other", Data: new(int)})
	want := []string{
		`✗ web01  FAILED 2  no space left on web01:/var\u001b[2J`,
		`✗ web02  FAILED 2  no space left on web02:/var\u001b[2J`,
		`✗ web03  FAILED 2  no space left on web03:/var\u001b[2J`,
		`✗ db1  TIMED_OUT -1  after 1m0s (attempt 3)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	want = []string{"... and 3 more like web01", "... and 7 changes that were too many to follow: they are in the numbers"}
	if got := v.Hidden(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestFailuresAreBounded where every endpoint fails in its own way.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	v := liveview.New("deploy/a", liveview.Style{})
	lines := 0
	for i := range 10_000 {
		lines += len(v.Apply(result(failed(fmt.Sprintf("web%d", i), fmt.Sprintf("error %d", i*7919))), 80))
	}
	if lines != 50 {
		t.Errorf("got %d lines", lines)
	}
	if hidden := v.Hidden(); len(hidden) > 10 {
		t.Errorf("got %d lines about what is hidden, such as %q", len(hidden), hidden[:2])
	}
}

func TestOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status tasker.TaskStatus
		s      tasker.Summary
		want   bool
	}{
		{"", tasker.Summary{}, false},
		{tasker.Sent, tasker.Summary{Expected: 2, Received: 2, Finished: 2}, false},
		{tasker.Done, tasker.Summary{}, true},
		{tasker.Canceling, tasker.Summary{}, false},
		{tasker.Incomplete, tasker.Summary{Expected: 3, Received: 2, Finished: 1}, false},
		{tasker.Incomplete, tasker.Summary{Expected: 3, Received: 2, Finished: 1, Lost: 1}, true},
		{"NEW_STATUS", tasker.Summary{Expected: 2, Received: 2, Finished: 2}, false},
		{tasker.Sent, tasker.Summary{Expected: 3, Received: 3, Finished: 1, Held: 2}, true},
		{tasker.Sent, tasker.Summary{Expected: 3, Received: 3, Finished: 1, Held: 1}, false}, // one runs
		{tasker.Sent, tasker.Summary{Expected: 4, Received: 3, Finished: 1, Held: 2}, false}, // one may come
		{tasker.Incomplete, tasker.Summary{Expected: 4, Received: 3, Finished: 1, Held: 2}, true},
	} {
		v := liveview.New("deploy/a", liveview.Style{})
		v.Apply(task(c.status, c.s), 0)
		if got := v.Over(); got != c.want {
			t.Errorf("%s, %+v: got %t", c.status, c.s, got)
		}
	}
}

func TestStatusLine(t *testing.T) {
	t.Parallel()
	v := liveview.New("deploy/01JD8ABCDEFGHJKMNPQRSTVWXY", liveview.Style{})
	check := func(width int, want string) {
		t.Helper()
		if got := v.StatusLine(41*time.Second, width); got != want {
			t.Errorf("%d columns: got\n%s\nwant\n%s", width, got, want)
		}
	}
	check(80, "deploy/01JD8ABCDEFGHJKMNPQRSTVWXY  connecting  00:41")
	results := []tasker.TaskResult{{Endpoint: "a", State: tasker.Running}, {Endpoint: "b", State: tasker.Received}}
	v.Apply(snapshot(tasker.Sent, tasker.Summary{Expected: 50, Received: 28, Finished: 25, Failed: 2, Canceled: 1, Lost: 1}, results...), 0)
	check(140, "deploy/01JD8ABCDEFGHJKMNPQRSTVWXY  ████████████░░░░░░░░░░░░  26/50  ok 22  failed 3  canceled 1  running 1  waiting 23  00:41")
	check(120, "deploy/01JD8ABCDEFGHJKMNPQRSTVWXY  ██████░░░░░░  26/50  ok 22  failed 3  canceled 1  running 1  waiting 23  00:41")
	check(90, "deploy/01JD8ABCDE...  26/50  ok 22  failed 3  canceled 1  running 1  waiting 23  00:41")
	check(80, "26/50  ok 22  failed 3  canceled 1  running 1  waiting 23  00:41")
	check(40, "26/50  ok 22 failed 3  00:41")
	check(12, "26/50  o...")
	check(1, "")
	large := client.Event{Data: &client.TaskAnswer{Task: tasker.Task{Status: tasker.Sent}, ResultsLeftOut: new(10_000)}}
	v.Apply(large, 0)
	v.Apply(task(tasker.Sent, tasker.Summary{Expected: 10_000, Received: 9_000, Finished: 100}), 0)
	check(70, "100/10000  ok 100  failed 0  unfinished 9900  00:41")
	if got := v.CountsLine(3661 * time.Second); got != "deploy/01JD8ABCDEFGHJKMNPQRSTVWXY  SENT  100/10000  ok 100  failed 0  unfinished 9900  1:01:01" {
		t.Error(got)
	}
	ascii := liveview.New("deploy/a", liveview.Style{ASCII: true})
	ascii.Apply(task(tasker.Sent, tasker.Summary{Expected: 2, Received: 2, Finished: 1}), 0)
	if got := ascii.StatusLine(0, 200); got != "deploy/a  ############............  1/2  ok 1  failed 0  unfinished 1  00:00" {
		t.Error(got)
	}
}

func TestScheduled(t *testing.T) {
	t.Parallel()
	v := liveview.New("deploy/a", liveview.Style{})
	v.Apply(client.Event{Data: &client.TaskEvent{Task: client.TaskView{
		Status: tasker.Scheduled, StartTime: time.Date(2026, 5, 6, 3, 30, 0, 0, time.UTC),
	}}}, 0)
	if got := v.StatusLine(0, 80); got != "deploy/a  starts at 2026-05-06 03:30:00 UTC  00:00" {
		t.Error(got)
	}
}

// TestPaused: a task that was paused without an end waits for a person, once nothing
// runs.
func TestPaused(t *testing.T) {
	t.Parallel()
	v := liveview.New("deploy/a", liveview.Style{})
	pause := func(hold *tasker.Hold, s tasker.Summary) bool {
		v.Apply(client.Event{Data: &client.TaskEvent{Task: client.TaskView{Status: tasker.Sent, Hold: hold}, Summary: s}}, 0)
		return v.Over()
	}
	for _, over := range []bool{
		pause(&tasker.Hold{Until: new(time.Now())}, tasker.Summary{Expected: 2}), // it ends by itself
		pause(&tasker.Hold{}, tasker.Summary{Expected: 2, Received: 2, Held: 1}), // one runs
		pause(nil, tasker.Summary{Expected: 2}),
		!pause(&tasker.Hold{}, tasker.Summary{Expected: 2, Received: 1, Finished: 1}),
		!pause(&tasker.Hold{}, tasker.Summary{Expected: 2, Received: 2, Held: 2}),
	} {
		if over {
			t.Error("over too early, or not at all")
		}
	}
	if got := v.StatusLine(0, 100); got != "deploy/a  ░░░░░░░░░░░░░░░░░░░░░░░░  0/2  ok 0  failed 0  held 2  00:00" {
		t.Error(got)
	}
	if got := (liveview.Style{}).SummaryLine(tasker.Sent, v.Summary()); got != "SENT: 0 ok, 2 held" {
		t.Error(got)
	}
}

// FuzzView shows results with any text: the lines have no control character, and fit.
func FuzzView(f *testing.F) {
	f.Add("web1", "FAILED", "\x1b]0;PWNED\x07\x1b[2J\u009b\u202e\xff", 40)
	f.Fuzz(func(t *testing.T, endpoint, state, message string, width int) {
		width = min(max(width, 1), 300)
		v := liveview.New("deploy/a", liveview.Style{})
		r := failed(endpoint, message)
		lines := v.Apply(result(r), width)
		r.State = tasker.ResultState(state)
		lines = append(lines, v.Apply(result(r), width)...)
		v.Apply(task(tasker.TaskStatus(state), tasker.Summary{Expected: width}), width)
		status := v.StatusLine(time.Second, width)
		if n := utf8.RuneCountInString(status); n >= width && n > 0 {
			t.Errorf("%d columns: %q", width, status)
		}
		lines = append(lines, status, v.CountsLine(time.Second))
		lines = append(lines, v.Hidden()...)
		lines = append(lines, liveview.Style{}.Outcomes(hostile(endpoint, state, message), width)...)
		for _, line := range lines {
			if strings.ContainsFunc(line, steers) || !utf8.ValidString(line) {
				t.Errorf("%q", line)
			}
		}
	})
}
