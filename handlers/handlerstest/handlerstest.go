// Package handlerstest runs a handler as a manager would, and returns to a test how it
// ended: the state and the error number of the result, what the handler returned,
// reported and logged, and its attempts.
//
//	run := handlerstest.Run(t.Context(), deploy, handlerstest.Task{Payload: `{"version":"1.2.3"}`})
//	run.WantDone(t, `{"installed":true}`)
//
// The manager and this package run and judge an attempt with the same code. Only time
// differs: the next attempt, and the next step after a reboot, start at once.
package handlerstest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/schema"
)

// Task is the task that a handler is run for, and its limits. The zero value is a task
// without a payload.
type Task struct {
	Payload    string // JSON; empty means null
	ID         int64  // 0 means 1
	Identifier string // empty means "test"
	Type       string // empty means "test"
	Endpoint   string // empty means "test"

	// Timeout is the run limit of an attempt; 0 means 1 h.
	Timeout time.Duration
	// AbandonAfter is how long a handler may take to return after its context has
	// ended; 0 means 10 s.
	AbandonAfter time.Duration
	Retry        tasker.RetryPolicy
	// MaxResult is the limit of the result, in bytes; 0 means 1 MiB.
	MaxResult int
	// Schema is the JSON Schema of the payload; empty means that of the handler, if
	// it is a [handlers.Describer] with one.
	Schema string
	// LogLevel is the lowest level that the task's log records.
	LogLevel slog.Level
}

// Attempt is one attempt at a task.
type Attempt struct {
	Number int // from 1
	Steps  int // 1, plus 1 for each reboot that the handler asked for
	// State is that of the result after the attempt: Retrying if another one
	// follows, and Running if the manager's stop interrupted it, so that the next
	// manager would judge it.
	State  tasker.ResultState
	Errnr  int
	Errmsg string
	Result json.RawMessage // or the last valid partial result
	// RetryDelay is the pause before the next attempt.
	RetryDelay time.Duration
	Progress   []tasker.Progress // all that it reported, in order
	Partials   []json.RawMessage // the valid ones, in order
	Lines      []tasker.LogLine  // of its log and its output
}

// Ended is a task that has ended: its last attempt, and all of them.
type Ended struct {
	Attempt
	Attempts []Attempt // empty if the payload does not match the schema
}

// Running is a running task.
type Running struct {
	handler handlers.Handler
	task    Task
	schema  *schema.Schema

	ctx    context.Context //nolint:containedctx // of the run, from Start to Wait
	cancel context.CancelCauseFunc
	now    *recorder
	ended  chan struct{}
	result Ended
}

// Run performs a task and waits for its end. The end of ctx stops the manager. It
// panics if the task's payload is not JSON, or its schema is invalid.
func Run(ctx context.Context, h handlers.Handler, task Task) Ended {
	return Start(ctx, h, task).Wait()
}

// Start starts a task as [Run] does; [Running.Wait] must be called.
func Start(ctx context.Context, h handlers.Handler, task Task) *Running {
	task.ID = cmp.Or(task.ID, 1)
	task.Payload = cmp.Or(task.Payload, "null")
	task.Identifier, task.Type, task.Endpoint = cmp.Or(task.Identifier, "test"), cmp.Or(task.Type, "test"), cmp.Or(task.Endpoint, "test")
	task.Timeout, task.AbandonAfter = cmp.Or(task.Timeout, time.Hour), cmp.Or(task.AbandonAfter, 10*time.Second)
	task.MaxResult = cmp.Or(task.MaxResult, 1<<20)
	if !json.Valid([]byte(task.Payload)) {
		panic(fmt.Sprintf("handlerstest: the payload is not JSON: %s", task.Payload))
	}
	r := &Running{handler: h, task: task, schema: schemaOf(h, task), ended: make(chan struct{})}
	// Not a child of ctx: its cause must be that of a stopping manager.
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, r.Stop)
	r.now = newRecorder(task)
	go func() { //nolint:contextcheck // with the run's context
		defer close(r.ended)
		defer r.cancel(nil)
		defer stop()
		r.result = r.perform()
	}()
	return r
}

func schemaOf(h handlers.Handler, task Task) *schema.Schema {
	text := []byte(task.Schema)
	if describer, ok := handlers.Find[handlers.Describer](h); ok && len(text) == 0 {
		text = describer.Describe().Schema
	}
	if len(text) == 0 {
		return nil
	}
	compiled, err := schema.Compile(text)
	if err != nil {
		panic(fmt.Sprintf("handlerstest: %v", err))
	}
	return compiled
}

// Cancel cancels the task, as a client can.
func (r *Running) Cancel() { r.cancel(handlers.ErrCanceled) }

// Stop stops the manager, which interrupts the attempt.
func (r *Running) Stop() { r.cancel(handlers.ErrShutdown) }

// Until waits until a condition is true for the current attempt. It returns false if the
// task ends first.
func (r *Running) Until(condition func(soFar Attempt) bool) bool {
	for {
		soFar, changed := r.now.snapshot()
		if condition(soFar) {
			return true
		}
		select {
		case <-changed:
		case <-r.ended:
			soFar, _ = r.now.snapshot()
			return condition(soFar)
		}
	}
}

// Wait waits for the task's end.
func (r *Running) Wait() Ended {
	<-r.ended
	return r.result
}
