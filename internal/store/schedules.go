package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Schedules keeps the schedules, which create tasks at recurring times, and what
// became of their slots. Tasks that start later are in [Schedule].
//
// Every change of a schedule counts its revision up and is guarded by the one before,
// so that of several processes that look at the same schedule one makes the step:
// see [Schedules.StepSchedule].
type Schedules struct{ *DB }

type scheduleRow struct {
	ID            int64 `gorm:"primaryKey"`
	Name          string
	Definition    document[tasker.ScheduleDefinition]
	Version       int64
	Revision      int64
	Pause         *document[tasker.SchedulePause]
	NextTime      *dbTime // the next slot; NULL if there is none
	QueuedTime    *dbTime // the slot that waits for a task to end
	DueTime       *dbTime // when to look at it; NULL for never
	FailuresSince dbTime
	CreatedTime   dbTime
	CreatedBy     string
	ChangedTime   dbTime
	ChangedBy     string
}

// TableName returns the table of schedules.
func (scheduleRow) TableName() string { return "schedules" }

func (r *scheduleRow) schedule() tasker.Schedule {
	s := tasker.Schedule{
		ID: r.ID, Name: r.Name, Version: r.Version, Revision: r.Revision, Definition: r.Definition.value,
		NextTime: timePointer(r.NextTime), QueuedTime: timePointer(r.QueuedTime), FailuresSince: r.FailuresSince.Time,
		CreatedTime: r.CreatedTime.Time, CreatedBy: r.CreatedBy, ChangedTime: r.ChangedTime.Time, ChangedBy: r.ChangedBy,
	}
	if r.Pause != nil {
		s.Pause = &r.Pause.value
	}
	return s
}

// optionalTime returns the form of a time that may be missing; the zero time is.
func optionalTime(t *time.Time) *dbTime {
	if t == nil || t.IsZero() {
		return nil
	}
	return &dbTime{*t}
}

// timeValue is optionalTime as the value of a column.
func timeValue(t *time.Time) any {
	if given := optionalTime(t); given != nil {
		return *given
	}
	return nil
}

// PutSchedule creates or replaces a schedule. What waits or is paused stays so, and
// the same again changes nothing. The error is [tasker.Conflict] if the schedule has
// another version than the one to be replaced.
func (s Schedules) PutSchedule(ctx context.Context, put ledger.SchedulePut) (stored tasker.Schedule, created bool, err error) {
	put.By = text.CutValid(put.By, maxPrincipal)
	const tries = 3
	for try := 1; ; try++ {
		err = s.transact(ctx, "store the schedule", func(tx *gorm.DB) error {
			var row scheduleRow
			err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("name = ?", put.Name).Take(&row).Error
			created = errors.Is(err, gorm.ErrRecordNotFound)
			if err != nil && !created {
				return err
			}
			if err := checkVersion(put.Name, row.Version, put.Version); err != nil {
				return err
			}
			stored, err = s.put(tx, row, put)
			return err
		})
		// Two that create it at the same time: the second one replaces it.
		if !errors.Is(err, gorm.ErrDuplicatedKey) || try == tries {
			return stored, created, err
		}
	}
}

// checkVersion returns an error unless a schedule has the expected version; 0 is that
// of one that does not exist, and nil expects none.
func checkVersion(name string, version int64, expected *int64) error {
	switch {
	case expected == nil || *expected == version:
		return nil
	case version == 0:
		return tasker.Errorf(tasker.Conflict, "schedule %q does not exist: omit version, or give 0", name)
	}
	return tasker.Errorf(tasker.Conflict, "schedule %q has version %d, not %d: somebody changed it; read it again",
		name, version, *expected)
}

// put stores a schedule, which is locked, or new.
func (s Schedules) put(tx *gorm.DB, row scheduleRow, put ledger.SchedulePut) (tasker.Schedule, error) {
	now := dbTime{s.Now()}
	before := row
	if row.ID == 0 {
		row.Name, row.CreatedTime, row.CreatedBy = put.Name, now, put.By
	}
	if put.Paused != nil && *put.Paused != (row.Pause != nil) {
		row.Pause, row.FailuresSince = nil, now
		if *put.Paused {
			row.Pause = &document[tasker.SchedulePause]{tasker.SchedulePause{By: put.By, At: now.Time}}
		}
	}
	if row.ID != 0 && before.Pause == row.Pause && sameDefinition(row.Definition.value, put.Definition) {
		return row.schedule(), nil
	}
	next := put.Next(row.CreatedTime.Time, now.Time)
	row.Definition.value = put.Definition
	row.Version, row.Revision = row.Version+1, row.Revision+1
	row.NextTime = optionalTime(&next)
	row.FailuresSince, row.ChangedTime, row.ChangedBy = now, now, put.By
	if row.DueTime = row.NextTime; row.QueuedTime != nil {
		row.DueTime = &now
	}
	if before.ID == 0 {
		err := tx.Create(&row).Error
		return row.schedule(), err
	}
	if due := before.NextTime; due != nil && !due.After(now.Time) {
		slot := tasker.ScheduleSlot{Time: due.Time, Outcome: tasker.SlotMissed, Reason: "the schedule was replaced before it fired"}
		if err := recordSlots(tx, row.ID, []tasker.ScheduleSlot{slot}, now); err != nil {
			return tasker.Schedule{}, err
		}
	}
	err := tx.Save(&row).Error
	return row.schedule(), err
}

// sameDefinition reports whether two definitions are stored alike.
func sameDefinition(a, b tasker.ScheduleDefinition) bool {
	x, errX := document[tasker.ScheduleDefinition]{a}.text()
	y, errY := document[tasker.ScheduleDefinition]{b}.text()
	return errX == nil && errY == nil && x == y
}

// PauseSchedule pauses a schedule or, without a pause, resumes it, and returns it. One
// that is paused keeps its pause. The error is [tasker.NotFound] if it does not exist, or
// [tasker.Conflict] if its version or its pause is another one than expected.
func (s Schedules) PauseSchedule(
	ctx context.Context, name string, expect tasker.ScheduleExpect, pause *tasker.SchedulePause,
) (stored tasker.Schedule, err error) {
	err = s.transact(ctx, "pause or resume the schedule", func(tx *gorm.DB) error {
		row, err := lockSchedule(tx, name)
		if err != nil {
			return err
		}
		stored = row.schedule()
		if err := expect.Check(&stored); err != nil || (row.Pause != nil) == (pause != nil) {
			return err
		}
		now := dbTime{s.Now()}
		row.Revision++
		if row.Pause, row.FailuresSince = nil, now; pause != nil {
			by := text.CutValid(pause.By, maxPrincipal)
			row.Pause = &document[tasker.SchedulePause]{tasker.SchedulePause{By: by, At: now.Time, Reason: pause.Reason}}
		}
		stored = row.schedule()
		return tx.Save(&row).Error
	})
	return stored, err
}

// DeleteSchedule deletes a schedule and its slots. Its tasks stay. The error is
// [tasker.NotFound], or [tasker.Conflict] if it has another version than expected.
func (s Schedules) DeleteSchedule(ctx context.Context, name string, version *int64) error {
	return s.transact(ctx, "delete the schedule", func(tx *gorm.DB) error {
		row, err := lockSchedule(tx, name)
		if err != nil {
			return err
		}
		if err := checkVersion(name, row.Version, version); err != nil {
			return err
		}
		if err := tx.Where("schedule_id = ?", row.ID).Delete(&slotRow{}).Error; err != nil {
			return err
		}
		return tx.Where("id = ?", row.ID).Delete(&scheduleRow{}).Error
	})
}

func errNoSchedule(name string) error {
	return tasker.Errorf(tasker.NotFound, "schedule %q not found", name)
}

func lockSchedule(tx *gorm.DB, name string) (row scheduleRow, err error) {
	err = tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("name = ?", name).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = errNoSchedule(name)
	}
	return row, err
}

// FindSchedule returns a schedule, or a [tasker.NotFound] error.
func (s Schedules) FindSchedule(ctx context.Context, name string) (tasker.Schedule, error) {
	if err := s.clockKnown(ctx); err != nil {
		return tasker.Schedule{}, err
	}
	var row scheduleRow
	err := s.conn(ctx).Where("name = ?", name).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return tasker.Schedule{}, errNoSchedule(name)
	}
	return row.schedule(), s.fail("read the schedule", err)
}

// ListSchedules returns up to limit schedules with a name after the given one, by
// name.
func (s Schedules) ListSchedules(ctx context.Context, after string, limit int) ([]tasker.Schedule, error) {
	var rows []scheduleRow
	err := s.conn(ctx).Where("name > ?", after).Order("name").Limit(limit).Find(&rows).Error
	return schedulesOf(rows), s.fail("list the schedules", err)
}

func schedulesOf(rows []scheduleRow) []tasker.Schedule {
	list := make([]tasker.Schedule, len(rows))
	for i := range rows {
		list[i] = rows[i].schedule()
	}
	return list
}

// DueSchedules returns up to limit schedules to be looked at now, those due longest
// first.
func (s Schedules) DueSchedules(ctx context.Context, limit int) ([]tasker.Schedule, error) {
	if err := s.clockKnown(ctx); err != nil {
		return nil, err
	}
	var rows []scheduleRow
	err := s.conn(ctx).Where("due_time <= ?", dbTime{s.Now()}).Order("due_time, id").Limit(limit).Find(&rows).Error
	return schedulesOf(rows), s.fail("read the schedules that are due", err)
}

// NextDue returns when the next schedule is to be looked at; ok is false if none is.
func (s Schedules) NextDue(ctx context.Context) (due time.Time, ok bool, err error) {
	var times []dbTime
	err = s.conn(ctx).Model(&scheduleRow{}).Where("due_time IS NOT NULL").Order("due_time").Limit(1).Pluck("due_time", &times).Error
	if err != nil || len(times) == 0 {
		return due, false, s.fail("read when the next schedule is due", err)
	}
	return times[0].Time, true, nil
}
