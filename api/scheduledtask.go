package api

import (
	"context"
	"encoding/json"

	"github.com/taskerhq/tasker"
)

// scheduledTasks makes the tasks of schedules, as a POST would.
type scheduledTasks struct {
	types      *taskTypes
	dispatcher Dispatcher
}

// ScheduledTask returns the task that a schedule's body describes, checked against the
// task types as they are now. It is SCHEDULED, and has no identifier and start yet.
func (s *Server) ScheduledTask(ctx context.Context, body json.RawMessage) (tasker.Task, error) {
	return s.scheduled.task(ctx, body)
}

func (s scheduledTasks) task(ctx context.Context, body []byte) (tasker.Task, error) {
	taskType, in, err := decodeScheduledTask(body)
	if err != nil {
		return tasker.Task{}, err
	}
	tt, ok := s.types.load().byName[taskType]
	if p, asked := PrincipalOf(ctx); ok && asked { // else the schedule itself does
		ok = p.Knows(taskType)
	}
	if !ok {
		return tasker.Task{}, tasker.FieldErrorf("/type", "task type %q not found: %s lists them",
			clip(taskType, tasker.MaxName), routeTaskTypes)
	}
	if limit := s.types.maxPayload(tt); int64(len(in.payload)) > limit {
		return tasker.Task{}, payloadTooLarge(tt, len(in.payload), limit)
	}
	if tt.Payloads != nil {
		if err := invalidPayload(tt.Payloads.Validate(in.payload)); err != nil {
			return tasker.Task{}, err
		}
	}
	task := in.task(tt)
	task.Status = tasker.Scheduled
	if in.endpoints == nil && in.where.guarded {
		task.Expect = &in.where.expect
	}
	return task, s.dispatcher.Check(ctx, task)
}

// decodeScheduledTask decodes the task of a schedule strictly: the body of a POST with
// the type, without what the schedule decides.
func decodeScheduledTask(body []byte) (taskType string, in taskRequest, err error) {
	var errs inputErrors
	post := []byte{'{'}
	err = eachMember(body, scheduledFields, &errs, func(key string, value json.RawMessage) {
		switch key {
		case "type":
			var ok bool
			if taskType, ok = stringOf(value); !ok {
				errs.add("/type", "invalid type: must be a string, not %s", kindOfJSON(value))
			}
		case "identifier", "start_time", "in":
			errs.add(pointer(key), "%s is given by the schedule: omit it", key)
		case "plan":
			errs.add("/plan", "plan is for one task: use expect")
		case "signature":
			errs.add("/signature", "signature is for one task, and a schedule makes many: omit it")
		default:
			if len(post) > 1 {
				post = append(post, ',')
			}
			post = append(append(append(post, quoted(key)...), ':'), value...)
		}
	})
	if err != nil {
		return "", in, err
	}
	in, err = decodeTask(append(post, '}'))
	if err != nil && !errs.join(err) {
		return "", in, err
	}
	switch {
	case taskType == "" && len(errs.errs) == 0:
		errs.add("/type", "type is missing: give that of the tasks")
	case !in.when.expires.At.IsZero():
		errs.add("/expires", `invalid expires: must be a duration after the start, such as "1h"`)
	}
	return taskType, in, errs.err()
}
