package manager

import (
	"encoding/json"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// maxKeptPayload is the size of a payload, in bytes, above which it is not kept in
// memory while its task waits, but read again when the task runs.
const maxKeptPayload = 16 << 10

// lean returns work with only what a run needs of its task.
func lean(work ledger.Work) ledger.Work {
	task := work.Task
	work.Task = tasker.Task{
		ID: task.ID, Type: task.Type, Identifier: task.Identifier, Retry: task.Retry, Signature: task.Signature,
	}
	if len(task.Payload) <= maxKeptPayload {
		work.Task.Payload = task.Payload
	}
	return work
}

// validate returns what is wrong with a task that is about to run as t. The API
// checked it when it was created, but a row may have come another way or by other
// rules, and handlers rely on their input.
func validate(task *tasker.Task, t *tasker.TaskType) error {
	if err := tasker.ValidateIdentifier(task.Identifier); err != nil {
		return err
	}
	switch {
	case task.Type != t.Name:
		return tasker.Errorf(tasker.Invalid, "wrong task type %q: found among the tasks of type %q", task.Type, t.Name)
	case jsonx.Depth(task.Payload) > tasker.MaxDepth:
		return tasker.Errorf(tasker.Invalid, "invalid payload: nested more than %d levels deep", tasker.MaxDepth)
	case !json.Valid(task.Payload):
		return tasker.Errorf(tasker.Invalid, "invalid payload: not JSON, begins with %.100q", []byte(task.Payload))
	case t.Payloads == nil:
		return nil
	}
	return t.Payloads.Validate(task.Payload)
}
