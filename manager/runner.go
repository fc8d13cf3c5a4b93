package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/batch"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// runner runs attempts: it counts the attempt, checks the payload, calls the
// handler within the run limit, judges how it ended and has the end stored.
type runner struct {
	attempts  Attempts
	results   Results
	db        *database
	term      *leaseTerm
	completer *completer
	telemetry *telemetry
	events    *livefeed.Feed
	log       *slog.Logger
	starts    *batch.Writer[ledger.Start, started]
	returns   *batch.Writer[[]ledger.Start, returned]
	unsaved   *atomic.Int64 // see [control]
	metrics   observe.ManagerMetrics

	verifier     *verifier
	manager      string
	boot         string
	maxResult    int
	abandonAfter time.Duration
}

var _ jobRunner = (*runner)(nil)

// started is whether an attempt was started, or why the database does not take the
// start.
type started = written[bool]

// returned is which attempts of a list were given back, or why that is not possible.
type returned = written[[]bool]

func newRunner(r runner) *runner {
	r.starts = batch.New(maxBatch, func(ctx context.Context, starts []ledger.Start) ([]started, error) {
		return writeBatch(ctx, r.db, "start the attempts", 1, starts, r.attempts.StartAttempts)
	})
	r.returns = batch.New(batchSize, r.returnAll)
	return &r
}

// start counts the next attempt and runs it, unless somebody else was first or the
// result has ended or is lost.
func (r *runner) start(taking, running context.Context, j job) followUp {
	if j.AwaitsReboot != "" {
		return r.resume(taking, running, j)
	}
	begun, err := r.begin(taking, &j)
	if err != nil {
		if taking.Err() == nil {
			r.log.ErrorContext(taking, "could not start an attempt: retrying", "task_id", j.Task.ID, "endpoint", j.Endpoint, "err", err)
			_ = clock.Sleep(taking, time.Second)
		}
		return followUp{rescan: true}
	}
	if !begun {
		return followUp{suspect: true}
	}
	j.Attempt++
	j.Step = 0 // that of the previous attempt
	r.events.Add(livefeed.ChangeOf(&j.Task, j.Endpoint, j.Attempt, tasker.Running))
	return r.run(taking, running, j)
}

// begin counts the next attempt. It retries until the answer is known: the attempt
// may have begun, and nobody else would run it.
func (r *runner) begin(taking context.Context, j *job) (begun bool, err error) {
	for {
		s, err := r.starts.Do(ledger.Start{ResultKey: j.Key(), Manager: r.manager, Attempt: j.Attempt})
		if err == nil {
			err = s.err
		}
		if err == nil || isRefusal(err) || errors.Is(err, batch.ErrEnded) || clock.Sleep(taking, time.Second) != nil {
			return s.out, err
		}
	}
}

// giveBack makes results RECEIVED again whose attempts have not begun.
func (r *runner) giveBack(work []ledger.Work) ([]bool, error) {
	starts := make([]ledger.Start, len(work))
	for i := range work {
		starts[i] = ledger.Start{ResultKey: work[i].Key(), Manager: r.manager, Attempt: work[i].Attempt}
	}
	done, err := r.returns.Do(starts)
	if err == nil {
		err = done.err
	}
	if err != nil {
		r.log.Warn("could not give back attempts that have not begun", "endpoint", work[0].Endpoint, "attempts", len(work), "err", err)
		return nil, err
	}
	for i := range work {
		if done.out[i] {
			r.events.Add(livefeed.ChangeOf(&work[i].Task, work[i].Endpoint, work[i].Attempt-1, tasker.Received))
		}
	}
	return done.out, nil
}

// returnAll gives back the attempts of several pools by one call. It retries until
// the answer is known. The error is the cause if ctx ends.
func (r *runner) returnAll(ctx context.Context, lists [][]ledger.Start) ([]returned, error) {
	all := slices.Concat(lists...)
	var done []bool
	var unknown time.Time // when a call had no answer
	err := r.db.retry(ctx, "give back attempts", func(ctx context.Context) (err error) {
		done, err = r.attempts.ReturnAttempts(ctx, all)
		switch {
		case err != nil && !isRefusal(err):
			unknown = time.Now()
		case err != nil && time.Since(unknown) < callTimeout:
			// A gateway that cannot do it, while another one may still be at it.
			err = tasker.WrapError(tasker.Unavailable, err, "no answer yet")
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	results := make([]returned, len(lists))
	for i, list := range lists {
		if results[i].err = err; err == nil {
			results[i].out, done = done[:len(list)], done[len(list):]
		}
	}
	return results, nil
}

// run runs an attempt that is counted already and stores its end.
func (r *runner) run(taking, running context.Context, j job) followUp {
	return r.runStep(taking, running, j, tasker.LogTotals{})
}

// runStep runs a step of an attempt, whose earlier steps have logged so much.
func (r *runner) runStep(taking, running context.Context, j job, earlier tasker.LogTotals) followUp {
	log := r.logFor(&j.Work)
	// The process may have been stopped since the attempt was counted. If another
	// manager has the endpoint now, it judges the attempt.
	err := r.term.await(taking)
	if err == nil {
		err = r.loadPayload(taking, &j.Task)
	}
	if err != nil && taking.Err() != nil {
		log.WarnContext(taking, "attempt not begun: left to the next manager", "err", err)
		return followUp{}
	}
	if cause := context.Cause(running); errors.Is(cause, handlers.ErrCanceled) {
		log.InfoContext(taking, "task canceled before its handler was called", "reason", cause)
		j.freeSlot(0)
		return r.complete(running, log, &j, attempt.Cancel(j.Attempt, cause), nil)
	}
	if end, refused := r.refuse(&j, err, log); refused {
		log.WarnContext(taking, "task refused: its handler is not called", "state", end.State, "errmsg", end.Errmsg)
		j.freeSlot(0)
		return r.complete(running, log, &j, end, nil)
	}
	running, stop := context.WithTimeoutCause(running, j.binding.Timeout, handlers.ErrTimeout)
	defer stop()
	log.InfoContext(running, "handler started")
	begin := time.Now()
	report := r.telemetry.report(j.Work, earlier, log)
	exit := r.call(running, &j, report, log)
	j.freeSlot(time.Since(begin))
	end, decision := r.rules(&j).Judge(j.Attempt, exit)
	duration := time.Since(begin).Round(time.Microsecond)
	countRun(r.metrics, j.Task.Type, end.State, decision, duration)
	switch decision {
	case attempt.AwaitReboot:
		report.close(false)
		log.InfoContext(running, "handler asked for a reboot", "duration", duration)
		return r.requestReboot(taking, running, log, &j, exit.Err, report)
	case attempt.Leave:
		report.close(true)
		r.telemetry.await(report)
		log.WarnContext(running, "handler interrupted: the task is left to the next manager", "duration", duration, "err", exit.Err)
		return followUp{}
	case attempt.Store:
	}
	report.close(true)
	log.InfoContext(running, "handler ended", "duration", duration, "state", end.State, "errnr", end.Errnr, "errmsg", end.Errmsg)
	return r.complete(running, log, &j, end, report)
}

// refuse returns how an attempt ends whose handler must not be called, because its payload
// could not be had as it was accepted, which err says, or breaks the rules, or because of
// its signature.
func (r *runner) refuse(j *job, err error, log *slog.Logger) (end ledger.End, refused bool) {
	if err == nil {
		err = validate(&j.Task, &j.binding.TaskType)
	}
	if err == nil {
		err = r.verifier.check(&j.Work, j.binding.SignedBy, log)
	}
	switch {
	case err == nil:
		return ledger.End{}, false
	case errors.Is(err, errSignatureEnded):
		return attempt.Expire(j.Attempt, err), true
	case errors.Is(err, errNotKept):
		end, _ = r.rules(j).Judge(j.Attempt, attempt.Exit{Err: err})
		return end, true
	}
	return attempt.Reject(j.Attempt, err), true
}

// call calls the handler and stops the report.
func (r *runner) call(running context.Context, j *job, report *report, log *slog.Logger) attempt.Exit {
	deadline, _ := running.Deadline()
	exit := attempt.Run(running, j.binding.handler, &handlers.Request{
		TaskID: j.Task.ID, Identifier: j.Task.Identifier, Type: j.Task.Type, Endpoint: j.Endpoint,
		Attempt: j.Attempt, Step: max(j.Step, 1), Deadline: deadline, Payload: j.Task.Payload,
		Log: report.logger(), Reporter: report, //nolint:contextcheck // the report stores lines without a context
	}, r.abandonAfter)
	report.stop()
	exit.Partial = report.last()
	if errors.Is(exit.Err, attempt.ErrAbandoned) {
		log.ErrorContext(running, "handler did not return: abandoned, it goes on in the background", "after", r.abandonAfter)
	}
	if exit.Panicked {
		log.ErrorContext(running, "handler panicked: see the task's log for the stack", "err", exit.Err)
	}
	return exit
}

// complete has the end of an attempt stored.
func (r *runner) complete(ctx context.Context, log *slog.Logger, j *job, end ledger.End, report *report) followUp {
	end.ResultKey = j.Key()
	return r.completer.complete(ctx, log, &j.Work, end, report)
}

func (r *runner) logFor(work *ledger.Work) *slog.Logger {
	return r.log.With("endpoint", work.Endpoint, "task_id", work.Task.ID, "type", work.Task.Type,
		"identifier", work.Task.Identifier, "attempt", work.Attempt)
}

func (r *runner) rules(j *job) attempt.Rules {
	return attempt.Rules{Timeout: j.binding.Timeout, Retry: retryOf(&j.Task, j.binding), Earlier: j.Earlier, MaxResult: r.maxResult}
}

// retryOf returns the retry policy of a task: its own, or that of its type.
func retryOf(task *tasker.Task, b *binding) tasker.RetryPolicy {
	if task.Retry != nil {
		return *task.Retry
	}
	return b.Retry
}

// loadPayload reads the payload of a task that is about to run, if memory does not
// have it, and compares it with the digest that was stored with the task and that
// its message had.
func (r *runner) loadPayload(ctx context.Context, task *tasker.Task) error {
	if len(task.Payload) == 0 {
		err := r.db.retry(ctx, "read the payload", func(ctx context.Context) (err error) {
			task.Payload, err = r.results.TaskPayload(ctx, task.ID)
			return err
		})
		if err != nil {
			return err
		}
	}
	if got := wire.PayloadSHA256(task.Payload); task.PayloadSHA256 != "" && got != task.PayloadSHA256 {
		return fmt.Errorf("payload was changed after the task was accepted: it has SHA-256 %s, not %s", got, task.PayloadSHA256)
	}
	return nil
}
