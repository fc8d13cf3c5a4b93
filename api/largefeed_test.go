package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/wire"
)

// hinted are settings with which nothing but a hint makes a stream look.
var hinted = api.StreamSettings{Poll: time.Hour, Pause: time.Millisecond}

// large is a stream of a task for 1,700 endpoints, of which 1,234 have finished,
// after its snapshot. What is sent to hints reaches the stream.
type large struct {
	*harness
	*follower
	endpoints []string
	hints     chan<- []byte
	snapshot  client.TaskAnswer
}

func followLarge(t *testing.T, settings api.StreamSettings) *large {
	t.Helper()
	h := newHarness(t)
	h.server.SetStreams(settings)
	h.broker.listening = make(chan chan<- []byte, 1)
	l := &large{harness: h, endpoints: thousands(t, h, 1700, 1234)}
	h.store.update("many", func(task *tasker.Task) { task.Payload = json.RawMessage(`{"whole":true}`) })
	l.follower = h.follow(t, "/worker/many/events")
	l.hints = <-h.broker.listening
	l.snapshot = decode[client.TaskAnswer](t, []byte(l.next().data))
	return l
}

// report hints at a change of results.
func (l *large) report(endpoints ...string) {
	l.t.Helper()
	var changes []wire.LiveChange
	for _, name := range endpoints {
		changes = append(changes, wire.LiveChange{
			TaskID: 1, Type: "worker", Identifier: "many", Endpoint: name, Attempt: 1, State: tasker.ResultDone,
		})
	}
	l.hints <- live(l.t, changes...)
}

// change changes results, and reports it.
func (l *large) change(change func(*tasker.TaskResult), endpoints ...string) {
	l.t.Helper()
	l.store.change(func() {
		for i := range l.store.results {
			if r := &l.store.results[i]; slices.Contains(endpoints, r.Endpoint) {
				change(r)
			}
		}
	})
	l.report(endpoints...)
}

// The stream of a task of many endpoints has numbers and a few changes; nothing
// reads all of its results.
func TestLargeTaskEvents(t *testing.T) {
	l := followLarge(t, hinted)
	s := l.snapshot
	if s.ResultsLeftOut == nil || *s.ResultsLeftOut != 1234 || s.Results == nil || len(s.Results) != 0 ||
		s.Summary.Received != 1234 || len(s.Summary.Missing) != 100 || string(s.Task.Payload) != `{"whole":true}` {
		t.Errorf("the snapshot is %+v", s)
	}
	l.change(func(r *tasker.TaskResult) {
		r.State, r.Payload = tasker.ResultFailed, json.RawMessage(`{"well":false}`)
	}, "e001", "e002")
	for _, name := range []string{"e001", "e002"} {
		e := l.next()
		r := decode[tasker.TaskResult](t, []byte(e.data))
		if e.name != "result" || e.id != "1-0" || r.Endpoint != name || r.State != tasker.ResultFailed || r.PayloadSize != 14 ||
			!strings.Contains(e.data, `"payload":null`) {
			t.Errorf("the result of %s is %+v", name, e)
		}
	}
	if e := l.next(); e.name != "task" || !strings.Contains(e.data, `"finished":1234,"failed":126`) {
		t.Errorf("the numbers are %+v", e)
	}
	if reads := l.store.called("Results") + l.store.called("ResultsOf") + l.store.called("ResultPage"); reads != 0 {
		t.Errorf("results were read with their payloads, or all of them, %d times", reads)
	}

	// What is only a line of a log, is of another task or has no valid name makes
	// nobody look.
	looks := l.store.called("Summary")
	l.hints <- live(t, wire.LiveChange{TaskID: 1, Type: "worker", Identifier: "many", Endpoint: "e003", Attempt: 1, Log: true})
	l.hints <- live(t, wire.LiveChange{TaskID: 2, Type: "worker", Identifier: "other", Endpoint: "e003", Attempt: 1, State: tasker.ResultDone})
	l.report("no name", "")
	if n := l.store.called("Summary"); n != looks {
		t.Errorf("looked %d times", n-looks)
	}

	// The last result.
	for _, name := range l.endpoints[1234:] {
		l.store.change(func() {
			l.store.results = append(l.store.results, tasker.TaskResult{ID: 5000, TaskID: 1, Endpoint: name, State: tasker.ResultDone, Attempt: 1})
		})
	}
	l.report(l.endpoints[1699])
	rest := l.ended()
	if names(rest) != "result task end" || rest[2].id != "end" || rest[2].data != `{"status":"FAILED","deleted":false,"complete":false}` {
		t.Errorf("at the end: %+v", rest)
	}
}

// Changes beyond the limits of one look are counted: their number, the bytes of
// their messages, and those that could not be read.
func TestLargeTaskLeavesOut(t *testing.T) {
	l := followLarge(t, hinted)
	want := func(what string, results, leftOut int) {
		t.Helper()
		events := l.until("left_out")
		if got := events[len(events)-1]; len(events) != results+1 || got.id != "" || got.data != fmt.Sprintf(`{"changes":%d}`, leftOut) {
			t.Errorf("%s: %d results, and then %+v", what, len(events)-1, got)
		}
	}
	l.report(l.endpoints[:450]...)
	want("too many", 300, 150)
	l.change(func(r *tasker.TaskResult) { r.Errmsg = strings.Repeat("x", 64<<10) }, l.endpoints[:120]...)
	want("too long", 50, 70)
	l.store.change(func() { l.store.failPeek = true })
	l.report("e005")
	waitFor(t, func() bool { return len(l.log.lines(t, "refresh event stream failed")) == 1 })
	l.report("e006")
	want("an outage", 1, 1)
}

// Without hints the numbers are right all the same.
func TestLargeTaskWithoutHints(t *testing.T) {
	l := followLarge(t, fast)
	l.store.change(func() { l.store.results[7].State = tasker.Lost })
	if e := l.next(); e.name != "task" || !strings.Contains(e.data, `"lost":1`) || !strings.Contains(e.data, `"status":"INCOMPLETE"`) {
		t.Errorf("the numbers are %+v", e)
	}
	l.store.change(func() { l.store.tasks = nil })
	if rest := l.ended(); names(rest) != "end" || !strings.Contains(rest[0].data, `"deleted":true`) {
		t.Errorf("after it was deleted: %+v", rest)
	}
}

// The lists of a task are in its snapshot only. One that has ended is told before
// it, for clients that take results from a snapshot; and a client that was told
// everything need not come again.
func TestLargeTaskThatHasEnded(t *testing.T) {
	h := newHarness(t)
	h.server.SetStreams(fast)
	endpoints := thousands(t, h, 1100, 1100)
	h.store.update("many", func(task *tasker.Task) { task.Endpoints, task.Unserved = endpoints, endpoints[:2] })
	events := h.follow(t, "/worker/many/events").ended()
	if names(events) != "task snapshot end" {
		t.Fatalf("the events are %s", names(events))
	}
	told := decode[client.TaskEvent](t, []byte(events[0].data))
	if told.Task.Status != tasker.Failed || told.Task.Endpoints == nil || len(told.Task.Endpoints)+len(told.Task.Unserved) != 0 {
		t.Errorf("told %+v", told)
	}
	snapshot := decode[client.TaskAnswer](t, []byte(events[1].data))
	if len(snapshot.Task.Endpoints) != 1100 || snapshot.Task.Status != tasker.Failed || *snapshot.ResultsLeftOut != 1100 {
		t.Errorf("the snapshot is %+v", snapshot)
	}
	h.get(t, "/worker/many/events", "Last-Event-ID", "end").want(t, http.StatusNoContent)
}
