// Package handlers is what an endpoint can do: the Handler interface, the
// Registry in which a manager looks handlers up by task type, the Catalog in
// which a configuration looks them up by name, and the built-in handlers, one
// file each.
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
	Identifier string // the customer's
	Type       string
	Endpoint   string
	Attempt    int // 1 for the first run
	// Step is 1, and one more each time that the attempt goes on after a
	// reboot that the handler asked for; see [ErrContinueAfterReboot].
	Step int
	// Deadline is when the run limit passes and the context ends.
	Deadline time.Time
	// Payload is the customer's JSON value; "null" where none was given.
	Payload json.RawMessage
	// Log writes to the task's log, which everybody can follow live.
	Log *slog.Logger
	// Reporter takes what the handler tells while it runs; nil drops it. See
	// [Request.Progress], [Request.Partial] and [Request.Line].
	Reporter Reporter
}

// Reporter takes what a handler tells while it runs. Its methods may be called
// from any goroutine, return at once, and do nothing any more when the handler
// has returned.
type Reporter interface {
	Progress(done, total int64, message string)
	Partial(result Result)
	Line(stream, text string)
}

// Progress tells how far the attempt is: done of total, which is 0 where that
// is not known. The last one is kept.
func (r *Request) Progress(done, total int64, message string) {
	if r.Reporter != nil {
		r.Reporter.Progress(done, total, message)
	}
}

// Partial gives the result as far as it is known. The last one becomes the
// result's payload where the attempt ends without a result of its own.
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

// Result is what a run returns: one JSON value, or nil for none.
type Result = json.RawMessage

// Handler performs the tasks of one type. Handle runs in a goroutine of its
// own and must return soon after ctx ends; context.Cause(ctx) then tells why:
// [ErrTimeout], [ErrCanceled] or [ErrShutdown].
//
// A nil error is a run that ended well. Any other error is a failed run, which
// the task type's retry policy may repeat; see [Permanent], [RetryAfter],
// [WithCode] and [TimedOut]. A result beside an error is kept. A panic is a failed run.
type Handler interface {
	Handle(ctx context.Context, req *Request) (Result, error)
}

// Func is a function as a Handler.
type Func func(ctx context.Context, req *Request) (Result, error)

// Handle calls f.
func (f Func) Handle(ctx context.Context, req *Request) (Result, error) { return f(ctx, req) }

// Checker is a Handler that can tell whether it could work on this machine:
// that its program is there, for example. To make a handler checks its
// settings only, since an API without any program reads them too. A manager
// logs what Check says when it starts, and "tasker config check" tells it.
type Checker interface {
	Check() error
}

// Noter is a Handler that has something to say about its settings that is no
// mistake, but that whoever wrote them should know. "tasker config check" prints
// it.
type Noter interface {
	Notes() []string
}

// Preparer is a Handler that has something to do before a manager begins: to
// end what an earlier one left behind, for example.
type Preparer interface {
	Prepare(ctx context.Context, log *slog.Logger)
}

// Describer is a Handler that tells what it does. What the configuration says
// of a task type takes precedence.
type Describer interface {
	Describe() Description
}

// Description is what GET /v1/task-types tells of a task type.
type Description struct {
	Description string          // one sentence
	Usage       string          // for people who write payloads
	Schema      json.RawMessage // JSON Schema 2020-12 of the payload; nil for any
	Example     json.RawMessage // a payload to begin with; nil for none
}
