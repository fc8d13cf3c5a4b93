package manager

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
)

// run performs one attempt, which is counted already, and stores its end. It
// goes on when ctx ends: the manager's stop cancels it in time.
func (e *executor) run(ctx context.Context, j job) (doubt bool) {
	return e.runStep(ctx, j, tasker.LogTotals{})
}

// runStep is run for a step of an attempt, which has logged so much before.
func (e *executor) runStep(ctx context.Context, j job, logged tasker.LogTotals) (doubt bool) {
	log := e.runLog(j.Work)
	// The process may have been stopped since the attempt was counted: if
	// another manager has the endpoint by now, the attempt is that one's to
	// judge, and must not begin.
	if err := e.m.lease.await(ctx); err != nil {
		log.WarnContext(ctx, "the attempt does not begin: its task is left to the next manager", "err", err)
		return false
	}
	err := e.readPayload(ctx, &j.Task)
	if err != nil && ctx.Err() != nil {
		log.WarnContext(ctx, "the attempt does not begin: its task is left to the next manager", "err", err)
		return false
	}
	if err == nil {
		err = e.vet(&j.Task, j.how.Payloads)
	}
	if err != nil {
		log.WarnContext(ctx, "the task is rejected: its handler is not called", "err", err)
		j.free()
		e.m.finishAttempt(context.WithoutCancel(ctx), e, j.Work, keyed(j.Work, attempt.Reject(j.Attempt, err)), nil)
		return false
	}
	run, deadline, end := e.limited(ctx, j.Work, j.how.Timeout)
	defer end()

	log.InfoContext(run, "the handler starts")
	begin := time.Now()
	report := newReport(e.m, j.Work, logged, log)
	out := attempt.Run(run, j.how.handler, &handlers.Request{
		TaskID: j.Task.ID, Identifier: j.Task.Identifier, Type: j.Task.Type, Endpoint: e.endpoint,
		Attempt: j.Attempt, Step: max(j.Step, 1), Deadline: deadline, Payload: j.Task.Payload,
		Log: report.logger(), Reporter: report,
	}, e.m.cfg.AbandonAfter)
	report.stop()
	j.free()
	out.Partial = report.last()
	if errors.Is(out.Err, attempt.ErrAbandoned) {
		log.ErrorContext(run, "the handler does not return: it is abandoned, and goes on in the background", "after", e.m.cfg.AbandonAfter)
	}
	if out.Panicked {
		log.ErrorContext(run, "the handler panicked: the task's log tells where", "err", out.Err)
	}
	rules := e.rules(j.how)
	finish, decision := rules.Judge(j.Attempt, out)
	duration := time.Since(begin).Round(time.Microsecond)
	switch decision {
	case attempt.AwaitReboot:
		report.close(false)
		log.InfoContext(run, "the handler asked for a reboot, to go on after it", "duration", duration)
		return e.askedForReboot(ctx, run, j.Work, out.Err, rules, report)
	case attempt.Leave:
		report.close(true)
		e.m.flusher.await(report)
		log.WarnContext(run, "the handler was interrupted: its task is left to the next manager", "duration", duration, "err", out.Err)
		return false
	case attempt.Store:
	}
	report.close(true)
	log.InfoContext(run, "the handler ended", "duration", duration, "state", finish.State, "errnr", finish.Errnr, "errmsg", finish.Errmsg)
	e.m.finishAttempt(run, e, j.Work, keyed(j.Work, finish), report)
	return false
}

func (e *executor) runLog(work ledger.Work) *slog.Logger {
	return e.m.log.With("endpoint", e.endpoint, "task_id", work.Task.ID, "type", work.Task.Type,
		"identifier", work.Task.Identifier, "attempt", work.Attempt)
}

func (e *executor) rules(how *performer) attempt.Rules {
	return attempt.Rules{Timeout: how.Timeout, Retry: how.Retry, MaxResult: e.m.cfg.MaxResult}
}

// keyed completes the end of an attempt.
func keyed(work ledger.Work, finish ledger.End) ledger.End {
	finish.ResultKey = work.Key()
	return finish
}

// limited gives the context of a run, which ends at its limit, or when the
// executor cancels it, and what ends it otherwise.
func (e *executor) limited(ctx context.Context, work ledger.Work, timeout time.Duration) (run context.Context, deadline time.Time, end func()) {
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	e.mu.Lock()
	e.cancels[work.Task.ID] = cancel
	e.mu.Unlock()
	run, stop := context.WithTimeoutCause(run, timeout, handlers.ErrTimeout)
	deadline, _ = run.Deadline()
	return run, deadline, func() {
		stop()
		e.mu.Lock()
		delete(e.cancels, work.Task.ID)
		e.mu.Unlock()
		cancel(nil)
	}
}
