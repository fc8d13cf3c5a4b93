package attempt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Rules are the settings that the judgement of an exit depends on.
type Rules struct {
	Timeout   time.Duration // the run limit; used in the message only
	Retry     tasker.RetryPolicy
	Earlier   int // attempts that Retry does not count: those of earlier rounds of the task
	MaxResult int // in bytes
	// Random draws the jitter of Retry; see [tasker.RetryPolicy.Next]. Nil means
	// [rand.Float64].
	Random func() float64
}

// Decision is what to do with an attempt whose handler has ended.
type Decision int

const (
	// Store means that the attempt has ended and its end is to be stored.
	Store Decision = iota
	// Leave means that the manager's stop interrupted the attempt: its result
	// stays RUNNING, to be adopted by the next manager.
	Leave
	// AwaitReboot means that the handler continues after a reboot: the result
	// stays RUNNING until then; see [handlers.ErrContinueAfterReboot].
	AwaitReboot
)

// Judge returns what becomes of an attempt, counted from 1, whose handler has
// ended. The end is set for [Store] only, and its key is left to the caller.
func (r Rules) Judge(attempt int, exit Exit) (ledger.End, Decision) {
	finish := ledger.End{Attempt: attempt}
	fail := func(state tasker.ResultState, errnr int, errmsg string) {
		finish.State, finish.Errnr, finish.Errmsg = state, errnr, Clean(errmsg)
	}
	keep, problem := r.payload(exit.Result)
	if keep == nil {
		keep, _ = r.payload(exit.Partial)
	}
	finish.Payload = keep
	timedOut, canceled := errors.Is(exit.Cause, handlers.ErrTimeout), errors.Is(exit.Cause, handlers.ErrCanceled)
	switch {
	case timedOut:
		fail(tasker.TimedOut, tasker.ErrnrTimedOut, fmt.Sprintf("the run limit of %v passed%s", r.Timeout, afterwards(exit)))
	case canceled:
		fail(tasker.ResultCanceled, tasker.ErrnrCanceled, exit.Cause.Error()+afterwards(exit))
	// A limit that the handler set itself. It passed before the manager's stop,
	// if there is one.
	case errors.Is(exit.Err, handlers.ErrTimeout) && !exit.Panicked:
		fail(tasker.TimedOut, tasker.ErrnrTimedOut, exit.Err.Error())
		r.retry(&finish, exit.Err)
	// Even if the manager is stopping: the reboot may have begun.
	case errors.Is(exit.Err, handlers.ErrContinueAfterReboot):
		return ledger.End{}, AwaitReboot
	case exit.Cause != nil && exit.Err != nil && !exit.Panicked:
		return ledger.End{}, Leave
	case exit.Err != nil:
		fail(tasker.ResultFailed, handlers.Errnr(exit.Err), exit.Err.Error())
		r.retry(&finish, exit.Err)
	case problem != "":
		fail(tasker.ResultFailed, tasker.ErrnrBadResult, problem)
	default:
		finish.State = tasker.ResultDone
	}
	return finish, Store
}

// retry turns the end of an attempt into RETRYING if another attempt follows. A
// handler that asks for a delay gets it in place of the policy's; if the type
// has no policy, it gets up to [handlers.MaxAskedAttempts] attempts.
func (r Rules) retry(finish *ledger.End, err error) {
	random := r.Random
	if random == nil {
		random = rand.Float64
	}
	attempt := finish.Attempt - r.Earlier
	delay, again := r.Retry.Next(attempt, random)
	if asked, asks := handlers.RetryDelay(err); asks {
		delay = min(max(asked, 0), handlers.MaxAskedDelay)
		again = again || len(r.Retry.Delays) == 0 && attempt < handlers.MaxAskedAttempts
	}
	if again && !handlers.IsPermanent(err) {
		finish.State, finish.RetryDelay = tasker.Retrying, delay
	}
}

// Reject returns the end of an attempt whose payload breaks its type's schema, or whose
// signature does not permit it, with err as the message. The handler is not called.
func Reject(attempt int, err error) ledger.End {
	return ledger.End{Attempt: attempt, State: tasker.Rejected, Errnr: tasker.ErrnrRejected, Errmsg: Clean(err.Error())}
}

// Expire returns the end of an attempt whose signature has expired, with err as the
// message. The handler is not called.
func Expire(attempt int, err error) ledger.End {
	return ledger.End{Attempt: attempt, State: tasker.Expired, Errnr: tasker.ErrnrExpired, Errmsg: Clean(err.Error())}
}

// Cancel returns the end of an attempt that was canceled for a cause, without its
// handler: that was not called, or nobody knows what became of it.
func Cancel(attempt int, cause error) ledger.End {
	return ledger.End{Attempt: attempt, State: tasker.ResultCanceled, Errnr: tasker.ErrnrCanceled, Errmsg: Clean(cause.Error())}
}

// afterwards returns what to add to the message about what a handler did after
// its context had ended.
func afterwards(exit Exit) string {
	switch {
	case errors.Is(exit.Err, ErrAbandoned):
		return ", and the handler did not return"
	case exit.Err == nil:
		return ", and the handler returned without an error afterwards"
	case errors.Is(exit.Err, exit.Cause):
		// Keep what it adds to the cause: how its program ended, for example.
		rest, _ := strings.CutPrefix(exit.Err.Error(), exit.Cause.Error())
		if rest == exit.Err.Error() {
			return ": " + rest
		}
		return rest
	case errors.Is(exit.Err, context.DeadlineExceeded), errors.Is(exit.Err, context.Canceled):
		return ""
	}
	return ": " + exit.Err.Error()
}

// payload returns the part of a handler's result that can be stored, or what is
// wrong with the result.
func (r Rules) payload(result handlers.Result) (keep json.RawMessage, problem string) {
	switch {
	case len(result) == 0:
		return nil, ""
	case len(result) > r.MaxResult:
		return nil, fmt.Sprintf("result too large: %d bytes, the limit is %d", len(result), r.MaxResult)
	case !json.Valid(result) || !utf8.Valid(result):
		return nil, fmt.Sprintf("invalid result: not JSON, begins with %.100q", result)
	}
	return result, ""
}

// maxErrmsg bounds a stored error message, in bytes.
const maxErrmsg = 64 << 10

// Clean makes an error message storable: valid UTF-8, not empty, of bounded size.
func Clean(s string) string {
	if s == "" {
		return "the handler failed without a message"
	}
	if n := len(s); n > maxErrmsg {
		s = fmt.Sprintf("%s... (truncated: %d bytes in total)", text.Cut(s, maxErrmsg), n)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
