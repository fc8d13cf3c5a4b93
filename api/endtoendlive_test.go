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
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// report stores the report of an attempt, and sends the hint, as a manager does.
func (s *system) report(t *testing.T, update ledger.LiveUpdate, change wire.LiveChange) {
	t.Helper()
	if err := s.db.Live.SaveLive(t.Context(), []ledger.LiveUpdate{update}); err != nil {
		t.Fatal(err)
	}
	s.hint(t, change)
}

func (s *system) hint(t *testing.T, change wire.LiveChange) {
	t.Helper()
	change.Type, change.Identifier = "worker", identifier
	if err := s.broker.Notify(t.Context(), wire.KeyLive, live(t, change)); err != nil {
		t.Fatal(err)
	}
}

// A task from its POST to the end of its stream, on the real database and the
// embedded broker.
func TestEndToEndLive(t *testing.T) {
	s := newSystem(t)
	console1 := s.subscribe(t, "console1")
	s.subscribe(t, "console2")
	all := s.follow(t, "/v1/events?task_type=worker")
	if got, _ := snapshotOf(t, all.next()); got != "" {
		t.Errorf("before: %s", got)
	}
	s.post(t, "/worker", newTask).want(t, http.StatusCreated)
	if got := summaries(t, all.until("task")...); got[0] != "task "+identifier+" SENT" && got[0] != "task "+identifier+" CREATED" {
		t.Errorf("a new task: %q", got)
	}
	f := s.follow(t, eventsPath)
	f.until("snapshot")

	// The first attempt of console1 logs, fails, and is followed by another.
	message := <-console1
	key := tasker.ResultKey{TaskID: message.TaskID, Endpoint: "console1"}
	admissions, err := s.db.Inbox.ReceiveResults(t.Context(), []ledger.Incoming{{Manager: managerID, ResultKey: key, Identifier: identifier, Type: "worker", State: tasker.Running}})
	if err != nil || admissions[0].Outcome != ledger.Recorded {
		t.Fatalf("%+v, %v", admissions, err)
	}
	now := s.db.Now()
	s.report(t, ledger.LiveUpdate{ResultKey: key, Attempt: 1, Lines: lines(0, 3, now), Totals: tasker.LogTotals{Lines: 3, Bytes: 24, Complete: true}},
		wire.LiveChange{TaskID: key.TaskID, Endpoint: "console1", Attempt: 1, State: tasker.Running, Log: true})
	f.until("log")
	if stored, err := s.db.Attempts.FinishAttempts(t.Context(), []ledger.End{{ResultKey: key, Attempt: 1, State: tasker.Retrying, Errnr: 7, Errmsg: "no"}}); err != nil || !stored[0] {
		t.Fatalf("%v, %v", stored, err)
	}
	if started, err := s.db.Attempts.StartAttempts(t.Context(), []ledger.Start{{Manager: managerID, ResultKey: key, Attempt: 1}}); err != nil || !started[0] {
		t.Fatalf("%v, %v", started, err)
	}
	s.report(t, ledger.LiveUpdate{
		ResultKey: key, Attempt: 2, Progress: &tasker.Progress{Done: 5, Total: 10, Message: "half", Time: now},
		Lines: append(lines(0, 1, now), tasker.LogLine{Number: 1, Time: now, LeftOut: 99}), Totals: tasker.LogTotals{Lines: 100, LeftOut: 99},
	}, wire.LiveChange{TaskID: key.TaskID, Endpoint: "console1", Attempt: 2, State: tasker.Running, Progress: &tasker.Progress{Done: 5}})
	events := f.until("log")
	if got := numbersOf(t, events, "console1"); !slices.Equal(got, []string{"0", "1+99"}) {
		t.Errorf("the second attempt's log: %q", got)
	}
	path := "/worker/" + identifier + "/results/console1"
	got := decode[struct {
		Result   struct{ Progress tasker.Progress }
		Attempts []tasker.Attempt
	}](t, s.get(t, path).body)
	if len(got.Attempts) != 2 || got.Attempts[0].Errnr != 7 || got.Attempts[1].State != tasker.Running || got.Result.Progress.Message != "half" || got.Attempts[1].Log.Lines != 100 {
		t.Errorf("the result: %+v", got)
	}
	if page := decode[logPage](t, s.get(t, path+"/log?attempt=1&offset=1").body); len(page.Lines) != 2 || page.Next != 3 || !page.Totals.Complete {
		t.Errorf("the first attempt's log: %+v", page)
	}
	if a := s.get(t, path+"/log", "Accept", "text/plain"); string(a.body) != "line <0>\n... 99 lines left out\n" {
		t.Errorf("as text: %s", a.body)
	}

	// Both end.
	s.report(t, ledger.LiveUpdate{ResultKey: key, Attempt: 2, Totals: tasker.LogTotals{Lines: 100, LeftOut: 99, Complete: true}}, wire.LiveChange{TaskID: key.TaskID, Endpoint: "console1", Attempt: 2})
	other := tasker.ResultKey{TaskID: key.TaskID, Endpoint: "console2"}
	if _, err := s.db.Inbox.ReceiveResults(t.Context(), []ledger.Incoming{{Manager: managerID, ResultKey: other, Identifier: identifier, Type: "worker", State: tasker.Running}}); err != nil {
		t.Fatal(err)
	}
	ends := []ledger.End{
		{ResultKey: key, Attempt: 2, State: tasker.ResultDone, Payload: json.RawMessage(`{"yeah":1}`)},
		{ResultKey: other, Attempt: 1, State: tasker.ResultDone},
	}
	if stored, err := s.db.Attempts.FinishAttempts(t.Context(), ends); err != nil || !stored[0] || !stored[1] {
		t.Fatalf("%v, %v", stored, err)
	}
	s.hint(t, wire.LiveChange{TaskID: key.TaskID, Endpoint: "console2", Attempt: 1, State: tasker.ResultDone})
	events = f.ended()
	last := events[len(events)-1]
	if last.name != "end" || last.data != `{"status":"DONE","deleted":false,"complete":true}` {
		t.Errorf("the end: %+v of %s", last, names(events))
	}
	for {
		e := all.next()
		if summaries(t, e)[0] == "task "+identifier+" DONE" {
			break
		}
	}
	// From the beginning there is all of it.
	events = s.follow(t, eventsPath).ended()
	if got := strings.Join(numbersOf(t, events, "console1"), " "); got != "0 1 2 0 1+99" {
		t.Errorf("the whole log: %s", got)
	}
}

// What is not kept of a long log is a gap in the stream and in the pages.
func TestEndToEndLongLog(t *testing.T) {
	s := newSystem(t)
	s.subscribe(t, "console1")
	s.post(t, "/worker", newTask).want(t, http.StatusCreated)
	task, err := s.db.Tasks.FindTask(t.Context(), "worker", identifier)
	if err != nil {
		t.Fatal(err)
	}
	key := tasker.ResultKey{TaskID: task.ID, Endpoint: "console1"}
	if _, err := s.db.Inbox.ReceiveResults(t.Context(), []ledger.Incoming{{Manager: managerID, ResultKey: key, Identifier: identifier, Type: "worker", State: tasker.Running}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := int64(0); n < 10_000; n += 500 {
		update := ledger.LiveUpdate{ResultKey: key, Attempt: 1, Lines: lines(n, n+500, now), Totals: tasker.LogTotals{Lines: n + 500}}
		if n >= 4000 { // the first 2,000 and the last 2,000 are kept
			update.DropFrom, update.DropTo = 2000, n-1500
		}
		if err := s.db.Live.SaveLive(t.Context(), []ledger.LiveUpdate{update}); err != nil {
			t.Fatal(err)
		}
	}
	f := s.follow(t, eventsPath)
	var got []string
	for len(got) < 4001 {
		got = append(got, numbersOf(t, f.until("log"), "console1")...)
	}
	var want []string
	for n := range 10_000 {
		switch {
		case n == 2000:
			want = append(want, "2000+6000")
		case n < 2000 || n >= 8000:
			want = append(want, fmt.Sprint(n))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d lines and gaps, want %d", len(got), len(want))
	}
	page := decode[logPage](t, s.get(t, "/worker/"+identifier+"/results/console1/log?offset=1999&limit=3").body)
	if len(page.Lines) != 3 || page.Lines[1].LeftOut != 6000 || page.Lines[2].Number != 8000 || page.Next != 8001 {
		t.Errorf("over the gap: %+v", page)
	}
}
