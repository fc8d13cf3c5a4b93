package tasker

import "time"

// A hold keeps new attempts from starting: those of a task, those of a task type, or
// those at an endpoint. What runs goes on, and what arrives is recorded and waits. A
// hold lasts until it is ended or its time has passed.

// Hold says who paused a task or a task type, or drained an endpoint.
type Hold struct {
	By     string    `json:"by"` // the principal of the request
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // for people; may be empty
	// Until is when the hold ends by itself; nil if somebody must end it.
	Until *time.Time `json:"until,omitempty"`
}

// Over reports whether the hold has ended by itself.
func (h *Hold) Over(now time.Time) bool { return h.Until != nil && !h.Until.After(now) }

// Describe returns a sentence about the hold, such as "endpoint drained by ann: new
// disk". what is the part before the name.
func (h *Hold) Describe(what string) string {
	text := what + " by " + h.By
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

// HoldSubject is what a hold is about: an endpoint, a task with its type, or a task
// type alone.
type HoldSubject struct {
	Endpoint   string
	TaskType   string
	Identifier string
}

// HoldRequest asks to pause a task or a task type, or to drain an endpoint.
type HoldRequest struct {
	HoldSubject
	By, Reason string
	// Until is when the hold ends by itself: a time, or a while from now. The zero
	// value is never.
	Until Expiry
}

// HoldOutcome says what a hold found. From then on nothing of it starts.
type HoldOutcome struct {
	Hold Hold
	// TaskID is that of the task, if the hold is about one.
	TaskID int64
	// Running are the endpoints, sorted, that still run the task or tasks of the type
	// or, if the hold is about an endpoint, the tasks that it runs, as TYPE/IDENTIFIER.
	Running []string
	// Waiting counts the results that wait for the end of the hold.
	Waiting int
	// Unaware are the endpoints whose managers reach the database by themselves and are
	// too old to know holds: they start tasks all the same.
	Unaware []string
	// Endpoints are those that it concerns.
	Endpoints []string
}

// EndedHold is a hold that has ended.
type EndedHold struct {
	HoldSubject
	TaskID    int64    // of the task, if it was about one
	Endpoints []string // those that it concerned
	// Scheduled is the start time of a task that has not started yet; nil for others.
	Scheduled *time.Time
}
