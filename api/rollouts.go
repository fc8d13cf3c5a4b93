package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/rollout"
)

// maxRolloutNames bounds each list of endpoints of a rollout.
const maxRolloutNames = 1000

// Conductor does with rollouts what people want.
type Conductor interface {
	// Approve approves the waves up to act.Wave, or the one that waits if that is 0. Its
	// errors are [tasker.NotFound], [tasker.Conflict] if there is nothing to approve, and
	// [tasker.Invalid] if there is no such wave.
	Approve(ctx context.Context, act tasker.RolloutAct) (changed bool, err error)
	// Resume continues a rollout that is halted or paused, or promotes it. Its errors are
	// [tasker.NotFound], and [tasker.Conflict] if it has ended or waits for an approval.
	Resume(ctx context.Context, act tasker.RolloutAct) (changed bool, err error)
}

// RolloutStore says how far rollouts are.
type RolloutStore interface {
	// PlanRollout returns the rollout that a new task with these endpoints would have; the
	// error is [tasker.Invalid] if it cannot have them.
	PlanRollout(ctx context.Context, task *tasker.Task, endpoints []string) (*tasker.Rollout, error)
	// FindRollout returns the rollout of a task, nil if it has none, with at most limit of
	// its endpoints in each list.
	FindRollout(ctx context.Context, task *tasker.Task, waitForEndpoints time.Duration, limit int) (*tasker.Rollout, error)
	// CountRollout is FindRollout together with what has become of the endpoints.
	CountRollout(ctx context.Context, task *tasker.Task, waitForEndpoints time.Duration, limit int) (
		*tasker.Rollout, tasker.RolloutProgress, error)
	// ListRollouts returns one page, and the ID before which the next one begins, 0 if
	// this is the last.
	ListRollouts(ctx context.Context, q tasker.RolloutQuery) (tasks []tasker.Task, next int64, err error)
}

// decodeRollout decodes the rollout of a POST into its canonical form; nil if it is null.
func decodeRollout(value json.RawMessage, errs *inputErrors) json.RawMessage {
	if kindOfJSON(value) == "null" {
		return nil
	}
	settings, err := rollout.Decode(value)
	if err != nil {
		errs.join(err)
		return nil
	}
	canonical, err := json.Marshal(settings)
	if err != nil {
		errs.add("/rollout", "invalid rollout: %v", err)
	}
	return canonical
}

// rolloutHandlers show, approve and resume rollouts.
type rolloutHandlers struct {
	holds     *holdHandlers
	tasks     TaskStore
	conductor Conductor
	reader    *taskReader
	rights    *rights
}

// get serves GET /{task_type}/{identifier}/rollout.
func (h *rolloutHandlers) get(w http.ResponseWriter, r *http.Request) error {
	taskType, identifier, err := h.holds.types.taskOf(r)
	if err != nil {
		return err
	}
	task, err := h.tasks.ViewTask(r.Context(), taskType, identifier)
	if err != nil {
		return err
	}
	if task.Rollout == nil {
		return tasker.Errorf(tasker.NotFound, "rollout not found: task %q of type %q has none", identifier, taskType)
	}
	found, progress, err := h.reader.rollouts.CountRollout(r.Context(), &task, h.reader.waitForEndpoints, maxRolloutNames)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.RolloutAnswer{Rollout: *found, RolloutProgress: progress})
}

// list serves GET /v1/rollouts: the tasks whose rollouts go on or wait, newest first, of the
// types that are configured and that the principal may view: others are not found.
func (h *rolloutHandlers) list(w http.ResponseWriter, r *http.Request) error {
	var errs inputErrors
	query := r.URL.Query()
	q := tasker.RolloutQuery{
		States: rolloutStates(query["state"], &errs), Before: idCursor(query, &errs), Limit: pageLimit(query, &errs),
		Types: viewable(r.Context(), slices.Sorted(maps.Keys(h.holds.types.load().byName))), MaxBytes: maxPageBytes,
	}
	if err := errs.err(); err != nil {
		return err
	}
	if len(q.Types) == 0 {
		return writeTaskPage(w, r, nil, 0)
	}
	release, err := h.holds.limits.payloads.acquire(r.Context(), q.MaxBytes)
	if err != nil {
		return err
	}
	defer release()
	tasks, next, err := h.reader.rollouts.ListRollouts(r.Context(), q)
	if err != nil {
		return err
	}
	return writeTaskPage(w, r, tasks, next)
}

// rolloutStates returns the states that a request names, or else those of the rollouts
// that have not ended.
func rolloutStates(names []string, errs *inputErrors) []string {
	var states, all []string
	for _, state := range rollout.States() {
		all = append(all, string(state))
		if len(names) == 0 && !state.Final() || slices.Contains(names, string(state)) {
			states = append(states, string(state))
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			errs.add("?state", "unknown state %q: must be one of %s", clip(name, tasker.MaxName), strings.Join(all, ", "))
		}
	}
	return states
}

// act returns what a request wants of a rollout. The body may be left out; decode decodes
// its members besides reason and expect, whose names are in fields.
func (h *rolloutHandlers) act(
	r *http.Request, fields string, decode func(act *tasker.RolloutAct, key string, value json.RawMessage, errs *inputErrors) bool,
) (tasker.RolloutAct, error) {
	taskType, identifier, err := h.holds.types.taskOf(r)
	if err != nil {
		return tasker.RolloutAct{}, err
	}
	act := tasker.RolloutAct{Type: taskType, Identifier: identifier, By: principalName(r)}
	body, free, err := optionalBody(r, h.holds.limits.bodies, h.holds.maxBody)
	defer func() { free() }()
	if err != nil || body == nil {
		return act, err
	}
	var errs inputErrors
	err = eachMember(body, fields, &errs, func(key string, value json.RawMessage) {
		switch {
		case key == "reason":
			act.Reason = decodeReason(value, &errs)
		case key == "expect":
			act.Expect = decodeExpectation(value, &errs)
		case !decode(&act, key, value, &errs):
			errs.add(pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), fields)
		}
	})
	if err != nil {
		return act, err
	}
	return act, errs.err()
}

// decodeExpectation decodes how a request expects a rollout to be, strictly.
func decodeExpectation(value json.RawMessage, errs *inputErrors) *tasker.RolloutExpect {
	const fields = "state, since, wave, bad_digest"
	expect := &tasker.RolloutExpect{}
	var states []string
	for _, state := range rollout.States() {
		states = append(states, string(state))
	}
	err := eachMember(value, fields, errs, func(key string, value json.RawMessage) {
		text, isText := stringOf(value)
		switch key {
		case "state":
			if expect.State = &text; !isText || text != "" && !slices.Contains(states, text) {
				errs.add("/expect/state", `invalid state: must be one of %s, or "" if the rollout has not begun or has ended`,
					strings.Join(states, ", "))
			}
		case "since":
			since, ok := timeOf(value)
			if expect.Since = &since; !ok {
				errs.add("/expect/since", `invalid since: must be the "since" of the rollout, such as "2026-05-06T03:14:24.123456Z"`)
			}
		case "wave":
			n, err := strconv.Atoi(string(value))
			if expect.Wave = &n; err != nil || n < 0 {
				errs.add("/expect/wave", `invalid wave: must be the "wave" of the rollout, from 0 up`)
			}
		case "bad_digest":
			if expect.BadDigest = &text; !isText {
				errs.add("/expect/bad_digest", `invalid bad_digest: must be the "bad_digest" of the rollout`)
			}
		default:
			errs.add("/expect"+pointer(key), "unknown field %q: use %s", clip(key, tasker.MaxName), fields)
		}
	})
	if err != nil {
		errs.add("/expect", "invalid expect: must be an object with some of %s, not %s", fields, kindOfJSON(value))
	}
	return expect
}

// approve serves POST /{task_type}/{identifier}/approve.
func (h *rolloutHandlers) approve(w http.ResponseWriter, r *http.Request) error {
	act, err := h.act(r, "wave, reason, expect", func(act *tasker.RolloutAct, key string, value json.RawMessage, errs *inputErrors) bool {
		if key != "wave" {
			return false
		}
		n, err := strconv.Atoi(string(value))
		if act.Wave = n; err != nil || n < 1 {
			errs.add("/wave", "invalid wave: must be the number of a wave, from 1 up")
		}
		return true
	})
	if err != nil {
		return err
	}
	if err := h.otherThanCreator(r, act); err != nil {
		return err
	}
	changed, err := h.conductor.Approve(r.Context(), act)
	if err != nil {
		return err
	}
	h.log(r, "approved", act, changed)
	_, found, err := h.find(r.Context(), act)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Approved{Changed: changed, Rollout: found})
}

// otherThanCreator returns a [tasker.Forbidden] error if the task type wants somebody else
// to approve than who created the task. Where nobody is known, nobody is somebody else.
func (h *rolloutHandlers) otherThanCreator(r *http.Request, act tasker.RolloutAct) error {
	tt, err := h.holds.types.of(r)
	if err != nil || tt.Approval != tasker.ApprovalOther {
		return err
	}
	task, err := h.tasks.ViewTask(r.Context(), act.Type, act.Identifier)
	if err != nil || task.CreatedBy != creator(r) {
		return err
	}
	return forbidden(fmt.Sprintf("%s created the task, and task type %q has approval: other: ask another principal with the right %s",
		act.By, tt.Name, access.Approve))
}

// resume serves POST /{task_type}/{identifier}/resume: of a rollout, and of the pause of a
// task without one.
func (h *rolloutHandlers) resume(w http.ResponseWriter, r *http.Request) error {
	act, err := h.act(r, "all, reason, expect", func(act *tasker.RolloutAct, key string, value json.RawMessage, errs *inputErrors) bool {
		if key != "all" {
			return false
		}
		if act.All = string(value) == "true"; kindOfJSON(value) != "a boolean" {
			errs.add("/all", "invalid all: must be true or false, not %s", kindOfJSON(value))
		}
		return true
	})
	if err != nil {
		return err
	}
	task, found, err := h.find(r.Context(), act)
	if err != nil {
		return err
	}
	needed, ofTask := access.Approve, !act.All && expectsNone(act.Expect) &&
		(found == nil || found.State == "" || rollout.State(found.State).Final())
	if ofTask {
		needed = access.Pause
	}
	if err := h.rights.holdTask(r.Context(), access.Act{Right: needed, Type: act.Type}, act.Identifier, nil); err != nil {
		return err
	}
	if ofTask {
		resumed, err := h.holds.holder.Resume(r.Context(), tasker.HoldSubject{TaskType: task.Type, Identifier: task.Identifier})
		if err != nil {
			return err
		}
		h.log(r, "resumed", act, resumed)
		return writeJSON(w, http.StatusOK, client.Resumed{Changed: resumed, Rollout: found})
	}
	changed, err := h.conductor.Resume(r.Context(), act)
	if err != nil {
		return err
	}
	h.log(r, "resumed", act, changed)
	if _, found, err = h.find(r.Context(), act); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Resumed{Changed: changed, Rollout: found})
}

// expectsNone reports whether an act is also for a task without a rollout that goes on.
func expectsNone(e *tasker.RolloutExpect) bool { return e == nil || e.State != nil && *e.State == "" }

// find returns a task and its rollout, nil if it has none.
func (h *rolloutHandlers) find(ctx context.Context, act tasker.RolloutAct) (tasker.Task, *tasker.Rollout, error) {
	task, err := h.tasks.ViewTask(ctx, act.Type, act.Identifier)
	if err == nil {
		err = h.reader.addRollout(ctx, &task)
	}
	return task, task.Rollout, err
}

func (h *rolloutHandlers) log(r *http.Request, change string, act tasker.RolloutAct, changed bool) {
	h.holds.log.InfoContext(r.Context(), "rollout changed", "change", change, "type", act.Type, "identifier", act.Identifier,
		"by", act.By, "reason", act.Reason, "wave", act.Wave, "all", act.All, "changed", changed, "request_id", requestInfoOf(r).id)
}

// waitsForPerson reports whether a rollout goes on only when somebody says so.
func waitsForPerson(r *tasker.Rollout) bool {
	if r == nil {
		return false
	}
	switch rollout.State(r.State) {
	case rollout.WaitingApproval, rollout.Halted, rollout.Paused:
		return true
	}
	return false
}

// addRollout completes the rollout of a task.
func (t *taskReader) addRollout(ctx context.Context, task *tasker.Task) (err error) {
	if task.Rollout != nil {
		task.Rollout, err = t.rollouts.FindRollout(ctx, task, t.waitForEndpoints, maxRolloutNames)
	}
	return err
}
