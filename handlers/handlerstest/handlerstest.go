// Package handlerstest runs a handler as a manager would, and tells a test how
// it ended: the state and the error number that the result would have, what
// the handler returned, told and logged, and how often it was repeated.
//
//	run := handlerstest.Run(t.Context(), deploy, handlerstest.Task{Payload: `{"version":"1.2.3"}`})
//	run.WantDone(t, `{"installed":true}`)
//
// What becomes of an attempt is not imitated: the manager and this package
// judge with the same code. Only time is different: nothing waits between two
// attempts, and a machine that is asked to reboot has done so at once.
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

// Task is what a handler is run for, and within which limits. The zero value
// is a task without a payload.
type Task struct {
	Payload    string // JSON; empty is null
	ID         int64  // 0 means 1
	Identifier string // empty means "test"
	Type       string // empty means "test"
	Endpoint   string // empty means "test"

	// Timeout is the run limit of an attempt; 0 means 1 h.
	Timeout time.Duration
	// AbandonAfter is how long a handler may take to return once its context
	// has ended; 0 means 10 s.
	AbandonAfter time.Duration
	Retry        tasker.RetryPolicy
	// MaxResult bounds what the handler returns, in bytes; 0 means 1 MiB.
	MaxResult int
	// Schema is that of the payload; empty means the handler's own, if it is a
	// [handlers.Describer] that has one.
	Schema string
	// LogLevel is from where on the task's log takes what the handler logs.
	LogLevel slog.Level
}

// Attempt is one attempt at a task.
type Attempt struct {
	Number int // from 1
	Steps  int // 1, and one more for each reboot that the handler asked for
	// State is that of the result after the attempt: Retrying where another
	// one follows, and Running where the manager's stop interrupted it, so
	// that the next manager would judge it.
	State  tasker.ResultState
	Errnr  int
	Errmsg string
	Result json.RawMessage // the last usable partial where it returned none
	// RetryDelay is the pause before the next attempt.
	RetryDelay time.Duration
	Progress   []tasker.Progress // all that it told, in order
	Partials   []json.RawMessage // likewise, those that can be stored
	Lines      []tasker.LogLine  // of its log and its output
}

// Ended is a task that has ended: its last attempt, and all of them.
type Ended struct {
	Attempt
	Attempts []Attempt // empty where the payload breaks the schema
}

// Running is a task whose handler runs.
type Running struct {
	handler handlers.Handler
	task    Task
	schema  *schema.Schema

	ctx    context.Context
	cancel context.CancelCauseFunc
	now    *recorder
	ended  chan struct{}
	result Ended
}

// Run performs a task and waits for its end. The end of ctx is the manager's
// stop. It panics where the task's payload is no JSON, or its schema none.
func Run(ctx context.Context, h handlers.Handler, task Task) Ended {
	return Start(ctx, h, task).Wait()
}

// Start begins a task as [Run] does; it must be waited for.
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
	// Not a child of ctx: the cause of its end must be the manager's.
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, r.Stop)
	r.now = newRecorder(task)
	go func() {
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

// Cancel cancels the task, as somebody may by the API.
func (r *Running) Cancel() { r.cancel(handlers.ErrCanceled) }

// Stop stops the manager: what runs is interrupted.
func (r *Running) Stop() { r.cancel(handlers.ErrShutdown) }

// Until waits until what the present attempt has told fulfills a condition. It
// gives false where the task ends before.
func (r *Running) Until(fulfilled func(soFar Attempt) bool) bool {
	for {
		soFar, changed := r.now.snapshot()
		if fulfilled(soFar) {
			return true
		}
		select {
		case <-changed:
		case <-r.ended:
			soFar, _ = r.now.snapshot()
			return fulfilled(soFar)
		}
	}
}

// Wait waits for the task's end.
func (r *Running) Wait() Ended {
	<-r.ended
	return r.result
}
