package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/backoff"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// silence is how long a stream may be silent; the API sends a comment every
	// 15 s.
	silence = 45 * time.Second
	// reconnectPause is the pause before the first try to reconnect.
	reconnectPause = time.Second
)

// Event is one event of a stream. Data is a pointer to the type for its name.
type Event struct {
	Name string
	ID   string // where the stream can resume; empty keeps the previous one
	Data any
}

// taskEvents and allEvents are the events by name. Others are skipped: they come
// from a newer API.
var (
	taskEvents = map[string]func() any{
		"snapshot": func() any { return new(TaskAnswer) },
		"log":      func() any { return new(LogEvent) },
		"result":   func() any { return new(tasker.TaskResult) },
		"progress": func() any { return new(ProgressEvent) },
		"task":     func() any { return new(TaskEvent) },
		"left_out": func() any { return new(LeftOutEvent) },
		"end":      func() any { return new(EndEvent) },
	}
	allEvents = map[string]func() any{
		"snapshot": func() any { return new(TaskSnapshot) },
		"task":     func() any { return new(TaskView) },
		"result":   func() any { return new(ResultHint) },
		"progress": func() any { return new(ProgressHint) },
		"left_out": func() any { return new(LeftOutEvent) },
	}
)

// Watch returns the events of a task: a snapshot (*[TaskAnswer]), and then the
// changes (*[LogEvent], *[tasker.TaskResult], *[ProgressEvent], *[TaskEvent])
// until the task has ended and its logs are complete (*[EndEvent]). If the
// connection is lost it resumes, with another snapshot: log lines may come again,
// and are recognized by their numbers. It ends after an error.
//
// The events of a task for more than 1,000 endpoints are the numbers of its results
// and some of those that change: the snapshot has no results, which
// [TaskAnswer].ResultsLeftOut says, and [Client.Results] returns them; those sent
// later have no payloads, but their PayloadSize; *[LeftOutEvent] counts those that
// were too many to send; and there are no logs and no progress.
func (c *Client) Watch(ctx context.Context, taskType, identifier string) iter.Seq2[Event, error] {
	return c.WatchWith(ctx, taskType, identifier, Reconnect{})
}

// Reconnect says what a stream does when its connection is lost.
type Reconnect struct {
	// Patience is for how long the API may be out of reach before the stream ends with
	// an error; 0 means for as long as the context lasts. A stream that was never
	// connected ends after a few tries.
	Patience time.Duration
	// Lost, if set, is called after each try that failed, before the next one.
	Lost func(err error)
}

// WatchWith is [Client.Watch] with other rules for lost connections.
func (c *Client) WatchWith(ctx context.Context, taskType, identifier string, reconnect Reconnect) iter.Seq2[Event, error] {
	if err := validTask(taskType, identifier); err != nil {
		return func(yield func(Event, error) bool) { yield(Event{}, err) }
	}
	return c.watch(ctx, request{path: []string{taskType, identifier, "events"}}, taskEvents, reconnect)
}

// WatchQuery selects the events of all tasks.
type WatchQuery struct {
	TaskType string            // empty means any
	Status   tasker.TaskStatus // empty means any
}

// WatchAll returns the events of all tasks: a snapshot (*[TaskSnapshot]), and
// then the changes (*[TaskView], *[ResultHint], *[ProgressHint], *[LeftOutEvent])
// until ctx ends. If the connection is lost it resumes, with another snapshot. It
// ends after an error.
func (c *Client) WatchAll(ctx context.Context, q WatchQuery) iter.Seq2[Event, error] {
	query := url.Values{}
	if q.TaskType != "" {
		query.Set("task_type", q.TaskType)
	}
	if q.Status != "" {
		query.Set("status", string(q.Status))
	}
	return c.watch(ctx, request{path: []string{"v1", "events"}, query: query}, allEvents, Reconnect{})
}

// errStopped ends a stream whose reader wants no more.
var errStopped = errors.New("stopped")

// watch reads a stream, and reconnects for as long as ctx lasts once it was
// connected.
func (t *transport) watch(
	ctx context.Context, r request, known map[string]func() any, reconnect Reconnect,
) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		pause := backoff.Backoff{First: reconnectPause, Most: maxPause}
		r.header = http.Header{"Accept": {"text/event-stream"}}
		connected := false
		var lost time.Time // when the connection was lost; zero while there is one
		for try := 1; ; try++ {
			ended, err := t.readStream(ctx, r, known, func(e Event) bool {
				connected, lost = true, time.Time{}
				pause.Reset()
				if e.ID != "" {
					r.header.Set("Last-Event-ID", e.ID)
				}
				return yield(e, nil)
			})
			switch {
			case ended || errors.Is(err, errStopped):
				return
			case ctx.Err() != nil:
				yield(Event{}, context.Cause(ctx))
				return
			case !temporary(err), !connected && try == maxTries, reconnect.exhausted(&lost):
				yield(Event{}, err)
				return
			}
			if reconnect.Lost != nil {
				reconnect.Lost(err)
			}
			if clock.Sleep(ctx, retryAfter(err, &pause)) != nil {
				yield(Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

// exhausted reports whether the API has been out of reach for too long. lost is when
// the connection was lost, which is now if it is zero.
func (r Reconnect) exhausted(lost *time.Time) bool {
	if lost.IsZero() {
		*lost = time.Now()
	}
	return r.Patience > 0 && time.Since(*lost) >= r.Patience
}

// readStream reads one connection's events. ended reports that nothing more will
// come; otherwise the connection was lost.
func (t *transport) readStream(
	ctx context.Context, r request, known map[string]func() any, yield func(Event) bool,
) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(silence, cancel)
	defer idle.Stop()
	response, err := t.send(ctx, r)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusNoContent {
		return true, nil
	}
	if isWebPage(response) {
		return false, t.errWebPage()
	}
	for in := bufio.NewReader(response.Body); ; {
		name, id, data, err := readEvent(in, func() { idle.Reset(silence) })
		if err != nil {
			return false, tasker.WrapError(tasker.Unavailable, err, "event stream interrupted")
		}
		newData, ok := known[name]
		if !ok {
			continue
		}
		event := Event{Name: name, ID: id, Data: newData()}
		if err := json.Unmarshal(data, event.Data); err != nil {
			return false, fmt.Errorf("decode event %q: %w", name, err)
		}
		idle.Stop() // the reader may take its time
		if !yield(event) {
			return false, errStopped
		}
		if _, ok := event.Data.(*EndEvent); ok {
			return true, nil
		}
	}
}

// readEvent reads the next server-sent event with data. It calls alive for each
// line.
func readEvent(in *bufio.Reader, alive func()) (name, id string, data []byte, err error) {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return "", "", nil, err
		}
		alive()
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if data != nil {
				return name, id, data, nil
			}
			name, id = "", ""
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "id":
			id = string(value)
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
}
