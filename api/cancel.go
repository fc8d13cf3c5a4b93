package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/bodies"
)

// maxNames bounds the names of each set in the answer to a command.
const maxNames = 1000

// Canceler cancels tasks.
type Canceler interface {
	// Cancel cancels a task, or named endpoints of it, and returns what became of
	// each; the same again changes nothing. Its errors are [tasker.NotFound],
	// [tasker.Invalid] if the task is not for a named endpoint and [tasker.Conflict]
	// if it has ended.
	Cancel(ctx context.Context, request tasker.CancelRequest) (tasker.CancelOutcome, error)
}

// cancelHandlers cancel tasks.
type cancelHandlers struct {
	types    *taskTypes
	canceler Canceler
	limits   *limits
	maxBody  int64
	rights   *rights
	log      *slog.Logger
}

// cancel serves POST /{task_type}/{identifier}/cancel. The body may be left out.
func (h *cancelHandlers) cancel(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	request := tasker.CancelRequest{Type: taskType, Identifier: identifier}
	body, free, err := optionalBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return err
	}
	if body != nil {
		if err := decodeCancel(body, &request); err != nil {
			return err
		}
	}
	act := access.Act{Right: access.Cancel, Type: taskType}
	if err := h.rights.holdTask(r.Context(), act, identifier, request.Endpoints); err != nil {
		return err
	}
	request.By = principalName(r)
	outcome, err := h.canceler.Cancel(r.Context(), request)
	if err != nil {
		return err
	}
	h.log.InfoContext(r.Context(), "task canceled", "task_id", outcome.Task.ID, "type", taskType, "identifier", identifier,
		"by", request.By, "stopped", len(outcome.Stopped), "stopping", len(outcome.Stopping),
		"unreachable", len(outcome.Unreachable), "request_id", requestInfoOf(r).id)
	return writeJSON(w, http.StatusOK, client.Canceled{
		Status: outcome.Task.Status, Cancel: outcome.Task.Cancel,
		Stopped: endpointNames(outcome.Stopped), Stopping: endpointNames(outcome.Stopping),
		FinishedBefore: endpointNames(outcome.FinishedBefore), Unreachable: endpointNames(outcome.Unreachable),
	})
}

// endpointNames returns a set of endpoints with the first of its names.
func endpointNames(endpoints []string) client.EndpointNames {
	return client.EndpointNames{Count: len(endpoints), Endpoints: firstNames(endpoints)}
}

// firstNames returns as many names as an answer has, as a list that is not null.
func firstNames(names []string) []string {
	return append([]string{}, names[:min(len(names), maxNames)]...)
}

// optionalBody reads the body of a request; nil if it is empty. free frees its memory.
func optionalBody(r *http.Request, pool *bodies.Pool, limit int64) (body []byte, free func(), err error) {
	if r.ContentLength == 0 {
		return nil, func() {}, nil
	}
	if r.ContentLength < 0 { // unknown: it may be empty all the same
		first := make([]byte, 1)
		n, err := r.Body.Read(first)
		if n == 0 && err == io.EOF {
			return nil, func() {}, nil
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(first[:n]), r.Body))
	}
	return readBody(r, pool, limit)
}

// decodeCancel decodes the body of a cancellation strictly.
func decodeCancel(body []byte, into *tasker.CancelRequest) error {
	var errs inputErrors
	err := eachMember(body, "endpoints and reason", &errs, func(key string, value json.RawMessage) {
		switch key {
		case "endpoints":
			into.Endpoints = decodeEndpoints(value, &errs)
			if kindOfJSON(value) == "an array" && string(bytes.TrimSpace(value[1:])) == "]" || kindOfJSON(value) == "null" {
				errs.add("/endpoints", "no endpoints: name at least one, or leave the field out to cancel all")
			}
		case "reason":
			into.Reason = decodeReason(value, &errs)
		default:
			errs.add(pointer(key), "unknown field %q: use endpoints, reason", clip(key, tasker.MaxName))
		}
	})
	if err != nil {
		return err
	}
	return errs.err()
}

// decodeReason decodes why something is asked for.
func decodeReason(value json.RawMessage, errs *inputErrors) string {
	reason, ok := stringOf(value)
	if !ok {
		errs.add("/reason", "invalid reason: must be a string, not %s", kindOfJSON(value))
	} else if err := tasker.ValidateReason(reason); err != nil {
		errs.add("/reason", "%v", err)
	}
	return reason
}
