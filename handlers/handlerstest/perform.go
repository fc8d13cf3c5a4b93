package handlerstest

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
)

// perform makes attempts until the last one.
func (r *Running) perform() Ended {
	var ended Ended
	for number := 1; ; number++ {
		if errors.Is(context.Cause(r.ctx), handlers.ErrCanceled) && number > 1 {
			ended.State, ended.Errnr, ended.Errmsg = tasker.ResultCanceled, tasker.ErrnrCanceled, "the task was canceled"
			return ended
		}
		if number > 1 && r.ctx.Err() != nil {
			return ended
		}
		if err := r.schema.Validate(json.RawMessage(r.task.Payload)); err != nil {
			ended.end(attempt.Reject(number, err))
			return ended
		}
		ended.Attempt = r.attempt(number)
		ended.Attempts = append(ended.Attempts, ended.Attempt)
		if ended.State != tasker.Retrying {
			return ended
		}
	}
}

func (a *Attempt) end(finish ledger.End) {
	a.Number, a.State, a.Errnr, a.Errmsg = finish.Attempt, finish.State, finish.Errnr, finish.Errmsg
	a.Result, a.RetryDelay = finish.Payload, finish.RetryDelay
}

// attempt runs the handler once, and once more after each reboot.
func (r *Running) attempt(number int) Attempt {
	rules := attempt.Rules{Timeout: r.task.Timeout, Retry: r.task.Retry, MaxResult: r.task.MaxResult}
	r.now.begin(number)
	for step := 1; ; step++ {
		exit := r.step(number, step)
		told, _ := r.now.snapshot()
		told.Steps = step
		if len(told.Partials) > 0 {
			exit.Partial = told.Partials[len(told.Partials)-1]
		}
		finish, decision := rules.Judge(number, exit)
		if decision == attempt.AwaitReboot && r.ctx.Err() == nil {
			continue
		}
		if decision != attempt.Store {
			told.State = tasker.Running
			return told
		}
		told.end(finish)
		return told
	}
}

func (r *Running) step(number, step int) attempt.Exit {
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.task.Timeout, handlers.ErrTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	listener := &reporter{recorder: r.now}
	defer listener.close()
	return attempt.Run(ctx, r.handler, &handlers.Request{
		TaskID: r.task.ID, Identifier: r.task.Identifier, Type: r.task.Type, Endpoint: r.task.Endpoint,
		Attempt: number, Step: step, Deadline: deadline.Round(0), Payload: json.RawMessage(r.task.Payload),
		Log: listener.logger(), Reporter: listener,
	}, r.task.AbandonAfter)
}

// now returns the time in the form of the domain.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
