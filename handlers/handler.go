// Package handlers is the contract between tasker and what an endpoint can do: the
// Handler interface, the Registry in which a manager looks up the handler of a
// task type, and the Catalog in which a configuration looks up a handler by name.
// The built-in handlers are packages below this one; see package builtin.
package handlers

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"
)

// Request is one attempt at one task, as a handler sees it.
type Request struct {
	TaskID     int64
	Identifier string // chosen by whoever posted the task
	Type       string
	Endpoint   string
	Attempt    int // 1 for the first run
	// Step is 1, and 1 higher after each reboot that the handler asked for; see
	// [ErrContinueAfterReboot].
	Step int
	// Deadline is when the run limit expires and the context ends.
	Deadline time.Time
	// Payload is the task's JSON value; "null" if it has none.
	Payload json.RawMessage
	// Log writes to the task's log, which can be followed live.
	Log *slog.Logger
	// Reporter receives what the handler reports while it runs; nil discards it.
	// See [Request.Progress], [Request.Partial] and [Request.Line].
	Reporter Reporter
}

// Reporter receives what a handler reports while it runs. Its methods may be called
// from any goroutine, return at once, and do nothing after the handler has
// returned.
type Reporter interface {
	Progress(done, total int64, message string)
	Partial(result Result)
	Line(stream, text string)
}

// Progress reports how far the attempt is: done of total, which is 0 if it is
// unknown. The last report is kept.
func (r *Request) Progress(done, total int64, message string) {
	if r.Reporter != nil {
		r.Reporter.Progress(done, total, message)
	}
}

// Partial reports the result so far. The last one becomes the result if the attempt
// ends without one.
func (r *Request) Partial(result Result) {
	if r.Reporter != nil {
		r.Reporter.Partial(result)
	}
}

// Line adds one line of output, without its line end, to the task's log.
// stream is tasker.StreamStdout or tasker.StreamStderr.
func (r *Request) Line(stream, text string) {
	if r.Reporter != nil {
		r.Reporter.Line(stream, text)
	}
}

// Logger returns Log, or a logger that discards everything if Log is nil.
func (r *Request) Logger() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

// Result is what a run returns: a JSON value, or nil for none.
type Result = json.RawMessage

// Handler performs the tasks of one type. Handle runs in a goroutine of its
// own and must return soon after ctx ends; context.Cause(ctx) is then
// [ErrTimeout], [ErrCanceled] or [ErrShutdown].
//
// A nil error means that the run succeeded. Any other error means that it failed,
// and the task type's retry policy may repeat it; see [Permanent], [RetryAfter],
// [WithCode] and [TimedOut]. A result that is returned with an error is kept. A
// panic is a failed run.
type Handler interface {
	Handle(ctx context.Context, req *Request) (Result, error)
}

// Func is a function that is a Handler.
type Func func(ctx context.Context, req *Request) (Result, error)

// Handle calls f.
func (f Func) Handle(ctx context.Context, req *Request) (Result, error) { return f(ctx, req) }

// Checker is a Handler that can check whether it would work on this machine: that its
// program exists, for example. A [Factory] checks the settings only, since the
// API, on a machine without any of the programs, reads them too. A manager logs
// the error when it starts, and "tasker config check" prints it.
type Checker interface {
	Check() error
}

// Noter is a Handler with notes about its settings: consequences that whoever wrote
// them should know. "tasker config check" prints them.
type Noter interface {
	Notes() []string
}

// Preparer is a Handler that has work to do before a manager runs anything, such as
// to end what a killed manager left running.
type Preparer interface {
	Prepare(ctx context.Context, log *slog.Logger)
}

// Limiter is a Handler with a setting that bounds its results. The configuration
// refuses a value above the manager's own limit, manager.max_result.
type Limiter interface {
	// ResultLimit returns the name of the setting and its value, in bytes.
	ResultLimit() (setting string, limit int64)
}

// Describer is a Handler that describes itself. What the configuration says about a
// task type takes precedence.
type Describer interface {
	Describe() Description
}

// Description is what GET /v1/task-types returns about a task type.
type Description struct {
	Description string          // one sentence
	Usage       string          // for people who write payloads
	Schema      json.RawMessage // JSON Schema 2020-12 of the payload; nil for any
	Example     json.RawMessage // a payload to begin with; nil for none
}
