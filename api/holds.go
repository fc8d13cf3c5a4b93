package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// Holder pauses tasks and task types, drains endpoints, and resumes them.
type Holder interface {
	// Hold pauses or drains. Of what is held already it replaces the reason and the end.
	// Its errors are [tasker.NotFound], [tasker.Conflict] if the task has ended, and
	// [tasker.Invalid] if the end has passed.
	Hold(ctx context.Context, request tasker.HoldRequest) (tasker.HoldOutcome, error)
	// Resume ends that. resumed is false if nothing was held.
	Resume(ctx context.Context, subject tasker.HoldSubject) (resumed bool, err error)
}

// HoldStore says what is held.
type HoldStore interface {
	// HoldsOf returns the hold of a task type, nil if it is not paused, and the drains of
	// those of some endpoints that are drained; nil means of all.
	HoldsOf(ctx context.Context, taskType string, endpoints []string) (*tasker.Hold, map[string]tasker.Hold, error)
	// HeldTypes returns the holds of the task types that are paused.
	HeldTypes(ctx context.Context) (map[string]tasker.Hold, error)
}

// holdHandlers pause, drain and resume.
type holdHandlers struct {
	types   *taskTypes
	holder  Holder
	limits  *limits
	maxBody int64
	log     *slog.Logger
}

// subjectOf returns what the path of a request names.
type subjectOf func(r *http.Request) (tasker.HoldSubject, error)

func (h *holdHandlers) task(r *http.Request) (tasker.HoldSubject, error) {
	taskType, identifier, err := h.types.taskOf(r)
	return tasker.HoldSubject{TaskType: taskType, Identifier: identifier}, err
}

func (h *holdHandlers) taskType(r *http.Request) (tasker.HoldSubject, error) {
	tt, err := h.types.of(r)
	if err != nil {
		return tasker.HoldSubject{}, err
	}
	return tasker.HoldSubject{TaskType: tt.Name}, nil
}

func (h *holdHandlers) endpoint(r *http.Request) (tasker.HoldSubject, error) {
	name := mux.Vars(r)["endpoint"]
	if tasker.ValidateEndpoint(name) != nil {
		return tasker.HoldSubject{}, tasker.Errorf(tasker.NotFound, "endpoint %q not found: %s lists the registered endpoints",
			clip(name, tasker.MaxName), routeEndpoints)
	}
	return tasker.HoldSubject{Endpoint: name}, nil
}

// hold serves the POSTs that pause and drain. The body may be left out.
func (h *holdHandlers) hold(of subjectOf) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		subject, err := of(r)
		if err != nil {
			return err
		}
		request := tasker.HoldRequest{HoldSubject: subject}
		body, free, err := optionalBody(r, h.limits.bodies, h.maxBody)
		defer func() { free() }()
		if err != nil {
			return err
		}
		if body != nil {
			if err := decodeHold(body, &request); err != nil {
				return err
			}
		}
		request.By = principalName(r)
		outcome, err := h.holder.Hold(r.Context(), request)
		if err != nil {
			return err
		}
		h.logHold(r, "held", subject, "reason", request.Reason, "until", outcome.Hold.Until,
			"running", len(outcome.Running))
		return writeJSON(w, http.StatusOK, heldAnswer(subject, &outcome))
	}
}

// heldAnswer returns the answer to a pause or drain.
func heldAnswer(subject tasker.HoldSubject, o *tasker.HoldOutcome) any {
	if subject.Endpoint != "" {
		return client.Drained{
			Hold: o.Hold, Running: client.HeldTasks{Count: len(o.Running), Tasks: firstNames(o.Running)}, Held: o.Waiting,
			Unaware: len(o.Unaware) > 0,
		}
	}
	return client.Paused{
		Hold: o.Hold, Running: endpointNames(o.Running), Held: o.Waiting, Unaware: endpointNames(o.Unaware),
	}
}

// resume serves the POSTs that end a pause or a drain. There is no body.
func (h *holdHandlers) resume(of subjectOf) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		subject, err := of(r)
		if err != nil {
			return err
		}
		resumed, err := h.holder.Resume(r.Context(), subject)
		if err != nil {
			return err
		}
		h.logHold(r, "resumed", subject, "changed", resumed)
		return writeJSON(w, http.StatusOK, client.Resumed{Changed: resumed})
	}
}

func (h *holdHandlers) logHold(r *http.Request, change string, subject tasker.HoldSubject, args ...any) {
	h.log.InfoContext(r.Context(), "hold changed", append([]any{
		"change", change, "endpoint", subject.Endpoint, "type", subject.TaskType, "identifier", subject.Identifier,
		"principal", requestInfoOf(r).principal, "request_id", requestInfoOf(r).id,
	}, args...)...)
}

// decodeHold decodes the body of a pause or drain strictly.
func decodeHold(body []byte, into *tasker.HoldRequest) error {
	var errs inputErrors
	err := eachMember(body, "reason and until", &errs, func(key string, value json.RawMessage) {
		switch key {
		case "reason":
			into.Reason = decodeReason(value, &errs)
		case "until":
			if kindOfJSON(value) != "null" {
				into.Until = decodeUntil(value, &errs)
			}
		default:
			errs.add(pointer(key), "unknown field %q: use reason, until", clip(key, tasker.MaxName))
		}
	})
	if err != nil {
		return err
	}
	return errs.err()
}

// decodeUntil decodes when a hold ends: a time, or a duration from now.
func decodeUntil(value json.RawMessage, errs *inputErrors) (until tasker.Expiry) {
	if text, isText := stringOf(value); isText {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			until.At = at.UTC()
			return until
		}
	}
	var ok bool
	if until.After, ok = durationOf(value); !ok || until.After == 0 {
		errs.add("/until", `invalid until: must be a time with its zone, such as "2026-05-06T03:14:24+02:00", `+
			`or a duration from now, such as "1h" or a number of seconds, of at most 10 years`)
	}
	return until
}

// holds are what keeps the results of a task from starting.
type holds struct {
	task, taskType *tasker.Hold
	drains         map[string]tasker.Hold
}

// holdsOf reads the holds that may apply to a task at some endpoints; nil means at any.
func (t *taskReader) holdsOf(ctx context.Context, task *tasker.Task, endpoints []string) (holds, error) {
	if task.Status.Final() {
		return holds{}, nil
	}
	h := holds{task: task.Hold}
	var err error
	h.taskType, h.drains, err = t.holds.HoldsOf(ctx, task.Type, endpoints)
	return h, err
}

// mark says in a result that waits what holds it.
func (h *holds) mark(r *tasker.TaskResult) {
	drain, drained := h.drains[r.Endpoint]
	switch {
	case r.State != tasker.Received && r.State != tasker.Retrying:
	case h.task != nil:
		r.Held = h.task.Describe("task paused")
	case h.taskType != nil:
		r.Held = h.taskType.Describe("task type paused")
	case drained:
		r.Held = drain.Describe("endpoint drained")
	}
}

// markAll marks the results of an answer.
func (t *taskReader) markAll(ctx context.Context, a *client.TaskAnswer) error {
	var endpoints []string
	for i := range a.Results {
		if state := a.Results[i].State; state == tasker.Received || state == tasker.Retrying {
			endpoints = append(endpoints, a.Results[i].Endpoint)
		}
	}
	if len(endpoints) == 0 {
		return nil
	}
	held, err := t.holdsOf(ctx, &a.Task, endpoints)
	for i := range a.Results {
		held.mark(&a.Results[i])
	}
	return err
}
