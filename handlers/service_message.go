package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// serviceVersion is the version of the protocol; docs/handlers.md has it.
const serviceVersion = 1

// requestMessage is the line that gives a process a request.
func requestMessage(call *serviceCall) []byte {
	req := call.req
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
		Version: serviceVersion, ID: call.id, TaskID: req.TaskID, Identifier: req.Identifier, Type: req.Type,
		Endpoint: req.Endpoint, Attempt: req.Attempt, Payload: orNull(req.Payload),
	}
	if !req.Deadline.IsZero() {
		deadline := req.Deadline.UTC()
		line.Deadline = &deadline
	}
	return messageLine(line)
}

// cancelMessage is the line that takes a request back.
func cancelMessage(id string, cause error) []byte {
	reason := "canceled"
	switch {
	case errors.Is(cause, ErrTimeout), errors.Is(cause, context.DeadlineExceeded):
		reason = "timeout"
	case errors.Is(cause, ErrShutdown):
		reason = "shutdown"
	}
	return messageLine(struct {
		Version int    `json:"v"`
		Cancel  string `json:"cancel"`
		Reason  string `json:"reason"`
	}{serviceVersion, id, reason})
}

// messageLine writes a message as one line: the encoder takes the line ends out
// of a payload.
func messageLine(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// A payload that is no JSON, which nobody accepts anywhere.
		return []byte("null\n")
	}
	return b.Bytes()
}

// serviceMessage is a line from a process.
type serviceMessage struct {
	ID       json.RawMessage `json:"id"`
	Progress json.RawMessage `json:"progress"`
	Log      json.RawMessage `json:"log"`
	Partial  json.RawMessage `json:"partial"`
	Result   json.RawMessage `json:"result"`
	Error    json.RawMessage `json:"error"`
}

// message takes a line that a process wrote.
func (p *serviceProcess) message(line []byte) {
	if line = bytes.ToValidUTF8(bytes.TrimSpace(line), []byte("\uFFFD")); len(line) == 0 {
		return
	}
	var m serviceMessage
	var id string
	err := json.Unmarshal(line, &m)
	if err == nil {
		err = json.Unmarshal(orNull(m.ID), &id)
	}
	if err != nil || id == "" {
		p.warn(nil, "the process wrote a line that is no message", line)
		return
	}
	p.mu.Lock()
	call := p.calls[id]
	begun, over := p.begun, p.failure != nil
	p.mu.Unlock()
	number, _ := strconv.Atoi(id)
	switch {
	case over: // nobody trusts it any more
		return
	case call != nil && call.take(&m):
	case call != nil:
		p.warn(call, "the process wrote a message that cannot be read", line)
		return
	case number > 0 && number <= begun && strconv.Itoa(number) == id:
		p.warn(nil, "the process wrote about a request that has ended", line)
		return
	default:
		p.warn(nil, "the process wrote about a request that it does not have", line)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rubbish = 0
	if end, ok := m.end(); ok && p.calls[id] == call {
		delete(p.calls, id)
		p.answered++
		call.end <- end
	}
}

// take passes on what a message tells of a request that goes on. It is false
// where there is nothing in it that can be read.
func (c *serviceCall) take(m *serviceMessage) bool {
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
			logger(c.req).Log(context.Background(), level, entry.Message) //nolint:sloglint // the process's words
			taken = true
		}
	}
	if m.Partial != nil {
		c.req.Partial(bytes.Clone(m.Partial))
		taken = true
	}
	return taken
}

// end gives the end of the request, where the message is one.
func (m *serviceMessage) end() (serviceEnd, bool) {
	if m.Error == nil || string(m.Error) == "null" && m.Result != nil {
		if m.Result == nil {
			return serviceEnd{}, false
		}
		return serviceEnd{result: resultOf(m.Result)}, true
	}
	var e struct {
		Message    string    `json:"message"`
		Code       int       `json:"code"`
		Permanent  bool      `json:"permanent"`
		RetryAfter *Duration `json:"retry_after"`
	}
	var err error
	if wrong := json.Unmarshal(m.Error, &e); wrong != nil {
		if json.Unmarshal(m.Error, &e.Message) != nil {
			err = fmt.Errorf("the process answered an error that cannot be read: %w: %.200s", wrong, m.Error)
		}
	}
	if err == nil {
		err = errors.New(strings.ToValidUTF8(orElse(e.Message, "the process answered an error without a message"), "\uFFFD"))
	}
	if e.Code > 0 {
		err = WithCode(e.Code, err)
	}
	if e.RetryAfter != nil {
		err = RetryAfter(time.Duration(*e.RetryAfter), err)
	}
	if e.Permanent {
		err = Permanent(err)
	}
	return serviceEnd{result: resultOf(m.Result), err: err}, true
}

// resultOf gives a result of its own memory, nil for none.
func resultOf(raw json.RawMessage) Result {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	return bytes.Clone(raw)
}

// warn counts a line that is no message, and tells the log of the request that
// it is about, or else of one that the process has.
func (p *serviceProcess) warn(call *serviceCall, what string, line []byte) {
	p.mu.Lock()
	p.rubbish++
	tooMany := p.rubbish >= maxRubbish
	if call == nil {
		for _, call = range p.calls {
			break
		}
	}
	warnings := 0
	if call != nil {
		call.warnings++
		warnings = call.warnings
	}
	p.mu.Unlock()
	switch {
	case warnings == 0 || warnings > maxServiceWarnings:
	case warnings == maxServiceWarnings:
		logger(call.req).Warn("the process goes on writing what is no message")
	default:
		logger(call.req).Warn(what, "line", fmt.Sprintf("%.200q", line)) //nolint:sloglint // one of a few
	}
	if tooMany {
		p.kill(fmt.Errorf("it wrote %d lines in a row that are no messages, the last: %.200q", maxRubbish, line))
	}
}
