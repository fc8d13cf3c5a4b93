package scheduler

import (
	"context"
	"time"

	"github.com/taskerhq/tasker"
)

// errBusy is returned if others change a schedule all the time.
func errBusy(name string) error {
	return tasker.Errorf(tasker.Unavailable, "schedule %q is being changed: try again", name)
}

// Trigger creates a task of a schedule now, whatever its slots are, also while it is
// paused or a task of it runs. The error is [tasker.NotFound] if there is no such
// schedule, [tasker.Conflict] if it is not as expected, and that of a POST if the task
// cannot be created.
func (s *Scheduler) Trigger(ctx context.Context, name, by string, expect tasker.ScheduleExpect) (tasker.ScheduleSlot, error) {
	for range tries {
		schedule, err := s.Store.FindSchedule(ctx, name)
		if err != nil {
			return tasker.ScheduleSlot{}, err
		}
		if err := s.expects(ctx, &schedule, expect); err != nil {
			return tasker.ScheduleSlot{}, err
		}
		now := s.Store.Now()
		if now.Nanosecond() == 0 {
			now = now.Add(time.Microsecond) // whole seconds are slots
		}
		slot := tasker.ScheduleSlot{Time: now, Outcome: tasker.SlotFired, By: by, RecordedTime: now}
		task, err := s.again(ctx, &schedule, &slot)
		if err != nil {
			return tasker.ScheduleSlot{}, err
		}
		if task != nil {
			slot.Type, slot.Identifier = task.Type, task.Identifier
			return slot, nil
		}
	}
	return tasker.ScheduleSlot{}, errBusy(name)
}

// expects returns a [tasker.Conflict] error unless a schedule that was read is as
// expected. Its slots are read after it: one that comes in between is seen here, and one
// that comes later counts up the revision, which guards the step.
func (s *Scheduler) expects(ctx context.Context, schedule *tasker.Schedule, expect tasker.ScheduleExpect) error {
	if err := expect.Check(schedule); err != nil || expect.Latest == nil {
		return err
	}
	slots, err := s.Store.ListSlots(ctx, schedule.ID, time.Time{}, 1)
	if err != nil {
		return err
	}
	var latest *tasker.ScheduleSlot
	if len(slots) > 0 {
		latest = &slots[0]
	}
	return expect.CheckLatest(schedule.Name, latest)
}

// again creates the task of a slot at a time of its own. It returns nil if the schedule
// has changed.
func (s *Scheduler) again(ctx context.Context, schedule *tasker.Schedule, slot *tasker.ScheduleSlot) (*tasker.Task, error) {
	task, err := s.task(ctx, schedule, slot.Time, slot.Time)
	if err != nil {
		return nil, err
	}
	var next time.Time
	if schedule.NextTime != nil {
		next = *schedule.NextTime
	}
	step := s.to(next, schedule.QueuedTime, *slot)
	step.Again, step.Task = true, &task
	done, err := s.step(ctx, schedule, step)
	if err != nil || !done {
		return nil, err
	}
	return &task, nil
}

// maxBackfill bounds the slots of one backfill.
const maxBackfill = 100

// Backfill creates the tasks of the slots from a time to another one that have passed
// and did not fire, as they would have been by the present definition, and returns all
// slots in between. With dry it only returns them. If it fails in the middle, it can be
// repeated. The error is [tasker.Invalid] if there are more than 100 slots.
func (s *Scheduler) Backfill(ctx context.Context, name string, from, to time.Time, by string, dry bool) ([]tasker.BackfilledSlot, error) {
	schedule, err := s.Store.FindSchedule(ctx, name)
	if err != nil {
		return nil, err
	}
	slots, err := s.passed(schedule, from, to)
	if err != nil {
		return nil, err
	}
	fired, err := s.Store.FiredSlots(ctx, schedule.ID, slots)
	if err != nil {
		return nil, err
	}
	before := map[int64]bool{}
	for _, slot := range fired {
		before[slot.Time.Unix()] = true
	}
	list := []tasker.BackfilledSlot{}
	for _, slot := range slots {
		if !before[slot.Unix()] && !dry {
			if err := s.backfill(ctx, &schedule, slot, by); err != nil {
				return nil, err
			}
		}
		list = append(list, tasker.BackfilledSlot{
			Time: slot, Identifier: tasker.SlotIdentifier(name, slot), Fired: before[slot.Unix()],
		})
	}
	return list, nil
}

// passed returns the slots from a time to another one, which have passed.
func (s *Scheduler) passed(schedule tasker.Schedule, from, to time.Time) ([]time.Time, error) {
	table, err := TableOf(schedule)
	if err != nil {
		return nil, err
	}
	now := s.Store.Now()
	switch {
	case to.Before(from):
		return nil, tasker.FieldErrorf("/to", "invalid to: it is before from")
	case to.After(now):
		return nil, tasker.FieldErrorf("/to", "invalid to: it is not in the past, but the slots up to then fire by themselves")
	}
	var slots []time.Time
	for slot := table.Next(from.Add(-time.Nanosecond)); !slot.IsZero() && !slot.After(to); slot = table.Next(slot) {
		if schedule.NextTime != nil && !slot.Before(*schedule.NextTime) {
			break // it is about to fire by itself
		}
		if len(slots) == maxBackfill {
			return nil, tasker.FieldErrorf("/to", "too many slots from %s to %s: the limit is %d, and the last one is %s",
				from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), maxBackfill, slots[maxBackfill-1].Format(time.RFC3339))
		}
		slots = append(slots, slot)
	}
	return slots, nil
}

// backfill creates the task of a slot that has passed.
func (s *Scheduler) backfill(ctx context.Context, schedule *tasker.Schedule, at time.Time, by string) error {
	for range tries {
		slot := tasker.ScheduleSlot{Time: at, Outcome: tasker.SlotFired, By: by}
		task, err := s.again(ctx, schedule, &slot)
		if err != nil || task != nil {
			return err
		}
		if *schedule, err = s.Store.FindSchedule(ctx, schedule.Name); err != nil {
			return err
		}
	}
	return errBusy(schedule.Name)
}
