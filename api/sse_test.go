package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskerhq/tasker/api"
)

// fast are settings with which a stream does in milliseconds what normally takes
// seconds.
var fast = api.StreamSettings{Poll: 5 * time.Millisecond, Pause: time.Millisecond, Overlap: 20 * time.Millisecond}

// event is one server-sent event.
type event struct{ name, id, data string }

func isStream(resp *http.Response) bool {
	return resp.Header.Get("Content-Type") == "text/event-stream"
}

// readEvent returns the next event with data as it was sent; nil at the end of the
// stream.
func readEvent(t testing.TB, r *bufio.Reader) []byte {
	t.Helper()
	var raw []byte
	for {
		line, err := r.ReadBytes('\n')
		raw = append(raw, line...)
		if err != nil {
			return nil
		}
		if len(line) > 1 {
			continue
		}
		if strings.Contains(string(raw), "data: ") {
			return raw
		}
		raw = raw[:0] // retry, or a comment
	}
}

func parseEvent(raw []byte) (e event) {
	for line := range strings.Lines(string(raw)) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		}
	}
	return e
}

// follower is a client of a stream.
type follower struct {
	t      testing.TB
	status int
	cancel context.CancelFunc
	events chan event // closed at the end of the stream
	all    bool       // of all tasks
}

// follow begins a stream, of a path or a whole address. Its events are held against the contract.
func (h *harness) follow(t testing.TB, path string, headers ...string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if strings.HasPrefix(path, "/") {
		path = h.http.URL + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(req, nil, resp, nil); err != nil {
		t.Error(err)
	}
	f := &follower{t: t, status: resp.StatusCode, cancel: cancel, events: make(chan event, 10_000), all: req.URL.Path == "/v1/events"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(f.events)
		defer func() { _ = resp.Body.Close() }()
		for r := bufio.NewReader(resp.Body); ; {
			raw := readEvent(t, r)
			if raw == nil {
				return
			}
			e := parseEvent(raw)
			if err := checkEvent(c.doc, f.all, e); err != nil {
				t.Errorf("%s: %v\n%s", path, err, raw)
			}
			f.events <- e
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// checkEvent checks the data of an event against the document.
func checkEvent(doc *openapi3.T, all bool, e event) error {
	name := map[string]string{
		"snapshot": "TaskAnswer", "task": "TaskEvent", "result": "TaskResult", "progress": "ProgressEvent", "log": "LogEvent", "end": "EndEvent",
		"left_out": "LeftOutEvent",
	}[e.name]
	if all {
		name = map[string]string{
			"snapshot": "TaskSnapshot", "task": "TaskView", "result": "ResultHint", "progress": "ProgressHint", "left_out": "LeftOutEvent",
		}[e.name]
	}
	if name == "" {
		return fmt.Errorf("the event %q is not documented", e.name)
	}
	var data any
	if err := json.Unmarshal([]byte(e.data), &data); err != nil {
		return err
	}
	return doc.Components.Schemas[name].Value.VisitJSON(data)
}

// next waits for the next event.
func (f *follower) next() event {
	f.t.Helper()
	select {
	case e, ok := <-f.events:
		if !ok {
			f.t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(5 * time.Minute):
		f.t.Fatal("no event comes")
	}
	return event{}
}

// until returns the events up to the first with a name.
func (f *follower) until(name string) (events []event) {
	f.t.Helper()
	for {
		e := f.next()
		if events = append(events, e); e.name == name {
			return events
		}
	}
}

// ended waits for the end of the stream, and returns the events before it.
func (f *follower) ended() (events []event) {
	f.t.Helper()
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				return events
			}
			events = append(events, e)
		case <-time.After(5 * time.Minute):
			f.t.Fatal("the stream does not end")
		}
	}
}

func names(events []event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.name)
	}
	return strings.Join(all, " ")
}
