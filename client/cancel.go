package client

import (
	"context"
	"net/http"

	"github.com/taskerhq/tasker"
)

// Cancel cancels a task.
type Cancel struct {
	// Endpoints are those that are to stop; nil means all of the task.
	Endpoints []string `json:"endpoints,omitempty"`
	// Reason is for people; at most [tasker.MaxReason] bytes.
	Reason string `json:"reason,omitempty"`
}

// Canceled is what a cancellation found at the endpoints of the task, or at those
// that it named. Each is in one of the sets.
type Canceled struct {
	Status tasker.TaskStatus    `json:"status"` // of the task
	Cancel *tasker.Cancellation `json:"cancel,omitempty"`
	// Stopped had not begun, or have stopped: nothing starts there any more.
	Stopped EndpointNames `json:"stopped"`
	// Stopping run it and have been told to stop.
	Stopping EndpointNames `json:"stopping"`
	// FinishedBefore had finished before the cancellation reached them.
	FinishedBefore EndpointNames `json:"finished_before"`
	// Unreachable were running it when they were last heard of. They stop when they
	// are back.
	Unreachable EndpointNames `json:"unreachable"`
}

// EndpointNames is a set of endpoints.
type EndpointNames struct {
	Count     int      `json:"count"`
	Endpoints []string `json:"endpoints"` // the first 1,000 of them, sorted
}

// Cancel cancels a task, or stops it at some of its endpoints, and returns what became
// of it at each: endpoints that run it may need a moment to stop. It is safe to repeat
// the call. The error is [tasker.Conflict] if the task has ended.
func (c *Client) Cancel(ctx context.Context, taskType, identifier string, cancel Cancel) (canceled Canceled, err error) {
	if err := validTask(taskType, identifier); err != nil {
		return Canceled{}, err
	}
	if cancel.Endpoints != nil && len(cancel.Endpoints) == 0 {
		return Canceled{}, tasker.FieldErrorf("/endpoints", "no endpoints: name at least one, or use nil for all")
	}
	_, err = c.call(ctx, request{
		method: http.MethodPost, path: []string{taskType, identifier, "cancel"}, body: cancel, retry: true,
	}, &canceled)
	return canceled, err
}
