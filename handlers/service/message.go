package service

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/internal/payload"
	"github.com/taskerhq/tasker/internal/x/jsonx"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// version is that of the protocol, which docs/handlers.md describes.
	version = 1
	// maxInvalid bounds the invalid messages in a row.
	maxInvalid = 100
	// maxWarnings bounds what one task's log says about them.
	maxWarnings = 10
	// maxShown bounds what a message shows of a line, in characters.
	maxShown = 200
)

// requestMessage returns the line that hands a process a request.
func requestMessage(c *call) []byte {
	req := c.req
	line := struct {
		Version    int             `json:"v"`
		ID         string          `json:"id"`
		TaskID     int64           `json:"task_id"`
		Identifier string          `json:"identifier"`
		Type       string          `json:"type"`
		Endpoint   string          `json:"endpoint"`
		Attempt    int             `json:"attempt"`
		Deadline   *time.Time      `json:"deadline,omitempty"`
		Payload    json.RawMessage `json:"payload"`
	}{
		Version: version, ID: c.id, TaskID: req.TaskID, Identifier: req.Identifier, Type: req.Type,
		Endpoint: req.Endpoint, Attempt: req.Attempt, Payload: payload.OrNull(req.Payload),
	}
	if !req.Deadline.IsZero() {
		deadline := req.Deadline.UTC()
		line.Deadline = &deadline
	}
	return messageLine(line)
}

// cancelMessage returns the line that cancels a request.
func cancelMessage(id string, cause error) []byte {
	reason := "canceled"
	switch {
	case errors.Is(cause, handlers.ErrTimeout), errors.Is(cause, context.DeadlineExceeded):
		reason = "timeout"
	case errors.Is(cause, handlers.ErrShutdown):
		reason = "shutdown"
	}
	return messageLine(struct {
		Version int    `json:"v"`
		Cancel  string `json:"cancel"`
		Reason  string `json:"reason"`
	}{version, id, reason})
}

// messageLine returns a message as one line: encoding removes the line ends of a
// payload.
func messageLine(v any) []byte {
	line, err := jsonx.Encode(v)
	if err != nil { // a payload that is not JSON, which is accepted nowhere
		line = []byte("null")
	}
	return append(line, '\n')
}

// message is a line from a process.
type message struct {
	ID       json.RawMessage `json:"id"`
	Progress json.RawMessage `json:"progress"`
	Log      json.RawMessage `json:"log"`
	Partial  json.RawMessage `json:"partial"`
	Result   json.RawMessage `json:"result"`
	Error    json.RawMessage `json:"error"`
}

// message handles a line that the process wrote.
func (p *process) message(line []byte) {
	if line = bytes.ToValidUTF8(bytes.TrimSpace(line), []byte("\uFFFD")); len(line) == 0 {
		return
	}
	var m message
	var id string
	err := json.Unmarshal(line, &m)
	if err == nil {
		err = json.Unmarshal(payload.OrNull(m.ID), &id)
	}
	if err != nil || id == "" {
		p.warn(nil, "invalid message of the process", line)
		return
	}
	p.mu.Lock()
	c := p.calls[id]
	begun, over := p.begun, p.failure != nil
	p.mu.Unlock()
	number, _ := strconv.Atoi(id)
	switch {
	case over: // it is being killed
		return
	case c != nil && c.take(&m):
	case c != nil:
		p.warn(c, "unknown message of the process", line)
		return
	case number > 0 && number <= begun && strconv.Itoa(number) == id:
		p.warn(nil, "message of the process about an ended request", line)
		return
	default:
		p.warn(nil, "message of the process about an unknown request", line)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.invalid = 0
	if end, ok := m.end(); ok && p.calls[id] == c {
		delete(p.calls, id)
		p.answered++
		c.end <- end
	}
}

// take reports what a message says about a running request. It returns false if
// the message has no known content.
func (c *call) take(m *message) bool {
	taken := m.Result != nil || m.Error != nil
	if m.Progress != nil {
		var progress struct {
			Done    float64 `json:"done"`
			Total   float64 `json:"total"`
			Message string  `json:"message"`
		}
		if json.Unmarshal(m.Progress, &progress) == nil {
			c.req.Progress(int64(progress.Done), int64(progress.Total), progress.Message)
			taken = true
		}
	}
	if m.Log != nil {
		var entry struct {
			Level   string `json:"level"`
			Message string `json:"message"`
		}
		var level slog.Level
		if json.Unmarshal(m.Log, &entry) == nil && (entry.Level == "" || level.UnmarshalText([]byte(entry.Level)) == nil) {
			c.req.Logger().Log(context.Background(), level, entry.Message) //nolint:sloglint // the process's own words
			taken = true
		}
	}
	if m.Partial != nil {
		c.req.Partial(bytes.Clone(m.Partial))
		taken = true
	}
	return taken
}

// end returns the end of the request, if the message is one.
func (m *message) end() (end, bool) {
	if m.Error == nil || string(m.Error) == "null" && m.Result != nil {
		if m.Result == nil {
			return end{}, false
		}
		return end{result: resultOf(m.Result)}, true
	}
	var e struct {
		Message    string             `json:"message"`
		Code       int                `json:"code"`
		Permanent  bool               `json:"permanent"`
		RetryAfter *handlers.Duration `json:"retry_after"`
	}
	var err error
	if wrong := json.Unmarshal(m.Error, &e); wrong != nil {
		if json.Unmarshal(m.Error, &e.Message) != nil {
			err = fmt.Errorf("the process answered with an invalid error: %w: %s", wrong, text.Shorten(string(m.Error), maxShown))
		}
	}
	if err == nil {
		err = errors.New(strings.ToValidUTF8(cmp.Or(e.Message, "the process answered with an error without a message"), "\uFFFD"))
	}
	if e.Code > 0 {
		err = handlers.WithCode(e.Code, err)
	}
	if e.RetryAfter != nil {
		err = handlers.RetryAfter(time.Duration(*e.RetryAfter), err)
	}
	if e.Permanent {
		err = handlers.Permanent(err)
	}
	return end{result: resultOf(m.Result), err: err}, true
}

// resultOf returns a copy of a result, or nil for none.
func resultOf(raw json.RawMessage) handlers.Result {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	return bytes.Clone(raw)
}

// warn counts an invalid message, and logs it to the request that it is about, or
// else to one of those that the process has. Too many end the process.
func (p *process) warn(c *call, what string, line []byte) {
	p.mu.Lock()
	p.invalid++
	tooMany := p.invalid >= maxInvalid
	if c == nil {
		for _, c = range p.calls {
			break
		}
	}
	warnings := 0
	if c != nil {
		c.warnings++
		warnings = c.warnings
	}
	p.mu.Unlock()
	switch {
	case warnings == 0 || warnings > maxWarnings:
	case warnings == maxWarnings:
		c.req.Logger().Warn("the process keeps writing invalid messages")
	default:
		c.req.Logger().Warn(what, "line", fmt.Sprintf("%.*q", maxShown, line)) //nolint:sloglint // one of a few
	}
	if tooMany {
		p.kill(fmt.Errorf("it wrote %d invalid messages in a row, the last: %.*q", maxInvalid, maxShown, line))
	}
}
