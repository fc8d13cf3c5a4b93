package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/wire"
)

// setStatus moves a task on, at a later time than all before.
func (h *harness) setStatus(identifier string, status tasker.TaskStatus) {
	h.store.change(func() {
		h.store.now = h.store.now.Add(time.Second)
		for i := range h.store.tasks {
			if task := &h.store.tasks[i]; task.Identifier == identifier {
				task.Status, task.LastModifiedTime = status, h.store.now
			}
		}
	})
}

func (h *harness) postTask(t *testing.T, taskType, identifier string) {
	t.Helper()
	h.post(t, "/"+taskType, `{"identifier":"`+identifier+`","payload":{"big":"payload"}}`).want(t, http.StatusCreated)
}

// summaries returns "name identifier status" of each event of a task.
func summaries(t *testing.T, events ...event) (all []string) {
	t.Helper()
	for _, e := range events {
		v := decode[struct{ Identifier, Status, State string }](t, []byte(e.data))
		all = append(all, strings.TrimSpace(e.name+" "+v.Identifier+" "+v.Status+v.State))
	}
	return all
}

func (f *follower) want(t *testing.T, want string) event {
	t.Helper()
	e := f.next()
	if got := summaries(t, e)[0]; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	return e
}

func snapshotOf(t *testing.T, e event) (all string, truncated bool) {
	t.Helper()
	s := decode[struct {
		Tasks     []struct{ Identifier, Status string }
		Truncated bool
	}](t, []byte(e.data))
	for _, task := range s.Tasks {
		all += " " + task.Identifier + " " + task.Status
	}
	return strings.TrimSpace(all), s.Truncated
}

func TestAllEvents(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(fast)
	for _, id := range []string{"a", "b", "c"} {
		h.postTask(t, "worker", id)
	}
	h.postTask(t, "backup", "d")
	h.setStatus("b", tasker.Done)
	h.store.change(func() { h.store.now = h.store.now.Add(time.Minute) })

	all := h.follow(t, "/v1/events")
	first := all.next()
	if got, truncated := snapshotOf(t, first); got != "d SENT c SENT a SENT" || truncated || strings.Contains(first.data, "payload") {
		t.Errorf("the snapshot is %s, %v", first.data, truncated)
	}
	backups := h.follow(t, "/v1/events?task_type=backup")
	if got, _ := snapshotOf(t, backups.next()); got != "d SENT" {
		t.Errorf("of backups: %s", got)
	}
	sent := h.follow(t, "/v1/events?status=SENT&task_type=worker")
	if got, _ := snapshotOf(t, sent.next()); got != "c SENT a SENT" {
		t.Errorf("that are sent: %s", got)
	}
	done := h.follow(t, "/v1/events?status=DONE")
	if got, _ := snapshotOf(t, done.next()); got != "b DONE" {
		t.Errorf("that are done: %s", got)
	}

	h.setStatus("a", tasker.Incomplete)
	resume := all.want(t, "task a INCOMPLETE").id
	sent.want(t, "task a INCOMPLETE") // it has left the status
	h.setStatus("a", tasker.Done)
	all.want(t, "task a DONE")
	done.want(t, "task a DONE")
	h.setStatus("d", tasker.Failed)
	all.want(t, "task d FAILED")
	backups.want(t, "task d FAILED")
	h.setStatus("c", tasker.Failed)
	all.want(t, "task c FAILED")
	sent.want(t, "task c FAILED")

	// Another process resumes from the id, of which the last change may come
	// again.
	again := h.follow(t, "/v1/events", "Last-Event-ID", resume)
	if got, _ := snapshotOf(t, again.next()); got != "" {
		t.Errorf("the snapshot of who resumes: %s", got)
	}
	again.want(t, "task a DONE")
	again.want(t, "task d FAILED")
	again.want(t, "task c FAILED")
	// Old changes are not sent again.
	h.store.change(func() { h.store.now = h.store.now.Add(time.Hour) })
	late := h.follow(t, "/v1/events?last_event_id="+resume)
	late.next()
	h.setStatus("b", tasker.Failed)
	late.want(t, "task b FAILED")
	// An id that lies ahead, as of a clock that was set back, is as none.
	for _, id := range []string{"4611686018427387903-1", fmt.Sprintf("%d-0", h.store.now.Add(time.Hour).UnixMicro())} {
		h.store.change(func() { h.store.now = h.store.now.Add(time.Minute) })
		ahead := h.follow(t, "/v1/events?last_event_id="+id)
		ahead.next()
		h.setStatus("b", tasker.Done)
		ahead.want(t, "task b DONE")
		h.setStatus("b", tasker.Failed)
		ahead.want(t, "task b FAILED")
	}
}

// A change that becomes visible late is still sent, once.
func TestAllEventsOverlap(t *testing.T) {
	settings := fast
	settings.Overlap = 2 * time.Second
	h := newHarness(t)
	h.server.SetStreams(settings)
	for _, id := range []string{"a", "b"} {
		h.postTask(t, "worker", id)
	}
	h.store.change(func() { h.store.now = h.store.now.Add(time.Minute) })
	f := h.follow(t, "/v1/events")
	f.until("snapshot")
	h.setStatus("a", tasker.Done)
	f.want(t, "task a DONE")
	late := h.store.now.Add(-time.Second)
	h.store.update("b", func(task *tasker.Task) { task.Status, task.LastModifiedTime = tasker.Done, late })
	f.want(t, "task b DONE")
	h.postTask(t, "worker", "c")
	f.want(t, "task c SENT")
}

func TestAllEventsSnapshotIsBounded(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(fast)
	for i := range 150 {
		h.postTask(t, "worker", fmt.Sprint("w", i))
		h.postTask(t, "backup", fmt.Sprint("b", i))
	}
	got, truncated := snapshotOf(t, h.follow(t, "/v1/events").next())
	if n := len(strings.Fields(got)) / 2; n != 200 || !truncated || !strings.HasPrefix(got, "b149 SENT w149 SENT") {
		t.Errorf("%d tasks, %v", n, truncated)
	}
}

// What managers tell has the results read, and these are told, the newest of
// each.
func TestAllEventsHints(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(api.StreamSettings{Poll: time.Hour, Pause: time.Millisecond})
	h.broker.listening = make(chan chan<- []byte, 10)
	h.postTask(t, "worker", "a")
	h.store.change(func() { h.store.now = h.store.now.Add(time.Minute) })
	all, backups, done := h.follow(t, "/v1/events"), h.follow(t, "/v1/events?task_type=backup"), h.follow(t, "/v1/events?status=DONE")
	for _, f := range []*follower{all, backups, done} {
		f.until("snapshot")
	}
	events := <-h.broker.listening
	waitFor(t, func() bool { return h.store.called("ChangedTasks") >= 6 })
	h.store.change(func() {
		h.store.results = append(h.store.results, tasker.TaskResult{
			TaskID: 1, Endpoint: "console1", Attempt: 1, State: tasker.ResultFailed, Errnr: 7,
			Progress: &tasker.Progress{Done: 1, Message: "half", Time: h.store.now},
		})
	})
	change := wire.LiveChange{TaskID: 1, Type: "worker", Identifier: "a", Endpoint: "console1", Attempt: 1}
	state, progress, log := change, change, change
	state.State, state.Errnr = tasker.ResultFailed, 7
	progress.Progress = &tasker.Progress{Done: 1}
	log.Log = true
	events <- live(t, log)
	events <- live(t, state, progress)
	if e := all.want(t, "result a FAILED"); !strings.Contains(e.data, `"errnr":7`) || e.id != "" {
		t.Errorf("%+v", e)
	}
	if e := all.want(t, "progress a"); !strings.Contains(e.data, `"half"`) {
		t.Errorf("%+v", e)
	}
	// A hint has the tasks read, too, and once more for what follows from it.
	h.setStatus("a", tasker.Done)
	events <- live(t, state)
	if got := summaries(t, all.until("task")...); got[len(got)-1] != "task a DONE" {
		t.Errorf("%q", got)
	}
	body, err := wire.EncodeLive(wire.Live{LeftOut: 3})
	if err != nil {
		t.Fatal(err)
	}
	events <- body
	for _, f := range []*follower{backups, done} {
		got := f.until("left_out")
		if last := got[len(got)-1]; last.data != `{"changes":3}` {
			t.Errorf("%+v", last)
		}
	}
}

// While a stream does not come to tell, changes of the same result become one,
// and those that are too many are counted.
func TestAllEventsHintsAreBounded(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(api.StreamSettings{Poll: time.Hour, Pause: time.Hour})
	h.broker.listening = make(chan chan<- []byte, 10)
	f := h.follow(t, "/v1/events")
	f.until("snapshot")
	events := <-h.broker.listening
	waitFor(t, func() bool { return h.store.called("ChangedTasks") == 2 })
	h.store.change(func() {
		for i := range 1200 {
			h.store.results = append(h.store.results, tasker.TaskResult{TaskID: int64(i + 1), Endpoint: "e", Attempt: 1, State: tasker.Running})
		}
	})
	for n := range 3 {
		var changes []wire.LiveChange
		for i := range 1200 {
			changes = append(changes, wire.LiveChange{TaskID: int64(i + 1), Type: "worker", Identifier: "a", Endpoint: "e", Attempt: 1, State: tasker.Running, Progress: &tasker.Progress{Done: int64(n)}})
		}
		events <- live(t, changes...)
	}
	waitFor(t, func() bool {
		changes, leftOut := h.server.Hints()
		return changes == 1000 && leftOut == 600
	})
}

// An event is a hint and no more: whoever has the broker's password can send
// one. What it names and is not stored is not told, and what is stored is told
// as it is stored.
func TestAllEventsForged(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(api.StreamSettings{Poll: time.Hour, Pause: time.Millisecond})
	h.broker.listening = make(chan chan<- []byte, 10)
	h.postTask(t, "worker", "a")
	h.store.change(func() {
		h.store.now = h.store.now.Add(time.Minute)
		h.store.results = append(h.store.results, tasker.TaskResult{TaskID: 1, Endpoint: "console1", Attempt: 1, State: tasker.Running})
	})
	f := h.follow(t, "/v1/events")
	f.until("snapshot")
	events := <-h.broker.listening
	forged := wire.LiveChange{
		TaskID: 1, Type: "\x1b[2J", Identifier: "nobody", Endpoint: "console1", Attempt: 1 << 30, State: "NOT_A_STATE", Errnr: -99,
		Progress: &tasker.Progress{Message: "PWNED"},
	}
	ghost, negative, odd := forged, forged, forged
	ghost.TaskID, negative.TaskID, odd.Endpoint = 2, -5, "\x1b[2J"
	body, err := wire.EncodeLive(wire.Live{LeftOut: -5, Changes: []wire.LiveChange{negative, ghost, odd, forged}})
	if err != nil {
		t.Fatal(err)
	}
	events <- body
	want := `{"task_id":1,"type":"worker","identifier":"a","endpoint":"console1","attempt":1,"state":"RUNNING","errnr":0}`
	if e := f.next(); e.name != "result" || e.data != want {
		t.Errorf("got %+v, want %s", e, want)
	}
	events <- body // only what changed since is sent again
	waitFor(t, func() bool { return h.store.called("ResultNews") == 2 })
	h.store.change(func() { h.store.results[0].Attempt = 2 })
	events <- body
	want = strings.Replace(want, `"attempt":1`, `"attempt":2`, 1)
	if e := f.next(); e.name != "result" || e.data != want {
		t.Errorf("got %+v, want %s", e, want)
	}
	h.setStatus("a", tasker.Done)
	events <- body
	f.want(t, "task a DONE") // and nothing else before it
	h.store.change(func() {
		for _, key := range h.store.newsAsked {
			if key.TaskID <= 0 || key.Endpoint != "console1" {
				t.Errorf("the database was asked for %+v, which nobody can have", key)
			}
		}
	})
}
