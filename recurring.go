package tasker

import (
	"encoding/json"
	"slices"
	"time"
)

// MaxScheduleName is the maximum length of a schedule's name, in bytes: the
// identifiers of its tasks are the name and a time.
const MaxScheduleName = 40

// ValidateScheduleName checks the name of a schedule: that of an identifier, but
// shorter.
func ValidateScheduleName(name string) error {
	if len(name) > MaxScheduleName || !validName(name, true) {
		return Errorf(Invalid,
			"invalid schedule name %q: must be 1 to %d letters, digits, '.', '_' or '-', starting with a letter or digit",
			clip(name), MaxScheduleName)
	}
	return nil
}

// Schedule creates tasks at recurring times. Its JSON form is the HTTP contract.
type Schedule struct {
	ID      int64  `json:"-"`
	Name    string `json:"name"`
	Version int64  `json:"version"` // of the definition: 1 at first
	// Revision grows with every change, firings included.
	Revision   int64              `json:"-"`
	Definition ScheduleDefinition `json:"definition"`
	Pause      *SchedulePause     `json:"pause"` // nil unless it is paused
	// NextTime is the next slot, nil if there is none any more. It passes while the
	// schedule is paused, too.
	NextTime *time.Time `json:"next_time"`
	// QueuedTime is the slot that waits until the task of an earlier one does not run
	// any more; nil if none does.
	QueuedTime  *time.Time `json:"queued_time"`
	CreatedTime time.Time  `json:"created_time"`
	CreatedBy   string     `json:"created_by"`
	ChangedTime time.Time  `json:"changed_time"` // by somebody
	ChangedBy   string     `json:"changed_by"`
	// FailuresSince is when it was created, changed, paused or resumed, whichever was
	// last: failures are counted for PauseOnFailures from then on.
	FailuresSince time.Time `json:"-"`
}

// ScheduleDefinition is what somebody asked for. Exactly one of Cron, Every and At is
// given. Durations are texts such as "1h30m".
type ScheduleDefinition struct {
	Cron     string      `json:"cron,omitempty"`
	Every    string      `json:"every,omitempty"` // counted from the creation of the schedule
	At       []time.Time `json:"at,omitempty"`    // sorted
	TimeZone string      `json:"time_zone"`       // for Cron, from the IANA database
	// Task is the body of the POST that creates each task, with its type as "type".
	Task json.RawMessage `json:"task"`
	// CatchUp is how late a slot may still fire.
	CatchUp string       `json:"catch_up"`
	Missed  MissedPolicy `json:"missed"`
	// Overlap decides what becomes of a slot while the task of an earlier one runs.
	Overlap OverlapPolicy `json:"overlap"`
	// Jitter delays each task by a part of it, which depends on the names of the
	// schedule and the slot only.
	Jitter string `json:"jitter,omitempty"`
	// PauseOnFailures pauses the schedule after so many failures in a row; 0 is never.
	PauseOnFailures int        `json:"pause_on_failures,omitempty"`
	Until           *time.Time `json:"until,omitempty"` // no slot is later
}

// SchedulePause says who paused a schedule.
type SchedulePause struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // for people; may be empty
}

// ScheduleExpect is how somebody saw a schedule who acts on it, so that two who act at the
// same moment do not both have their way. What is nil may be anything; the zero time
// stands for none.
type ScheduleExpect struct {
	Version *int64     `json:"version,omitempty"` // of the definition
	Pause   *time.Time `json:"pause,omitempty"`   // when it was paused
	Latest  *time.Time `json:"latest,omitempty"`  // its latest slot, whatever became of it
}

// IsZero reports whether nothing is expected.
func (e ScheduleExpect) IsZero() bool { return e == ScheduleExpect{} }

// Expect returns what an act expects of a schedule whose definition and pause somebody
// has seen.
func (s *Schedule) Expect() ScheduleExpect {
	e := ScheduleExpect{Version: new(s.Version), Pause: new(time.Time)}
	if s.Pause != nil {
		*e.Pause = s.Pause.At
	}
	return e
}

// Check returns a [Conflict] error that says how a schedule is, unless its version and
// its pause are as expected.
func (e ScheduleExpect) Check(s *Schedule) error {
	if e.Version != nil && *e.Version != s.Version {
		return Errorf(Conflict, "schedule %q changed meanwhile: it has version %d, not %d: nothing was done; look again",
			s.Name, s.Version, *e.Version)
	}
	switch {
	case e.Pause == nil:
		return nil
	case s.Pause == nil && !e.Pause.IsZero():
		return Errorf(Conflict, "schedule %q changed meanwhile: it is no longer paused: nothing was done; look again", s.Name)
	case s.Pause != nil && !e.Pause.Equal(s.Pause.At):
		return Errorf(Conflict, "schedule %q changed meanwhile: %s paused it at %s: nothing was done; look again",
			s.Name, s.Pause.By, s.Pause.At.UTC().Format(time.RFC3339))
	}
	return nil
}

// CheckLatest returns a [Conflict] error that says what the latest slot of a schedule is,
// nil if it has none, unless that is the expected one.
func (e ScheduleExpect) CheckLatest(name string, latest *ScheduleSlot) error {
	if latest == nil {
		latest = &ScheduleSlot{}
	}
	if e.Latest == nil || e.Latest.Equal(latest.Time) {
		return nil
	}
	text := "it has no slot any more"
	if !latest.Time.IsZero() {
		text = "its latest slot is " + latest.Time.UTC().Format(time.RFC3339Nano) + " " + string(latest.Outcome)
	}
	if latest.By != "" {
		text += " by " + latest.By
	}
	return Errorf(Conflict, "schedule %q fired or was triggered meanwhile: %s: nothing was done; look again", name, text)
}

// MissedPolicy decides which slots fire that passed more than a minute ago, since no
// API process ran or the database was away.
type MissedPolicy string

// The policies for missed slots, within the time to catch up.
const (
	MissedLast MissedPolicy = "last" // the newest one alone
	MissedAll  MissedPolicy = "all"  // all of them, up to 100
	MissedSkip MissedPolicy = "skip" // none
)

// MissedPolicies returns all policies.
func MissedPolicies() []MissedPolicy { return []MissedPolicy{MissedLast, MissedAll, MissedSkip} }

// Valid reports whether p is one of the policies.
func (p MissedPolicy) Valid() bool { return slices.Contains(MissedPolicies(), p) }

// OverlapPolicy decides what becomes of a slot while the task of an earlier one runs.
type OverlapPolicy string

// The policies for slots that overlap.
const (
	OverlapSkip   OverlapPolicy = "skip"   // it does not fire
	OverlapQueue  OverlapPolicy = "queue"  // it waits; one at most does
	OverlapAllow  OverlapPolicy = "allow"  // it fires
	OverlapCancel OverlapPolicy = "cancel" // the earlier one is canceled, and it waits until that has stopped
)

// OverlapPolicies returns all policies.
func OverlapPolicies() []OverlapPolicy {
	return []OverlapPolicy{OverlapSkip, OverlapQueue, OverlapAllow, OverlapCancel}
}

// Valid reports whether p is one of the policies.
func (p OverlapPolicy) Valid() bool { return slices.Contains(OverlapPolicies(), p) }

// SlotOutcome is what became of a slot of a schedule.
type SlotOutcome string

// The outcomes of slots.
const (
	SlotFired   SlotOutcome = "FIRED"           // its task exists
	SlotMissed  SlotOutcome = "MISSED"          // it was too late
	SlotOverlap SlotOutcome = "SKIPPED_OVERLAP" // the task of an earlier one ran
	SlotPaused  SlotOutcome = "PAUSED"          // the schedule was paused
	SlotFailed  SlotOutcome = "FAILED"          // its task could not be created
)

// SlotOutcomes returns all outcomes.
func SlotOutcomes() []SlotOutcome {
	return []SlotOutcome{SlotFired, SlotMissed, SlotOverlap, SlotPaused, SlotFailed}
}

// ScheduleSlot is one time at which a schedule was due, and what became of it.
type ScheduleSlot struct {
	Time    time.Time   `json:"time"` // nominal
	Outcome SlotOutcome `json:"outcome"`
	Reason  string      `json:"reason"` // why it did not fire; empty if it did
	// Type and Identifier are those of its task, empty if it has none.
	Type       string `json:"type,omitempty"`
	Identifier string `json:"identifier,omitempty"`
	// By is who triggered it or asked for it again; empty if it was the time.
	By           string    `json:"by,omitempty"`
	RecordedTime time.Time `json:"recorded_time"`
	TaskID       int64     `json:"-"`
}

// SlotIdentifier returns the identifier of the task of a schedule's slot: its name and
// the time in UTC, to the second or, for one that somebody triggered, to the
// microsecond. So the task of a slot is created once, by however many processes.
func SlotIdentifier(schedule string, slot time.Time) string {
	const seconds, microseconds = "20060102T150405Z", "20060102T150405.000000Z"
	if slot = slot.UTC(); slot.Nanosecond() == 0 {
		return schedule + "-" + slot.Format(seconds)
	}
	return schedule + "-" + slot.Format(microseconds)
}

// UpcomingSlot is a time at which a schedule will be due.
type UpcomingSlot struct {
	Time time.Time `json:"time"`
	// Local is the same in the time zone of the schedule.
	Local time.Time `json:"local"`
	// StartTime is when its task will start: later than Time by the jitter.
	StartTime time.Time `json:"start_time"`
	// ClockChange is by how much the clocks of the zone were put forward since the
	// slot before, such as "1h0m0s" or "-1h0m0s"; empty if they were not.
	ClockChange string `json:"clock_change,omitempty"`
}

// BackfilledSlot is a slot that somebody asked for after it had passed.
type BackfilledSlot struct {
	Time       time.Time `json:"time"`
	Identifier string    `json:"identifier"` // of its task
	Fired      bool      `json:"fired"`      // it had fired before
}
