package api

import (
	"context"
	"errors"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/schema"
)

// checkPayload validates the payload of a POST against the schema of its type.
// An invalid payload is accepted if its task is already stored: the same POST
// gets the same response as before, even if the schema has changed since.
func (h *taskHandlers) checkPayload(ctx context.Context, tt *tasker.TaskType, in taskRequest) error {
	if tt.Payloads == nil {
		return nil
	}
	invalid := invalidPayload(tt.Payloads.Validate(in.payload))
	if invalid == nil {
		return nil
	}
	switch _, err := h.store.FindTask(ctx, tt.Name, in.identifier); tasker.CodeOf(err) {
	case "":
		return nil // CreateTask compares the bodies, and stores nothing new
	case tasker.NotFound:
		return invalid
	default:
		return err
	}
}

// invalidPayload turns the error of a schema into that of a request: its
// pointers lead into the body.
func invalidPayload(err error) error {
	broken, ok := errors.AsType[*schema.Error](err)
	if !ok {
		return err
	}
	input := inputErrors{more: broken.More}
	for _, v := range broken.Violations {
		at := "/payload" + v.Pointer
		input.add(at, "invalid payload at %q: %s (rule %q of the schema)", at, v.Message, v.Rule)
	}
	return input.err()
}

func payloadTooLarge(tt *tasker.TaskType, size int, limit int64) error {
	e := tasker.Errorf(tasker.TooLarge, "payload too large: %d bytes, the limit of task type %q is %d", size, tt.Name, limit)
	e.Field = "/payload"
	return e
}
