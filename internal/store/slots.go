package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/text"
)

// KeptSlots is how many slots of each schedule are kept at least: the newest.
const KeptSlots = 1000

type slotRow struct {
	ScheduleID   int64  `gorm:"primaryKey;autoIncrement:false"`
	SlotTime     dbTime `gorm:"primaryKey"`
	Outcome      tasker.SlotOutcome
	Reason       string
	Type         *string
	Identifier   *string
	TaskID       *int64
	RequestedBy  string
	RecordedTime dbTime
}

// TableName returns the table of slots.
func (slotRow) TableName() string { return "schedule_slots" }

func (r *slotRow) slot() tasker.ScheduleSlot {
	slot := tasker.ScheduleSlot{
		Time: r.SlotTime.Time, Outcome: r.Outcome, Reason: r.Reason, By: r.RequestedBy, RecordedTime: r.RecordedTime.Time,
	}
	if r.TaskID != nil {
		slot.Type, slot.Identifier, slot.TaskID = *r.Type, *r.Identifier, *r.TaskID
	}
	return slot
}

// recordSlots stores slots, except those that are stored already.
func recordSlots(tx *gorm.DB, scheduleID int64, slots []tasker.ScheduleSlot, now dbTime) error {
	rows := make([]slotRow, len(slots))
	for i, slot := range slots {
		rows[i] = slotRow{
			ScheduleID: scheduleID, SlotTime: dbTime{slot.Time}, Outcome: slot.Outcome, Reason: text.CutValid(slot.Reason, maxRefusal),
			RequestedBy: text.CutValid(slot.By, maxPrincipal), RecordedTime: now,
		}
		if slot.TaskID != 0 {
			rows[i].Type, rows[i].Identifier, rows[i].TaskID = &slot.Type, &slot.Identifier, &slot.TaskID
		}
	}
	for part := range slices.Chunk(rows, batchSize) {
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&part).Error; err != nil {
			return err
		}
	}
	return nil
}

// trimSlots deletes all but the newest slots of a schedule.
func trimSlots(tx *gorm.DB, scheduleID int64) error {
	var oldest []dbTime
	err := tx.Model(&slotRow{}).Where("schedule_id = ?", scheduleID).Order("slot_time DESC").Offset(KeptSlots-1).Limit(1).
		Pluck("slot_time", &oldest).Error
	if err != nil || len(oldest) == 0 {
		return err
	}
	return tx.Where("schedule_id = ? AND slot_time < ?", scheduleID, oldest[0]).Delete(&slotRow{}).Error
}

// StepSchedule makes a step of a schedule in one transaction: its slots, its next
// times and its task are all stored, or nothing is. If another process was first,
// nothing is done. A task of that type and identifier that exists already is taken for
// the one to be created if its body is the same; otherwise the error is
// [tasker.Conflict].
func (s Schedules) StepSchedule(ctx context.Context, step ledger.ScheduleStep) (stepped ledger.ScheduleStepped, err error) {
	var fresh *newTask
	if step.Task != nil {
		if fresh, err = prepareTask(*step.Task); err != nil {
			return stepped, err
		}
		fresh.creation = &ledger.Creation{}
	}
	const tries = 3
	for try := 1; ; try++ {
		err = s.transact(ctx, "make a step of the schedule", func(tx *gorm.DB) (err error) {
			stepped, err = s.step(tx, step, fresh)
			return err
		})
		if fresh == nil || !errors.Is(err, gorm.ErrDuplicatedKey) || try == tries {
			return stepped, err
		}
		left, err := Tasks(s).resolve(ctx, []*newTask{fresh})
		switch {
		case err != nil:
			return ledger.ScheduleStepped{}, s.fail("read the task with that identifier", err)
		case fresh.creation.Err != nil:
			return ledger.ScheduleStepped{}, fresh.creation.Err
		case len(left) == 0:
			fresh.row.ID = fresh.creation.Task.ID
		}
	}
}

// step makes a step. fresh is the task to be created, or one with the ID of a task
// that exists.
func (s Schedules) step(tx *gorm.DB, step ledger.ScheduleStep, fresh *newTask) (stepped ledger.ScheduleStepped, err error) {
	now := dbTime{s.Now()}
	set := map[string]any{
		"revision": step.Schedule.Revision + 1, "next_time": timeValue(step.Next), "queued_time": timeValue(step.Queued),
		"due_time": timeValue(step.Due),
	}
	if step.Pause != nil {
		set["pause"] = document[tasker.SchedulePause]{*step.Pause}
	}
	update := tx.Model(&scheduleRow{}).Where("id = ? AND revision = ?", step.Schedule.ID, step.Schedule.Revision).Updates(set)
	if update.Error != nil || update.RowsAffected == 0 {
		return stepped, update.Error
	}
	slots := slices.Clone(step.Slots)
	if fresh != nil {
		last := &slots[len(slots)-1]
		stepped.Task = fresh.creation.Task
		if fresh.row.ID == 0 {
			if err := s.insertInto(tx, []*newTask{fresh}, now); err != nil {
				fresh.row.ID = 0
				return ledger.ScheduleStepped{}, err
			}
			stepped.Task, stepped.Created = fresh.row.task(), true
			defer func() { fresh.row.ID = 0 }() // this may be rolled back, and tried again
		}
		last.Type, last.Identifier, last.TaskID = stepped.Task.Type, stepped.Task.Identifier, stepped.Task.ID
	}
	if len(slots) > 0 && step.Again {
		times := make([]dbTime, len(slots))
		for i, slot := range slots {
			times[i] = dbTime{slot.Time}
		}
		err := tx.Where("schedule_id = ? AND slot_time IN ? AND outcome <> ?", step.Schedule.ID, times, tasker.SlotFired).
			Delete(&slotRow{}).Error
		if err != nil {
			return ledger.ScheduleStepped{}, err
		}
	}
	if len(slots) > 0 {
		if err := recordSlots(tx, step.Schedule.ID, slots, now); err != nil {
			return ledger.ScheduleStepped{}, err
		}
		if err := trimSlots(tx, step.Schedule.ID); err != nil {
			return ledger.ScheduleStepped{}, err
		}
	}
	stepped.Done = true
	return stepped, nil
}

// ListSlots returns up to limit slots of a schedule that are before a time, newest
// first; a zero time is no bound.
func (s Schedules) ListSlots(ctx context.Context, scheduleID int64, before time.Time, limit int) ([]tasker.ScheduleSlot, error) {
	query := s.conn(ctx).Where("schedule_id = ?", scheduleID)
	if !before.IsZero() {
		query = query.Where("slot_time < ?", dbTime{before})
	}
	var rows []slotRow
	err := query.Order("slot_time DESC").Limit(limit).Find(&rows).Error
	return slotsOf(rows), s.fail("list the slots of the schedule", err)
}

func slotsOf(rows []slotRow) []tasker.ScheduleSlot {
	list := make([]tasker.ScheduleSlot, len(rows))
	for i := range rows {
		list[i] = rows[i].slot()
	}
	return list
}

// FiredSlots returns which of the slots of a schedule have fired.
func (s Schedules) FiredSlots(ctx context.Context, scheduleID int64, slots []time.Time) ([]tasker.ScheduleSlot, error) {
	times := make([]dbTime, len(slots))
	for i, slot := range slots {
		times[i] = dbTime{slot}
	}
	var rows []slotRow
	if len(times) == 0 {
		return nil, nil
	}
	err := s.conn(ctx).Where("schedule_id = ? AND slot_time IN ? AND outcome = ?", scheduleID, times, tasker.SlotFired).
		Order("slot_time").Find(&rows).Error
	return slotsOf(rows), s.fail("read the slots that have fired", err)
}

const (
	// lookedAt is how many of the last slots that fired are asked whether their tasks
	// run: at most this many can be made at once.
	lookedAt = 100
	// onTheWay is how long after it was sent a task counts as running at endpoints
	// that have not recorded it yet.
	onTheWay = 10 * time.Second
)

// RunningSlots returns those of the last slots whose tasks run, newest first: a task
// is not sent yet, or was just sent, or an endpoint has received it and has not
// finished it. An endpoint that is missing or lost does not count, nor does what has
// expired before it ran.
func (s Schedules) RunningSlots(ctx context.Context, scheduleID int64) ([]tasker.ScheduleSlot, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	now := s.Now()
	const valid = "(t.not_after IS NULL OR t.not_after > @now)"
	var rows []slotRow
	err := s.conn(ctx).Raw("SELECT f.* FROM (SELECT * FROM schedule_slots WHERE schedule_id = @schedule AND outcome = @fired"+
		" ORDER BY slot_time DESC LIMIT @looked) f JOIN tasks t ON t.id = f.task_id WHERE"+
		" t.status IN @unsent AND "+valid+
		" OR t.status = @sent AND t.sent_time > @recently AND t.targets > (SELECT COUNT(*) FROM task_results r WHERE r.task_id = t.id)"+
		" OR t.status IN @open AND EXISTS (SELECT 1 FROM task_results r WHERE r.task_id = t.id"+
		" AND (r.state = @running OR r.state IN @waiting AND "+valid+")) ORDER BY f.slot_time DESC",
		map[string]any{
			"schedule": scheduleID, "fired": tasker.SlotFired, "looked": lookedAt,
			"now": dbTime{now}, "recently": dbTime{now.Add(-onTheWay)},
			"unsent": []tasker.TaskStatus{tasker.Scheduled, tasker.Created}, "sent": tasker.Sent,
			"open":    []tasker.TaskStatus{tasker.Sent, tasker.Incomplete, tasker.Canceling},
			"running": tasker.Running, "waiting": []tasker.ResultState{tasker.Received, tasker.Retrying},
		}).Scan(&rows).Error
	return slotsOf(rows), s.fail("read which tasks of the schedule run", err)
}

// slotEnd is what became of a slot and of its task, which may be deleted.
type slotEnd struct {
	Outcome tasker.SlotOutcome
	Status  *tasker.TaskStatus
}

// FailedInARow reports whether the last n slots of a schedule that had to fire failed:
// their tasks could not be created, or are FAILED. What was recorded before the
// schedule was created, changed or resumed does not count.
func (s Schedules) FailedInARow(ctx context.Context, schedule tasker.Schedule, n int) (bool, error) {
	var ends []slotEnd
	err := s.conn(ctx).Raw("SELECT f.outcome AS outcome, t.status AS status FROM (SELECT * FROM schedule_slots WHERE schedule_id = ?"+
		" AND outcome IN ? AND recorded_time >= ? ORDER BY slot_time DESC LIMIT ?) f LEFT JOIN tasks t ON t.id = f.task_id",
		schedule.ID, []tasker.SlotOutcome{tasker.SlotFired, tasker.SlotFailed}, dbTime{schedule.FailuresSince}, n).Scan(&ends).Error
	failed := 0
	for _, end := range ends {
		if end.Outcome == tasker.SlotFailed || end.Status != nil && *end.Status == tasker.Failed {
			failed++
		}
	}
	return failed == n, s.fail("read whether the schedule failed", err)
}
