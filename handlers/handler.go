// Package handlers is what an endpoint can do: the Handler interface, the
// Registry that a manager looks them up in, and the built-in handlers, one
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
	// Deadline is when the run limit passes and the context ends.
	Deadline time.Time
	// Payload is the customer's JSON value; "null" where none was given.
	Payload json.RawMessage
	// Log writes to the manager's log, with the task's attributes.
	Log *slog.Logger
}

// Result is what a run returns: one JSON value, or nil for none.
type Result = json.RawMessage

// Handler performs the tasks of one type. Handle runs in a goroutine of its
// own and must return soon after ctx ends; context.Cause(ctx) then tells why:
// [ErrTimeout], [ErrCanceled] or [ErrShutdown].
//
// A nil error is a run that ended well. Any other error is a failed run, which
// the task type's retry policy may repeat; see [Permanent], [RetryAfter] and
// [WithCode]. A result beside an error is kept. A panic is a failed run.
type Handler interface {
	Handle(ctx context.Context, req *Request) (Result, error)
}

// Func is a function as a Handler.
type Func func(ctx context.Context, req *Request) (Result, error)

// Handle calls f.
func (f Func) Handle(ctx context.Context, req *Request) (Result, error) { return f(ctx, req) }
