package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Rules are what a verdict depends on, besides the outcome.
type Rules struct {
	Timeout   time.Duration // the run limit, for the message only
	Retry     tasker.RetryPolicy
	MaxResult int // in bytes
}

// Decision is what shall happen to an attempt.
type Decision int

const (
	// Store is for an attempt that has ended, as the Finish says.
	Store Decision = iota
	// Leave is for one that the manager's stop interrupted: its result stays
	// RUNNING, for adoption.
	Leave
	// AwaitReboot is for one whose handler goes on after a reboot: its result
	// stays RUNNING until then; see [handlers.ErrContinueAfterReboot].
	AwaitReboot
)

// Judge says how an attempt, counted from 1, ended. The Finish is of [Store]
// only, and has no key yet.
func (r Rules) Judge(attempt int, out Outcome) (ledger.End, Decision) {
	finish := ledger.End{Attempt: attempt}
	fail := func(state tasker.ResultState, errnr int, errmsg string) {
		finish.State, finish.Errnr, finish.Errmsg = state, errnr, Clean(errmsg)
	}
	keep, problem := r.payload(out.Result)
	if keep == nil {
		keep, _ = r.payload(out.Partial)
	}
	finish.Payload = keep
	timedOut, canceled := errors.Is(out.Cause, handlers.ErrTimeout), errors.Is(out.Cause, handlers.ErrCanceled)
	switch {
	case timedOut:
		fail(tasker.TimedOut, tasker.ErrnrTimedOut, fmt.Sprintf("the run limit of %v passed%s", r.Timeout, afterwards(out)))
	case canceled:
		fail(tasker.ResultCanceled, tasker.ErrnrCanceled, "the task was canceled"+afterwards(out))
	// Of a limit that the handler has set itself. It has passed before the
	// manager stopped, where that stops.
	case errors.Is(out.Err, handlers.ErrTimeout) && !out.Panicked:
		fail(tasker.TimedOut, tasker.ErrnrTimedOut, out.Err.Error())
		r.retry(&finish, out.Err)
	// Also where the manager is stopping: the reboot may have begun.
	case errors.Is(out.Err, handlers.ErrContinueAfterReboot):
		return ledger.End{}, AwaitReboot
	case out.Cause != nil && out.Err != nil && !out.Panicked:
		return ledger.End{}, Leave
	case out.Err != nil:
		fail(tasker.ResultFailed, handlers.Errnr(out.Err), out.Err.Error())
		r.retry(&finish, out.Err)
	case problem != "":
		fail(tasker.ResultFailed, tasker.ErrnrBadResult, problem)
	default:
		finish.State = tasker.ResultDone
	}
	return finish, Store
}

// retry makes the end of an attempt a pause before the next one, where another
// one follows. A handler that asks for a time gets that instead of the policy's
// and, where the type has no policy, attempts up to [handlers.MaxAskedAttempts].
func (r Rules) retry(finish *ledger.End, err error) {
	delay, again := r.Retry.Next(finish.Attempt)
	if asked, asks := handlers.RetryDelay(err); asks {
		delay = min(max(asked, 0), handlers.MaxAskedDelay)
		again = again || len(r.Retry.Delays) == 0 && finish.Attempt < handlers.MaxAskedAttempts
	}
	if again && !handlers.IsPermanent(err) {
		finish.State, finish.RetryDelay = tasker.Retrying, delay
	}
}

// Reject is the end of a result whose payload breaks its type's schema, as err
// says: the handler is not called, not now and not later.
func Reject(attempt int, err error) ledger.End {
	return ledger.End{Attempt: attempt, State: tasker.Rejected, Errnr: tasker.ErrnrRejected, Errmsg: Clean(err.Error())}
}

// afterwards tells what a handler did after its context had ended.
func afterwards(out Outcome) string {
	switch {
	case errors.Is(out.Err, ErrAbandoned):
		return ", and the handler did not return"
	case out.Err == nil:
		return ", and the handler returned without an error afterwards"
	case errors.Is(out.Err, out.Cause):
		// What it says besides that: how its program ended, for example.
		rest, _ := strings.CutPrefix(out.Err.Error(), out.Cause.Error())
		if rest == out.Err.Error() {
			return ": " + rest
		}
		return rest
	case errors.Is(out.Err, context.DeadlineExceeded), errors.Is(out.Err, context.Canceled):
		return ""
	}
	return ": " + out.Err.Error()
}

// payload gives what can be stored of a handler's result, or what is wrong
// with it.
func (r Rules) payload(result handlers.Result) (keep json.RawMessage, problem string) {
	switch {
	case len(result) == 0:
		return nil, ""
	case len(result) > r.MaxResult:
		return nil, fmt.Sprintf("the handler's result has %d bytes, and the limit is %d", len(result), r.MaxResult)
	case !json.Valid(result) || !utf8.Valid(result):
		return nil, fmt.Sprintf("the handler's result is not JSON: it begins with %.100q", result)
	}
	return result, ""
}

// maxErrmsg bounds what is kept of a handler's error, in bytes.
const maxErrmsg = 64 << 10

// Clean makes an error's text storable: valid UTF-8, not empty, not endless.
func Clean(s string) string {
	if s == "" {
		return "the handler failed without a message"
	}
	if n := len(s); n > maxErrmsg {
		s = fmt.Sprintf("%s... (truncated: %d bytes in all)", s[:maxErrmsg], n)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
