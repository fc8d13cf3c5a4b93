package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// fireQueued fires the slot that waits, unless a task of an earlier one still runs.
func (s *Scheduler) fireQueued(ctx context.Context, schedule *tasker.Schedule) (done bool, err error) {
	var next time.Time
	if schedule.NextTime != nil {
		next = *schedule.NextTime
	}
	running, err := s.overlapping(ctx, schedule)
	if err != nil {
		return false, err
	}
	if len(running) > 0 {
		return s.step(ctx, schedule, s.to(next, schedule.QueuedTime))
	}
	return s.create(ctx, schedule, *schedule.QueuedTime, s.to(next, nil))
}

// fire fires a slot, or does what the policy for overlaps says if a task of an earlier
// one runs. next is the slot after it.
func (s *Scheduler) fire(ctx context.Context, schedule *tasker.Schedule, slot, next time.Time) (done bool, err error) {
	running, err := s.overlapping(ctx, schedule)
	if err != nil {
		return false, err
	}
	if len(running) == 0 && schedule.QueuedTime == nil {
		return s.create(ctx, schedule, slot, s.to(next, nil))
	}
	skipped := tasker.ScheduleSlot{Time: slot, Outcome: tasker.SlotOverlap}
	if len(running) > 0 {
		skipped.Reason = fmt.Sprintf("task %s/%s runs", running[0].Type, running[0].Identifier)
	}
	switch queued := schedule.QueuedTime; {
	case schedule.Definition.Overlap == tasker.OverlapSkip:
		return s.step(ctx, schedule, s.to(next, queued, skipped))
	case queued == nil:
		return s.step(ctx, schedule, s.to(next, &slot))
	case schedule.Definition.Overlap == tasker.OverlapCancel:
		skipped.Time, skipped.Reason = *queued, "a newer slot waits in its place"
		return s.step(ctx, schedule, s.to(next, &slot, skipped))
	default:
		skipped.Reason = fmt.Sprintf("the slot of %s waits", queued.Format(time.RFC3339))
		return s.step(ctx, schedule, s.to(next, queued, skipped))
	}
}

// overlapping returns the slots whose tasks run and keep others from firing. It
// cancels them if the schedule says so.
func (s *Scheduler) overlapping(ctx context.Context, schedule *tasker.Schedule) ([]tasker.ScheduleSlot, error) {
	if schedule.Definition.Overlap == tasker.OverlapAllow {
		return nil, nil
	}
	running, err := s.Store.RunningSlots(ctx, schedule.ID)
	if err != nil || schedule.Definition.Overlap != tasker.OverlapCancel || len(running) == 0 {
		return running, err
	}
	for _, slot := range running {
		_, err := s.Canceler.Cancel(ctx, tasker.CancelRequest{
			Type: slot.Type, Identifier: slot.Identifier, By: "schedule " + schedule.Name, Reason: "the next slot is due",
		})
		switch tasker.CodeOf(err) {
		case "", tasker.Conflict, tasker.NotFound: // it has ended meanwhile
		default:
			return nil, err
		}
	}
	return s.Store.RunningSlots(ctx, schedule.ID)
}

// create creates the task of a slot with a step, or records why that is not possible.
func (s *Scheduler) create(
	ctx context.Context, schedule *tasker.Schedule, slot time.Time, step ledger.ScheduleStep,
) (done bool, err error) {
	if n := schedule.Definition.PauseOnFailures; n > 0 {
		failed, err := s.Store.FailedInARow(ctx, *schedule, n)
		if err != nil {
			return false, err
		}
		if failed {
			reason := fmt.Sprintf("the last %d slots failed", n)
			step.Pause = &tasker.SchedulePause{By: "tasker", At: s.Store.Now(), Reason: reason}
			step.Slots = []tasker.ScheduleSlot{{Time: slot, Outcome: tasker.SlotPaused, Reason: "paused by tasker: " + reason}}
			done, err := s.step(ctx, schedule, step)
			if done {
				s.Log.WarnContext(ctx, "schedule paused itself", "schedule", schedule.Name, "reason", reason)
			}
			return done, err
		}
	}
	delay := Delay(schedule.Name, slot, duration(schedule.Definition.Jitter))
	task, err := s.task(ctx, schedule, slot, slot.Add(delay))
	if err == nil {
		step.Task, step.Slots = &task, []tasker.ScheduleSlot{{Time: slot, Outcome: tasker.SlotFired}}
		if done, err = s.step(ctx, schedule, step); err == nil {
			if done {
				s.Metrics.Lateness.Observe(s.Store.Now().Sub(slot))
			}
			return done, nil
		}
	}
	if !refused(err) {
		return false, err
	}
	step.Task, step.Slots = nil, []tasker.ScheduleSlot{{Time: slot, Outcome: tasker.SlotFailed, Reason: err.Error()}}
	if done, stepping := s.step(ctx, schedule, step); stepping != nil || !done {
		return done, stepping
	}
	s.Log.WarnContext(ctx, "slot of a schedule failed", "schedule", schedule.Name, "slot", slot, "err", err)
	return true, nil
}

// task returns the task of a slot, which starts at a time.
func (s *Scheduler) task(ctx context.Context, schedule *tasker.Schedule, slot, start time.Time) (tasker.Task, error) {
	task, err := s.Tasks.ScheduledTask(ctx, schedule.Definition.Task)
	task.Identifier, task.Start = tasker.SlotIdentifier(schedule.Name, slot), tasker.Start{At: start}
	task.CreatedBy = "schedule:" + schedule.Name
	return task, err
}

// refused reports whether an error says that a task cannot be created, and is not
// about an outage.
func refused(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch tasker.CodeOf(err) {
	case tasker.Invalid, tasker.Malformed, tasker.NotFound, tasker.Conflict, tasker.TooLarge:
		return true
	}
	return false
}
