package api

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
)

// Retrier retries tasks.
type Retrier interface {
	// Retry begins a new round of a task, and returns at which endpoints. Its errors are
	// [tasker.NotFound], [tasker.Invalid] if the task is not for a named endpoint and
	// [tasker.Conflict] if there is nothing to retry, or not now.
	Retry(ctx context.Context, request tasker.RetryRequest) (tasker.RetryOutcome, error)
}

// retryHandlers retry tasks.
type retryHandlers struct {
	types   *taskTypes
	retrier Retrier
	limits  *limits
	maxBody int64
	rights  *rights
	log     *slog.Logger
}

// retry serves POST /{task_type}/{identifier}/retry.
func (h *retryHandlers) retry(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.types.taskOf(r)
	if err != nil {
		return err
	}
	request := tasker.RetryRequest{Type: taskType, Identifier: identifier}
	if request.Key, err = idempotencyKey(r.Header); err != nil {
		return err
	}
	var errs inputErrors
	request.DryRun = boolParam(r.URL.Query(), "dry_run", &errs)
	if err := errs.err(); err != nil {
		return err
	}
	body, free, err := readBody(r, h.limits.bodies, h.maxBody)
	defer func() { free() }()
	if err != nil {
		return err
	}
	if err := decodeRetry(body, &request); err != nil {
		return err
	}
	act := access.Act{Right: access.Retry, Type: taskType}
	if err := h.rights.holdTask(r.Context(), act, identifier, request.Endpoints); err != nil { // a class may have any of them
		return err
	}
	request.By = principalName(r)
	outcome, err := h.retrier.Retry(r.Context(), request)
	if err != nil {
		return err
	}
	if !request.DryRun {
		h.log.InfoContext(r.Context(), "task retried", "task_id", outcome.Task.ID, "type", taskType, "identifier", identifier,
			"by", request.By, "round", outcome.Round, "endpoints", len(outcome.Retried), "request_id", requestInfoOf(r).id)
	}
	return writeJSON(w, http.StatusOK, retriedOf(&outcome))
}

func retriedOf(o *tasker.RetryOutcome) client.Retried {
	retried := client.Retried{
		Status: o.Task.Status, Round: o.Round, NotRetried: []client.NotRetried{},
		Retried: endpointNames(o.Retried),
	}
	for _, not := range o.NotRetried {
		retried.NotRetried = append(retried.NotRetried,
			client.NotRetried{Reason: not.Reason, Count: len(not.Endpoints), Endpoints: firstNames(not.Endpoints)})
	}
	return retried
}

// idempotencyKey returns the key that makes a request safe to repeat; empty if it has
// none.
func idempotencyKey(header http.Header) (string, error) {
	values := header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	unprintable := bytes.ContainsFunc([]byte(key), func(c rune) bool { return c < ' ' || c > '~' })
	if len(values) > 1 || key == "" || len(key) > tasker.MaxKey || unprintable {
		return "", tasker.Errorf(tasker.Malformed, "invalid Idempotency-Key header: must be one of 1-%d printable ASCII characters",
			tasker.MaxKey)
	}
	return key, nil
}

// decodeRetry decodes the body of a retry strictly.
func decodeRetry(body []byte, into *tasker.RetryRequest) error {
	const fields = "endpoints, reason, expires"
	var errs inputErrors
	var when when
	which := false
	err := eachMember(body, fields, &errs, func(key string, value json.RawMessage) {
		switch key {
		case "endpoints":
			which = true
			decodeWhich(value, into, &errs)
		case "reason":
			into.Reason = decodeReason(value, &errs)
		case "expires":
			when.decode(key, value, &errs)
		default:
			errs.add(pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), fields)
		}
	})
	if err != nil {
		return err
	}
	if !which {
		errs.add("/endpoints", "endpoints is missing: "+whichEndpoints)
	}
	into.Expires = when.expires
	return errs.err()
}

const whichEndpoints = `use "failed", "missing", "unfinished" or "all", or a list of names`

// decodeWhich decodes which endpoints run the task again.
func decodeWhich(value json.RawMessage, into *tasker.RetryRequest, errs *inputErrors) {
	if kindOfJSON(value) == "an array" {
		if into.Endpoints = decodeEndpoints(value, errs); into.Endpoints == nil && len(errs.errs) == 0 {
			errs.add("/endpoints", "no endpoints: "+whichEndpoints)
		}
		return
	}
	class, ok := stringOf(value)
	if into.Class = tasker.RetryClass(class); !ok || !slices.Contains(tasker.RetryClasses(), into.Class) {
		errs.add("/endpoints", "invalid endpoints: "+whichEndpoints)
	}
}
