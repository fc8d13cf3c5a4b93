// Package verdict runs a handler once and judges how it ended: what a result
// becomes of what a handler returned. The manager stores its verdicts, and
// handlerstest tells them to tests, so that both agree.
package verdict

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

// Outcome is how a handler returned.
type Outcome struct {
	Result handlers.Result
	Err    error
	// Panicked tells that it did not return, but panicked or ended its
	// goroutine; Err says so.
	Panicked bool
	// Cause is why its context had ended when it returned, nil where it had
	// not: what ends later, before this is looked at, does not count.
	Cause error
	// Partial is what it gave last with Request.Partial; nil for nothing. Run
	// leaves it to the caller, who is the Reporter.
	Partial handlers.Result
}

// ErrAbandoned is the error of a handler that did not return in time.
var ErrAbandoned = errors.New("the handler did not return")

var errExited = errors.New("the handler ended its goroutine instead of returning")

// Run calls the handler in a goroutine of its own and waits for it; once ctx
// has ended, for abandonAfter only: then the outcome has [ErrAbandoned], and
// the handler goes on in the background. A panic is an error like others, and
// its stack goes to the request's log.
func Run(ctx context.Context, h handlers.Handler, req *handlers.Request, abandonAfter time.Duration) Outcome {
	returned := make(chan Outcome, 1)
	go call(ctx, h, req, returned)
	select {
	case out := <-returned:
		return out
	case <-ctx.Done():
	}
	limit := time.NewTimer(abandonAfter)
	defer limit.Stop()
	select {
	case out := <-returned:
		return out
	case <-limit.C:
		return Outcome{Err: ErrAbandoned, Cause: context.Cause(ctx)}
	}
}

// call sends exactly one outcome, however the handler ends.
func call(ctx context.Context, h handlers.Handler, req *handlers.Request, returned chan<- Outcome) {
	out := Outcome{Err: errExited, Panicked: true}
	defer func() {
		out.Cause = context.Cause(ctx)
		if v := recover(); v != nil {
			out.Err = fmt.Errorf("the handler panicked: %v", v)
			req.Log.ErrorContext(ctx, "the handler panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
		returned <- out
	}()
	result, err := h.Handle(ctx, req)
	result, deep := Shallow(result)
	if deep {
		req.Log.WarnContext(ctx, "the result is kept as text", "reason", TooDeep)
	}
	out = Outcome{Result: result, Err: err}
}

// TooDeep says what is wrong with a result of which [Shallow] makes text.
var TooDeep = fmt.Sprintf("it is nested more than %d levels deep", tasker.MaxDepth)

// Shallow returns a result that is nested deeper than a payload may be as a
// JSON string of its text, and reports whether it was: readers of JSON have
// limits, and one such result would make its whole task unreadable.
func Shallow(result handlers.Result) (shallow handlers.Result, was bool) {
	text, was := jsonx.Shallow(result, tasker.MaxDepth)
	return text, was
}
