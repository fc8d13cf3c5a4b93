package manager

import (
	"context"
	"encoding/json"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// keptPayload is the size of a payload, in bytes, above which it is not in
// memory while its task waits: it is read again when the task runs.
const keptPayload = 16 << 10

// lean returns work with what a run needs of its task, to be held until then.
func lean(work ledger.Work) ledger.Work {
	task := work.Task
	work.Task = tasker.Task{ID: task.ID, Type: task.Type, Identifier: task.Identifier}
	if len(task.Payload) <= keptPayload {
		work.Task.Payload = task.Payload
	}
	return work
}

// readPayload reads the payload of a task that is about to run, where it was
// left out.
func (e *executor) readPayload(ctx context.Context, task *tasker.Task) error {
	if len(task.Payload) > 0 {
		return nil
	}
	return e.m.persist(ctx, "read the payload", func(ctx context.Context) (err error) {
		task.Payload, err = e.m.store.TaskPayload(ctx, task.ID)
		return err
	})
}

// vet reports what is wrong with work that is about to run. The API has checked
// all of it when the task was made, but a row may have come another way, or by
// other rules; and a handler relies on what it gets.
func (e *executor) vet(task *tasker.Task, schema tasker.PayloadValidator) error {
	if err := tasker.ValidateIdentifier(task.Identifier); err != nil {
		return err
	}
	switch {
	case task.Type != e.name:
		return tasker.Errorf(tasker.Invalid, "the task is of type %q, and was found among those of type %q", task.Type, e.name)
	case jsonx.Depth(task.Payload) > tasker.MaxDepth:
		return tasker.Errorf(tasker.Invalid, "the payload is nested more than %d levels deep", tasker.MaxDepth)
	case !json.Valid(task.Payload):
		return tasker.Errorf(tasker.Invalid, "the payload is not JSON: it begins with %.100q", []byte(task.Payload))
	case schema == nil:
		return nil
	}
	return schema.Validate(task.Payload)
}
