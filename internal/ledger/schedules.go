package ledger

import (
	"time"

	"github.com/taskerhq/tasker"
)

// SchedulePut asks to create or replace a schedule.
type SchedulePut struct {
	Name       string
	Definition tasker.ScheduleDefinition
	// Paused pauses or resumes the schedule; nil leaves that as it is.
	Paused *bool
	By     string
	// Version is the one that is to be replaced, 0 for none; nil replaces any.
	Version *int64
	// Next returns the first slot after now of the schedule if it was created at a
	// time; zero if there is none.
	Next func(created, now time.Time) time.Time
}

// ScheduleStep is one step of a schedule, which is done as a whole or not at all.
type ScheduleStep struct {
	// Schedule is the schedule as it was read. If it has changed since, nothing is
	// done.
	Schedule tasker.Schedule
	// Next, Queued and Due are the next slot, the one that waits, and when to look at
	// the schedule; nil for none.
	Next, Queued, Due *time.Time
	// Pause pauses the schedule; nil leaves that as it is.
	Pause *tasker.SchedulePause
	// Slots are recorded, unless they are already. With Again they replace others than
	// those that are FIRED.
	Slots []tasker.ScheduleSlot
	Again bool
	// Task is created, and is that of the last of the Slots; nil for none.
	Task *tasker.Task
}

// ScheduleStepped is what became of a [ScheduleStep].
type ScheduleStepped struct {
	Done bool // false if the schedule had changed
	// Task is that of the last slot, and Created reports whether it is new.
	Task    tasker.Task
	Created bool
}
