// Package attempt runs a handler once and judges how it ended: which state,
// errnr and payload the result gets. The manager and handlerstest share it, so
// that a test sees what production would store.
package attempt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// Exit is how a handler returned.
type Exit struct {
	Result handlers.Result
	Err    error
	// Panicked is true if the handler panicked or ended its goroutine instead
	// of returning; Err says which.
	Panicked bool
	// Cause is why the context had ended by the time the handler returned, or
	// nil. It is not affected by what happens to the context afterwards.
	Cause error
	// Partial is the handler's last partial result, or nil. The caller of Run,
	// which has the Reporter, sets it.
	Partial handlers.Result
}

// ErrAbandoned is the error of a handler that did not return in time.
var ErrAbandoned = errors.New("the handler did not return")

var errExited = errors.New("the handler ended its goroutine instead of returning")

// Run calls the handler in its own goroutine and waits for it to return. Once
// ctx has ended it waits for abandonAfter only; then it returns [ErrAbandoned]
// and the handler goes on in the background. A panic is returned as an error,
// with its stack in the request's log.
func Run(ctx context.Context, h handlers.Handler, req *handlers.Request, abandonAfter time.Duration) Exit {
	returned := make(chan Exit, 1)
	go call(ctx, h, req, returned)
	select {
	case exit := <-returned:
		return exit
	case <-ctx.Done():
	}
	limit := time.NewTimer(abandonAfter)
	defer limit.Stop()
	select {
	case exit := <-returned:
		return exit
	case <-limit.C:
		return Exit{Err: ErrAbandoned, Cause: context.Cause(ctx)}
	}
}

// call sends exactly one exit, however the handler ends.
func call(ctx context.Context, h handlers.Handler, req *handlers.Request, returned chan<- Exit) {
	exit := Exit{Err: errExited, Panicked: true}
	defer func() {
		exit.Cause = context.Cause(ctx)
		if v := recover(); v != nil {
			exit.Err = fmt.Errorf("the handler panicked: %v", v)
			req.Log.ErrorContext(ctx, "handler panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
		returned <- exit
	}()
	result, err := h.Handle(ctx, req)
	result, deep := Shallow(result)
	if deep {
		req.Log.WarnContext(ctx, "result stored as text", "reason", TooDeep)
	}
	exit = Exit{Result: result, Err: err}
}

// TooDeep is the reason why [Shallow] turns a result into text.
var TooDeep = fmt.Sprintf("nested more than %d levels deep", tasker.MaxDepth)

// Shallow returns a result that is nested deeper than a payload may be as a
// JSON string of its text, and reports whether it was. JSON readers have depth
// limits, and one such result would make its whole task unreadable.
func Shallow(result handlers.Result) (shallow handlers.Result, was bool) {
	text, was := jsonx.Shallow(result, tasker.MaxDepth)
	return text, was
}
