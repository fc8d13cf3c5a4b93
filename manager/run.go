package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// maxErrmsg bounds what is kept of a handler's error, in bytes.
const maxErrmsg = 64 << 10

// outcome is how a handler returned.
type outcome struct {
	result   handlers.Result
	err      error
	panicked bool
	// cause is why its context had ended when it returned, nil where it had
	// not: what ends later, before this is looked at, does not count.
	cause error
}

// run performs one attempt, which is counted already, and stores its end. It
// goes on when ctx ends: the manager's stop cancels it in time.
func (e *executor) run(ctx context.Context, work tasker.Work, free func()) (doubt bool) {
	log := e.m.log.With("endpoint", e.endpoint, "task_id", work.Task.ID, "type", work.Task.Type,
		"identifier", work.Task.Identifier, "attempt", work.Attempt)
	// The process may have been stopped since the attempt was counted: if
	// another manager has the endpoint by now, the attempt is that one's to
	// judge, and must not begin.
	if err := e.m.lease.await(ctx); err != nil {
		log.WarnContext(ctx, "the attempt does not begin: its task is left to the next manager", "err", err)
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	e.mu.Lock()
	e.cancels[work.Task.ID] = cancel
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.cancels, work.Task.ID)
		e.mu.Unlock()
	}()
	ctx, stop := context.WithTimeoutCause(ctx, e.taskType.Timeout, handlers.ErrTimeout)
	defer stop()
	deadline, _ := ctx.Deadline()

	log.InfoContext(ctx, "the handler starts")
	begin := time.Now()
	returned := make(chan outcome, 1)
	go func() {
		returned <- e.handle(ctx, &handlers.Request{
			TaskID: work.Task.ID, Identifier: work.Task.Identifier, Type: work.Task.Type, Endpoint: e.endpoint,
			Attempt: work.Attempt, Deadline: deadline, Payload: work.Task.Payload, Log: log,
		})
	}()
	out := e.await(ctx, returned)
	free()
	finish, store := e.judge(work, out)
	duration := time.Since(begin).Round(time.Microsecond)
	if !store {
		log.WarnContext(ctx, "the handler was interrupted: its task is left to the next manager", "duration", duration, "err", out.err)
		return false
	}
	log.InfoContext(ctx, "the handler ended", "duration", duration, "state", finish.State, "errnr", finish.Errnr, "errmsg", finish.Errmsg)
	e.m.finishAttempt(ctx, e, finish)
	return false
}

// errAbandoned is the error of a handler that did not return.
var errAbandoned = errors.New("the handler did not return")

// await waits for the handler, and once its context has ended for a limited
// time only.
func (e *executor) await(ctx context.Context, returned <-chan outcome) outcome {
	select {
	case out := <-returned:
		return out
	case <-ctx.Done():
	}
	limit := time.NewTimer(e.m.cfg.AbandonAfter)
	defer limit.Stop()
	select {
	case out := <-returned:
		return out
	case <-limit.C:
		e.m.log.ErrorContext(ctx, "a handler does not return: it is abandoned, and goes on in the background",
			"endpoint", e.endpoint, "type", e.taskType.Name, "after", e.m.cfg.AbandonAfter)
		return outcome{err: errAbandoned, cause: context.Cause(ctx)}
	}
}

// handle calls the handler. A panic is an error like others.
func (e *executor) handle(ctx context.Context, req *handlers.Request) (out outcome) {
	defer func() {
		if v := recover(); v != nil {
			req.Log.ErrorContext(ctx, "the handler panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			out = outcome{err: fmt.Errorf("the handler panicked: %v", v), panicked: true, cause: context.Cause(ctx)}
		}
	}()
	result, err := e.handler.Handle(ctx, req)
	return outcome{result: result, err: err, cause: context.Cause(ctx)}
}

// judge says how an attempt ended. store is false where the manager's stop
// interrupted it: its result stays RUNNING, for adoption.
func (e *executor) judge(work tasker.Work, out outcome) (finish tasker.Finish, store bool) {
	finish = tasker.Finish{ResultKey: work.Key(), Attempt: work.Attempt}
	fail := func(state tasker.ResultState, errnr int, errmsg string) {
		finish.State, finish.Errnr, finish.Errmsg = state, errnr, clean(errmsg)
	}
	keep, problem := e.payload(out.result)
	switch {
	case errors.Is(out.cause, handlers.ErrTimeout):
		fail(tasker.TimedOut, tasker.ErrnrTimedOut, fmt.Sprintf("the run limit of %v passed%s", e.taskType.Timeout, afterwards(out)))
	case errors.Is(out.cause, handlers.ErrCanceled):
		fail(tasker.ResultCanceled, tasker.ErrnrCanceled, "the task was canceled"+afterwards(out))
	case out.cause != nil && out.err != nil && !out.panicked:
		return tasker.Finish{}, false
	case out.err != nil:
		fail(tasker.ResultFailed, handlers.Errnr(out.err), out.err.Error())
		finish.Payload = keep
		delay, again := e.taskType.Retry.Next(work.Attempt)
		if again && !handlers.IsPermanent(out.err) {
			if asked, ok := handlers.RetryDelay(out.err); ok {
				delay = asked
			}
			finish.State, finish.RetryDelay = tasker.Retrying, delay
		}
	case problem != "":
		fail(tasker.ResultFailed, tasker.ErrnrBadResult, problem)
	default:
		finish.State, finish.Payload = tasker.ResultDone, keep
	}
	return finish, true
}

// afterwards tells what a handler did after its context had ended.
func afterwards(out outcome) string {
	switch {
	case errors.Is(out.err, errAbandoned):
		return ", and the handler did not return"
	case out.err == nil:
		return ", and the handler returned without an error afterwards"
	case errors.Is(out.err, handlers.ErrTimeout), errors.Is(out.err, handlers.ErrCanceled),
		errors.Is(out.err, context.DeadlineExceeded), errors.Is(out.err, context.Canceled):
		return ""
	}
	return ": " + out.err.Error()
}

// payload gives what can be stored of a handler's result, or what is wrong
// with it.
func (e *executor) payload(result handlers.Result) (keep json.RawMessage, problem string) {
	switch {
	case len(result) == 0:
		return nil, ""
	case len(result) > e.m.cfg.MaxResult:
		return nil, fmt.Sprintf("the handler's result has %d bytes, and the limit is %d", len(result), e.m.cfg.MaxResult)
	case !json.Valid(result) || !utf8.Valid(result):
		return nil, fmt.Sprintf("the handler's result is not JSON: it begins with %.100q", result)
	}
	return result, ""
}

// clean makes an error's text storable: valid UTF-8, not empty, not endless.
func clean(s string) string {
	if s == "" {
		return "the handler failed without a message"
	}
	if n := len(s); n > maxErrmsg {
		s = fmt.Sprintf("%s... (truncated: %d bytes in all)", s[:maxErrmsg], n)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
