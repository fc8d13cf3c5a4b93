package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

func TestWatch(t *testing.T) {
	c, ctx := newClient(t, devURL), t.Context()
	if err := create(ctx, c, "watched"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for event, err := range c.Watch(ctx, "worker", "watched") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, event.Name)
		if end, ok := event.Data.(*client.EndEvent); ok && (end.Status != tasker.Done || !end.Complete) {
			t.Errorf("got %+v", end)
		}
	}
	if names[0] != "snapshot" || names[len(names)-1] != "end" {
		t.Errorf("got %q", names)
	}
}

func TestWatchAll(t *testing.T) {
	c := newClient(t, devURL)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for event, err := range c.WatchAll(ctx, client.WatchQuery{TaskType: "worker"}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			continue
		}
		switch data := event.Data.(type) {
		case *client.TaskSnapshot:
			if err := create(ctx, c, "all"); err != nil {
				t.Fatal(err)
			}
		case *client.TaskView:
			if data.Identifier == "all" && data.Status == tasker.Done {
				cancel()
			}
		}
	}
	if ctx.Err() == nil {
		t.Error("the events ended by themselves")
	}
	for _, err := range c.WatchAll(t.Context(), client.WatchQuery{Status: "nonsense"}) {
		wantCode(t, err, tasker.Invalid)
	}
}

// TestWatchResumes after a lost connection, from the last event that it has seen.
func TestWatchResumes(t *testing.T) {
	var resumed []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		resumed = append(resumed, r.Header.Get("Last-Event-ID"))
		switch len(resumed) {
		case 1, 3:
			unavailable(w, "0")
		case 2:
			_, _ = fmt.Fprint(w, "retry: 2000\n\n: heartbeat\n\nevent: task\nid: 7-1\ndata: {\"task\":{},\ndata: \"summary\":{}}\n\nevent: new\nid: 7-9\ndata: {}\n\nevent: task\ndata: {")
		case 4:
			_, _ = fmt.Fprint(w, "event: log\r\ndata:{\"lines\":[]}\r\n\r\n")
		default:
			_, _ = fmt.Fprint(w, "event: end\nid: end\ndata: {\"status\":\"DONE\",\"deleted\":false,\"complete\":true}\n\nevent: task\ndata: {}\n\n")
		}
	})
	var names []string
	for event, err := range c.Watch(t.Context(), "worker", "a") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, event.Name)
	}
	if !slices.Equal(names, []string{"task", "log", "end"}) {
		t.Errorf("got events %q", names)
	}
	if got := strings.Join(resumed, " "); got != "  7-1 7-1 7-1" {
		t.Errorf("resumed from %q", got)
	}
}

func TestWatchGivesUp(t *testing.T) {
	calls := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		unavailable(w, "0")
	})
	for _, err := range c.Watch(t.Context(), "worker", "a") {
		wantCode(t, err, tasker.Overloaded)
	}
	if calls != 3 {
		t.Errorf("got %d requests, want 3", calls)
	}
}

func TestWatchOfACompleteStream(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for event, err := range c.Watch(t.Context(), "worker", "a") {
		t.Errorf("got %+v, %v", event, err)
	}
}

// A snapshot without the results of a large task is not taken for its results.
func TestWaitForALargeTask(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		const task = `{"task":{"status":"DONE"},"taskResponseList":[%s],"summary":{"received":1}%s}`
		if strings.HasSuffix(r.URL.Path, "/events") {
			_, _ = fmt.Fprintf(w, "event: snapshot\nid: 1-0\ndata: "+task+"\n\n", "", `,"results_left_out":1`)
			_, _ = fmt.Fprint(w, "event: left_out\ndata: {\"changes\":3}\n\nevent: end\nid: end\ndata: {\"status\":\"DONE\"}\n\n")
			return
		}
		_, _ = fmt.Fprintf(w, task, `{"endpoint":"a","payload":1}`, "")
	})
	got, err := c.Wait(t.Context(), "worker", "a")
	if err != nil || len(got.Results) != 1 || got.ResultsLeftOut != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	var seen []string
	for event, err := range c.Watch(t.Context(), "worker", "a") {
		if err != nil {
			t.Fatal(err)
		}
		switch data := event.Data.(type) {
		case *client.TaskAnswer:
			seen = append(seen, fmt.Sprint(*data.ResultsLeftOut))
		case *client.LeftOutEvent:
			seen = append(seen, fmt.Sprint(data.Changes))
		}
	}
	if !slices.Equal(seen, []string{"1", "3"}) {
		t.Errorf("left out: %q", seen)
	}
}

// TestWatchLosesPatience with an API that stays away, and not with one that comes
// back: each event begins the wait anew.
func TestWatchLosesPatience(t *testing.T) {
	calls, lost := 0, 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls > 1 {
			unavailable(w, "0")
			return
		}
		_, _ = fmt.Fprint(w, "event: task\nid: 7-1\ndata: {\"task\":{},\"summary\":{}}\n\n")
	})
	var last error
	events := 0
	for _, err := range c.WatchWith(t.Context(), "worker", "a", client.Reconnect{Patience: 1, Lost: func(error) { lost++ }}) {
		if last = err; err == nil {
			events++
		}
	}
	if events != 1 || lost > 1 || calls > 2 || (tasker.CodeOf(last) != tasker.Overloaded && tasker.CodeOf(last) != tasker.Unavailable) {
		t.Errorf("got %d events, %d calls, %d losses, %v", events, calls, lost, last)
	}
	for _, err := range c.WatchWith(t.Context(), "worker", "a/b", client.Reconnect{}) {
		wantCode(t, err, tasker.Invalid)
	}
}

// TestWebPages are what a proxy in front of the API may answer.
func TestWebPages(t *testing.T) {
	status := http.StatusOK
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, "<html>\x1b[2JWelcome</html>")
	})
	for status = range map[int]bool{http.StatusOK: true, http.StatusForbidden: true, http.StatusBadGateway: true} {
		if _, err := c.Task(t.Context(), "worker", "a"); err == nil || !strings.Contains(err.Error(), "unexpected web page") {
			t.Errorf("%d: got %v", status, err)
		}
		for _, err := range c.Watch(t.Context(), "worker", "a") {
			if err == nil || !strings.Contains(err.Error(), "unexpected web page") {
				t.Errorf("%d: events: got %v", status, err)
			}
		}
	}
}

// TestTaskDocument has what a newer API adds.
func TestTaskDocument(t *testing.T) {
	const document = `{"task":{"status":"NEW_STATUS","new":1},"taskResponseList":[],"summary":{},"more":[1.0,{"a":"<b>"}]}`
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, document) })
	got, err := c.TaskDocument(t.Context(), "worker", "a")
	if err != nil || string(got) != document {
		t.Errorf("got %s, %v", got, err)
	}
	_, err = c.TaskDocument(t.Context(), "worker", "")
	wantCode(t, err, tasker.Invalid)
}
