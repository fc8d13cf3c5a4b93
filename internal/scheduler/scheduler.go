// Package scheduler fires schedules: at each of their slots it creates a task, or
// records why not.
//
// It runs in every API process. A slot, the schedule's next times and the task are
// stored in one transaction, guarded by the schedule's revision, so that of several
// processes one fires a slot, and a crash leaves it either done or still to be done.
// The task is SCHEDULED, with the slot as its time to start: from there on it is one
// like any other that starts later.
package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// Store keeps the schedules; see internal/store.
type Store interface {
	FindSchedule(ctx context.Context, name string) (tasker.Schedule, error)
	DueSchedules(ctx context.Context, limit int) ([]tasker.Schedule, error)
	NextDue(ctx context.Context) (due time.Time, ok bool, err error)
	StepSchedule(ctx context.Context, step ledger.ScheduleStep) (ledger.ScheduleStepped, error)
	RunningSlots(ctx context.Context, scheduleID int64) ([]tasker.ScheduleSlot, error)
	FiredSlots(ctx context.Context, scheduleID int64, slots []time.Time) ([]tasker.ScheduleSlot, error)
	FailedInARow(ctx context.Context, schedule tasker.Schedule, n int) (bool, error)
	// ListSlots returns slots before a time, newest first; zero is no bound.
	ListSlots(ctx context.Context, scheduleID int64, before time.Time, limit int) ([]tasker.ScheduleSlot, error)
	Now() time.Time
}

// Tasks makes tasks.
type Tasks interface {
	// ScheduledTask returns the task that the body of a schedule describes, checked as
	// that of a POST is now, and SCHEDULED, without identifier and start. An error with
	// another code than those of outages says that the body cannot be accepted.
	ScheduledTask(ctx context.Context, body json.RawMessage) (tasker.Task, error)
}

// Starter starts SCHEDULED tasks.
type Starter interface{ Expect(start time.Time) }

// Canceler cancels tasks.
type Canceler interface {
	Cancel(ctx context.Context, request tasker.CancelRequest) (tasker.CancelOutcome, error)
}

// Config is what a Scheduler works with; all but Metrics and Created are needed.
type Config struct {
	Store    Store
	Tasks    Tasks
	Starter  Starter
	Canceler Canceler
	Metrics  observe.ScheduleMetrics
	Created  observe.Counter // new tasks, by type
	Log      *slog.Logger
}

const (
	// Period is how often schedules are looked for that other processes changed.
	Period = 2 * time.Second
	// queuePeriod is how often a slot that waits looks whether it may fire.
	queuePeriod = 2 * time.Second
	// page is how many schedules are read at once, and pages how many times in one run.
	page, pages = 20, 100
	// tries bounds the steps that are tried again since somebody was faster.
	tries = 10
)

// Scheduler fires schedules. Make one with [New].
type Scheduler struct {
	Config
	wake signal.Signal

	mu   sync.Mutex
	next time.Time // until then the loop sleeps
}

// New returns a Scheduler.
func New(cfg Config) *Scheduler { return &Scheduler{Config: cfg, wake: signal.New()} }

// Changed tells that a schedule was changed by this process.
func (s *Scheduler) Changed() { s.wake.Raise() }

// Pause sleeps until the next schedule is due or one has changed, or for about
// [Period].
func (s *Scheduler) Pause(ctx context.Context) {
	s.mu.Lock()
	until := max(0, s.next.Sub(s.Store.Now()))
	s.mu.Unlock()
	timer := time.NewTimer(until)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

func (s *Scheduler) sleepUntil(next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// RunOnce fires all that is due. A schedule that cannot be looked at does not hold up
// the others.
func (s *Scheduler) RunOnce(ctx context.Context) error {
	sleep := s.Store.Now().Add(clock.Around(Period))
	s.sleepUntil(sleep)
	for range pages {
		list, err := s.Store.DueSchedules(ctx, page)
		if err != nil {
			return err
		}
		var errs []error
		for _, schedule := range list {
			if err := s.look(ctx, schedule); err != nil {
				errs = append(errs, fmt.Errorf("schedule %s: %w", schedule.Name, err))
			}
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
		if len(list) < page || ctx.Err() != nil {
			break
		}
	}
	next, ok, err := s.Store.NextDue(ctx)
	if ok && next.Before(sleep) {
		s.sleepUntil(next)
	}
	return err
}

// look does what there is to do for a schedule.
func (s *Scheduler) look(ctx context.Context, schedule tasker.Schedule) error {
	table, err := TableOf(schedule)
	if err != nil {
		// It was accepted: another release may know more zones.
		_, stepping := s.step(ctx, &schedule, ledger.ScheduleStep{
			Next: schedule.NextTime, Queued: schedule.QueuedTime, Due: new(s.Store.Now().Add(onTime)),
		})
		return errors.Join(err, stepping)
	}
	paused, until := pausedUntil(&schedule, s.Store.Now())
	var work duty
	if schedule.NextTime != nil {
		work = dutyOf(schedule.Definition, table, *schedule.NextTime, until)
	}
	if paused != "" {
		return s.passPaused(ctx, schedule, work, paused)
	}
	if len(work.missed) > 0 {
		next := work.next
		if len(work.fire) > 0 {
			next = work.fire[0]
		}
		done, err := s.step(ctx, &schedule, s.to(next, schedule.QueuedTime, work.missed...))
		if err != nil || !done {
			return err
		}
		s.Metrics.Missed.Add(work.unseen, string(tasker.SlotMissed))
		s.Log.WarnContext(ctx, "slots of a schedule were missed", "schedule", schedule.Name, "slots", len(work.missed)+work.unseen,
			"first", work.missed[0].Time, "reason", work.missed[0].Reason)
	}
	if schedule.QueuedTime != nil {
		if done, err := s.fireQueued(ctx, &schedule); err != nil || !done {
			return err
		}
	}
	for i, slot := range work.fire {
		next := work.next
		if i+1 < len(work.fire) {
			next = work.fire[i+1]
		}
		if done, err := s.fire(ctx, &schedule, slot, next); err != nil || !done {
			return err
		}
	}
	return nil
}

// to returns the step of a schedule to its next slot.
func (s *Scheduler) to(next time.Time, queued *time.Time, slots ...tasker.ScheduleSlot) ledger.ScheduleStep {
	step := ledger.ScheduleStep{Queued: queued, Slots: slots}
	if !next.IsZero() {
		step.Next, step.Due = &next, &next
	}
	if queued != nil {
		if again := s.Store.Now().Add(queuePeriod); step.Due == nil || again.Before(*step.Due) {
			step.Due = &again
		}
	}
	return step
}

// step makes a step, and changes the schedule accordingly. done is false if another
// process was first.
func (s *Scheduler) step(ctx context.Context, schedule *tasker.Schedule, step ledger.ScheduleStep) (done bool, err error) {
	step.Schedule = *schedule
	stepped, err := s.Store.StepSchedule(ctx, step)
	if err != nil || !stepped.Done {
		return false, err
	}
	schedule.Revision++
	schedule.NextTime, schedule.QueuedTime = step.Next, step.Queued
	if step.Pause != nil {
		schedule.Pause = step.Pause
	}
	for _, slot := range step.Slots {
		if slot.Outcome != tasker.SlotFired {
			s.Metrics.Missed.Inc(string(slot.Outcome))
		}
	}
	if stepped.Created {
		s.Created.Inc(stepped.Task.Type)
		s.Starter.Expect(stepped.Task.StartTime)
	}
	return true, nil
}

// pausedUntil returns why the next slot of a schedule does not fire if it is due while
// the schedule is paused, or was due before it was resumed, and until when that counts:
// now, or the time when it was resumed. The reason is empty otherwise.
func pausedUntil(schedule *tasker.Schedule, now time.Time) (reason string, until time.Time) {
	switch pause := schedule.Pause; {
	case pause != nil && pause.Reason != "":
		return "paused by " + pause.By + ": " + pause.Reason, now
	case pause != nil:
		return "paused by " + pause.By, now
	case schedule.NextTime != nil && !schedule.NextTime.After(schedule.FailuresSince):
		return "paused when it was due", schedule.FailuresSince
	}
	return "", now
}

// passPaused records the slots of a paused schedule that are due.
func (s *Scheduler) passPaused(ctx context.Context, schedule tasker.Schedule, work duty, reason string) error {
	var slots []tasker.ScheduleSlot
	if queued := schedule.QueuedTime; queued != nil {
		slots = append(slots, tasker.ScheduleSlot{Time: *queued, Outcome: tasker.SlotPaused, Reason: reason})
	}
	passed := make([]time.Time, 0, len(work.missed)+len(work.fire))
	for _, slot := range work.missed {
		passed = append(passed, slot.Time)
	}
	for _, slot := range append(passed, work.fire...) {
		slots = append(slots, tasker.ScheduleSlot{Time: slot, Outcome: tasker.SlotPaused, Reason: reason})
	}
	done, err := s.step(ctx, &schedule, s.to(work.next, nil, slots...))
	if done {
		s.Metrics.Missed.Add(work.unseen, string(tasker.SlotPaused))
	}
	return err
}
