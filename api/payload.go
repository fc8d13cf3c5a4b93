package api

import (
	"context"
	"errors"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/schema"
)

// checkPayload holds the payload of a POST against the schema of its type, as
// that is now. A payload that breaks it is only looked at once more where its
// task is stored already: the same POST answers as it did before, whatever the
// configuration says meanwhile.
func (s *Server) checkPayload(ctx context.Context, tt *tasker.TaskType, in taskRequest) error {
	if tt.Payloads == nil {
		return nil
	}
	invalid := invalidPayload(tt.Payloads.Validate(in.payload))
	if invalid == nil {
		return nil
	}
	switch _, err := s.store.FindTask(ctx, tt.Name, in.identifier); tasker.CodeOf(err) {
	case "":
		return nil // CreateTask compares the bodies, and stores nothing new
	case tasker.NotFound:
		return invalid
	default:
		return err
	}
}

// invalidPayload makes the error of a request from that of a schema: its
// pointers lead into the body.
func invalidPayload(err error) error {
	broken, ok := errors.AsType[*schema.Error](err)
	if !ok {
		return err
	}
	input := inputErrors{more: broken.More}
	for _, v := range broken.Violations {
		input.add("/payload"+v.Pointer, "the payload breaks the rule %q of its schema at %q: %s", v.Rule, "/payload"+v.Pointer, v.Message)
	}
	return input.err()
}

func payloadTooLarge(tt *tasker.TaskType, size int, limit int64) error {
	e := tasker.Errorf(tasker.TooLarge, "the payload has %d bytes, and one of the task type %q may have %d", size, tt.Name, limit)
	e.Field = "/payload"
	return e
}
