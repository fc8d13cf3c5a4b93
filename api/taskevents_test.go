package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/wire"
)

const eventsPath = "/worker/" + identifier + "/events"

var console1, console2 = tasker.ResultKey{TaskID: 1, Endpoint: "console1"}, tasker.ResultKey{TaskID: 1, Endpoint: "console2"}

// running is a harness with a task that runs its first attempt on both of its
// endpoints.
func running(t *testing.T, settings api.StreamSettings) *harness {
	t.Helper()
	h := newHarness(t)
	h.server.SetStreams(settings)
	h.post(t, "/worker", newTask).want(t, http.StatusCreated)
	for i, key := range []tasker.ResultKey{console1, console2} {
		h.store.results = append(h.store.results, tasker.TaskResult{
			ID: int64(i + 1), TaskID: 1, Endpoint: key.Endpoint, State: tasker.Running, Attempt: 1, StartTime: h.store.now, LastModifiedTime: h.store.now,
		})
		h.store.attempts = append(h.store.attempts, fakeAttempt{ResultKey: key, Attempt: tasker.Attempt{Attempt: 1, State: tasker.Running, StartTime: &h.store.now}})
	}
	return h
}

// finish ends a result, and its log.
func (h *harness) finish(key tasker.ResultKey, state tasker.ResultState) {
	h.store.change(func() {
		for i := range h.store.results {
			if r := &h.store.results[i]; r.TaskID == key.TaskID && r.Endpoint == key.Endpoint {
				r.State, r.Payload = state, json.RawMessage(`{"well":true}`)
			}
		}
	})
	h.completeLog(key)
}

func (h *harness) completeLog(key tasker.ResultKey) {
	h.store.change(func() {
		for i := range h.store.attempts {
			if a := &h.store.attempts[i]; a.ResultKey == key {
				a.Log.Complete = true
			}
		}
	})
}

// numbersOf returns the lines of an endpoint in the events of a log: numbers, or
// "from+count" for a gap.
func numbersOf(t testing.TB, events []event, endpoint string) (numbers []string) {
	t.Helper()
	for _, e := range events {
		if e.name != "log" {
			continue
		}
		l := decode[struct {
			Endpoint string
			Attempt  int
			Lines    []tasker.LogLine
		}](t, []byte(e.data))
		for _, line := range l.Lines {
			switch {
			case l.Endpoint != endpoint:
			case line.LeftOut > 0:
				numbers = append(numbers, fmt.Sprintf("%d+%d", line.Number, line.LeftOut))
			default:
				numbers = append(numbers, fmt.Sprint(line.Number))
			}
		}
	}
	return numbers
}

// Changes are sent without a hint, too.
func TestTaskEvents(t *testing.T) {
	h := running(t, fast)
	at := h.store.now
	h.store.appendLog(1, console1, 1, lines(0, 2, at)...)
	f := h.follow(t, eventsPath)
	first := f.next()
	if first.name != "snapshot" || first.data+"\n" != string(h.get(t, "/worker/"+identifier).body) {
		t.Errorf("the snapshot is %+v", first)
	}
	if got := f.next(); got.name != "log" || !strings.Contains(got.data, `"text":"line <1>"`) {
		t.Errorf("the log begins with %+v", got)
	}
	h.store.change(func() { h.store.results[0].Progress = &tasker.Progress{Done: 1, Total: 2, Message: "half", Time: at} })
	if got, want := f.next(), `{"endpoint":"console1","attempt":1,"progress":{"done":1,"total":2,"message":"half","time":"2015-05-06T01:14:24.103482Z"}}`; got.name != "progress" || got.data != want {
		t.Errorf("progress: %+v", got)
	}
	h.finish(console1, tasker.ResultDone)
	if got := f.next(); got.name != "result" || !strings.Contains(got.data, `"payload":{"well":true}`) || !strings.Contains(got.data, `"half"`) {
		t.Errorf("result: %+v", got)
	}
	if got := f.next(); got.name != "task" || !strings.Contains(got.data, `"finished":1`) || strings.Contains(got.data, "payload") {
		t.Errorf("task: %+v", got)
	}
	h.store.appendLog(2, console1, 1, lines(2, 3, at)...) // the last of its log comes late
	h.finish(console2, tasker.ResultFailed)
	rest := f.ended()
	if got := numbersOf(t, rest, "console1"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("lines %q", got)
	}
	if got := strings.Replace(names(rest), "log ", "", 1); got != "result task end" {
		t.Errorf("at the end: %s", names(rest))
	}
	last := rest[len(rest)-1]
	if last.id != "end" || last.data != `{"status":"FAILED","deleted":false,"complete":true}` {
		t.Errorf("the end is %+v", last)
	}

	// Who comes to a task that has ended is told everything, and who was told
	// everything need not come.
	if got := names(h.follow(t, eventsPath).ended()); got != "snapshot log log end" {
		t.Errorf("afterwards: %s", got)
	}
	for _, headers := range [][]string{{"Last-Event-ID", "end"}, nil} {
		path := eventsPath
		if headers == nil {
			path += "?last_event_id=end"
		}
		a := h.get(t, path, headers...)
		a.want(t, http.StatusNoContent)
	}
	waitFor(t, func() bool { n, listening := h.server.Streams(); return n == 0 && !listening })
}

// A hint is enough: here nothing else makes the stream look.
func TestTaskEventHints(t *testing.T) {
	h := running(t, api.StreamSettings{Poll: time.Hour, Pause: time.Millisecond})
	h.broker.listening = make(chan chan<- []byte, 10)
	f := h.follow(t, eventsPath)
	f.until("snapshot")
	events := <-h.broker.listening
	// The first reading follows the snapshot in any case.
	waitFor(t, func() bool { return h.store.called("LogChunksAfter") > 0 })
	other := h.follow(t, eventsPath)
	other.until("snapshot")
	waitFor(t, func() bool { return h.store.called("LogChunksAfter") > 1 })
	reads := h.store.called("LogChunksAfter")

	h.finish(console1, tasker.ResultDone)
	for _, body := range []string{`{`, `{"v":2,"changes":[]}`, `{"v":1,"changes":[{"task_id":9,"type":"worker","identifier":"other","endpoint":"e","attempt":1}],"left_out":0}`} {
		events <- []byte(body)
	}
	hint := live(t, wire.LiveChange{TaskID: 1, Type: "worker", Identifier: identifier, Endpoint: "console1", Attempt: 1, State: tasker.ResultDone})
	if n := h.store.called("LogChunksAfter"); n != reads {
		t.Errorf("hints on other tasks had it read %d times", n-reads)
	}
	events <- hint
	for _, f := range []*follower{f, other} {
		if got := names(f.until("task")); got != "result task" {
			t.Errorf("after the hint: %s", got)
		}
	}
	h.finish(console2, tasker.ResultDone)
	left, err := wire.EncodeLive(wire.Live{LeftOut: 1})
	if err != nil {
		t.Fatal(err)
	}
	events <- left // one that was left out may be of any task
	for _, f := range []*follower{f, other} {
		if got := names(f.ended()); got != "result task end" {
			t.Errorf("at the end: %s", got)
		}
	}
	select {
	case <-h.broker.listening:
		t.Error("it listens more than once")
	default:
	}
}

func live(t testing.TB, changes ...wire.LiveChange) []byte {
	t.Helper()
	body, err := wire.EncodeLive(wire.Live{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestTaskEventsResume(t *testing.T) {
	h := running(t, fast)
	at := h.store.now
	h.store.appendLog(3, console1, 1, lines(0, 2, at)...)
	h.store.appendLog(7, console2, 1, lines(0, 2, at)...)
	h.store.appendLog(8, console1, 1, lines(2, 4, at)...)
	h.finish(console1, tasker.ResultDone)
	h.finish(console2, tasker.ResultDone)
	for id, want := range map[string][2]string{
		"":      {"0 1 2 3", "0 1"},
		"1-0":   {"0 1 2 3", "0 1"},
		"1-3":   {"2 3", "0 1"},
		"1-7":   {"2 3", ""},
		"1-8":   {"", ""},
		"2-8":   {"0 1 2 3", "0 1"}, // an earlier task had this name
		"rubba": {"0 1 2 3", "0 1"}, // what a browser cannot mend begins anew
	} {
		events := h.follow(t, eventsPath, "Last-Event-ID", id).ended()
		got := [2]string{strings.Join(numbersOf(t, events, "console1"), " "), strings.Join(numbersOf(t, events, "console2"), " ")}
		if got != want || events[0].name != "snapshot" || events[len(events)-1].name != "end" {
			t.Errorf("from %q: %q in %s", id, got, names(events))
		}
		if !strings.Contains(events[len(events)-1].data, `"complete":true`) {
			t.Errorf("from %q: %s", id, events[len(events)-1].data)
		}
	}
	// The query goes before the header; and a task that goes on is not over for
	// who was told so.
	if got := numbersOf(t, h.follow(t, eventsPath+"?last_event_id=1-3", "Last-Event-ID", "1-8").ended(), "console1"); len(got) != 2 {
		t.Errorf("lines %q", got)
	}
	h.store.change(func() { h.store.results[1].State, h.store.tasks[0].Status = tasker.Running, tasker.Sent })
	if got := h.follow(t, eventsPath, "Last-Event-ID", "end").until("log"); len(got) != 2 {
		t.Errorf("it begins with %s", names(got))
	}
}

// Pieces of different managers become visible in any order; none is told
// twice, or left out, and the id from which a client resumes waits for them.
func TestTaskEventsOutOfOrder(t *testing.T) {
	var clock atomic.Int64
	settings := fast
	settings.Overlap = time.Second
	settings.Now = func() time.Time { return time.Unix(0, clock.Load()) }
	h := running(t, settings)
	at := h.store.now
	f := h.follow(t, eventsPath)
	var sent []event
	add := func(id int64, key tasker.ResultKey, from, to int64) event {
		t.Helper()
		h.store.appendLog(id, key, 1, lines(from, to, at)...)
		clock.Add(int64(600 * time.Millisecond))
		events := f.until("log")
		sent = append(sent, events...)
		return events[len(events)-1]
	}
	add(5, console1, 0, 2)
	if e := add(3, console2, 0, 2); e.id != "1-0" {
		t.Errorf("the id %s is ahead of what may still come", e.id)
	}
	add(4, console2, 2, 3)
	if e := add(6, console1, 2, 3); e.id != "1-5" {
		t.Errorf("the id %s does not move on", e.id)
	}
	for endpoint, want := range map[string]string{"console1": "0 1 2", "console2": "0 1 2"} {
		if got := strings.Join(numbersOf(t, sent, endpoint), " "); got != want {
			t.Errorf("%s: %s", endpoint, got)
		}
	}
}

// What is not kept any longer, and what never was, are gaps.
func TestTaskEventsGaps(t *testing.T) {
	h := running(t, fast)
	at := h.store.now
	h.store.appendLog(1, console1, 1, lines(0, 2, at)...)
	f := h.follow(t, eventsPath)
	events := f.until("log")
	h.store.appendLog(4, console1, 1, append([]tasker.LogLine{{Number: 9, LeftOut: 3, Time: at}}, lines(12, 14, at)...)...)
	events = append(events, f.until("log")...)
	h.finish(console1, tasker.ResultDone)
	h.finish(console2, tasker.ResultDone)
	events = append(events, f.ended()...)
	if diff := cmp.Diff([]string{"0", "1", "2+7", "9+3", "12", "13"}, numbersOf(t, events, "console1")); diff != "" {
		t.Error(diff)
	}
}

// A task that has ended waits for the rest of its logs, but not for ever.
func TestTaskEventsLateLog(t *testing.T) {
	h := running(t, fast)
	at := h.store.now
	h.store.appendLog(1, console1, 1, lines(0, 2, at)...)
	f := h.follow(t, eventsPath)
	f.until("log")
	h.finish(console2, tasker.ResultDone)
	h.store.change(func() { h.store.results[0].State = tasker.ResultDone })
	f.until("task")
	reads := h.store.called("Attempts")
	waitFor(t, func() bool { return h.store.called("Attempts") > reads+3 })
	h.store.appendLog(2, console1, 1, lines(2, 3, at)...)
	h.completeLog(console1)
	events := f.ended()
	if got := numbersOf(t, events, "console1"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("lines %q", got)
	}
	if got := events[len(events)-1].data; !strings.Contains(got, `"complete":true`) {
		t.Error(got)
	}

	// A manager that died never completes it.
	var clock atomic.Int64
	settings := fast
	settings.Now = func() time.Time { return time.Unix(0, clock.Load()) }
	h = running(t, settings)
	h.store.appendLog(1, console1, 1, lines(0, 2, at)...)
	h.finish(console2, tasker.ResultDone)
	h.store.change(func() { h.store.results[0].State = tasker.ResultDone })
	f = h.follow(t, eventsPath)
	f.until("log")
	reads = h.store.called("Attempts")
	waitFor(t, func() bool { return h.store.called("Attempts") > reads+3 })
	clock.Store(int64(10 * time.Second))
	events = f.ended()
	if got := events[len(events)-1].data; got != `{"status":"DONE","deleted":false,"complete":false}` {
		t.Error(got)
	}
	// One that has ended long ago is not waited for.
	h.store.change(func() { h.store.now = h.store.now.Add(time.Hour) })
	h.follow(t, eventsPath).ended()
}

func TestTaskEventsDeleted(t *testing.T) {
	h := running(t, fast)
	f := h.follow(t, eventsPath)
	f.until("snapshot")
	h.store.change(func() { h.store.tasks = nil })
	events := f.ended()
	if got := events[len(events)-1]; got.name != "end" || got.data != `{"status":"SENT","deleted":true,"complete":false}` {
		t.Errorf("%+v", got)
	}
	h.get(t, eventsPath).want(t, http.StatusNotFound)
	if _, listening := h.server.Streams(); listening {
		t.Error("somebody listens for a task that does not exist")
	}
}

// While the database is down a stream waits, and its connection stays open.
func TestTaskEventsOutage(t *testing.T) {
	settings := fast
	settings.Heartbeat = time.Millisecond
	h := running(t, settings)
	f := h.follow(t, eventsPath)
	f.until("snapshot")
	h.store.setError(errors.New("down"))
	reads := h.store.called("FindTask")
	waitFor(t, func() bool { return h.store.called("FindTask") > reads+3 })
	h.store.setError(nil)
	h.finish(console1, tasker.ResultDone)
	h.finish(console2, tasker.ResultDone)
	if got := names(f.ended()); !strings.HasSuffix(got, "task end") {
		t.Errorf("afterwards: %s", got)
	}
	if n := len(h.log.lines(t, "refresh event stream failed")); n != 1 {
		t.Errorf("%d log lines about one outage", n)
	}
}
