package tasker

import (
	"time"
	"unicode/utf8"
)

// MaxReason is the length of the reason for a cancellation, a pause or a drain, in bytes.
const MaxReason = 1024

// Cancellation says who canceled a task.
type Cancellation struct {
	By     string    `json:"by"` // the principal of the request
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // for people; may be empty
	// All is false if the task was canceled for some of its endpoints only. Then
	// this is the latest of such cancellations.
	All bool `json:"all"`
}

// CancelRequest asks to cancel a task.
type CancelRequest struct {
	Type, Identifier string
	// Endpoints are those that are to stop, sorted; nil means all of the task.
	Endpoints  []string
	By, Reason string
}

// CancelOutcome says what a cancellation found at the endpoints that it names. Each
// of them is in one of the lists, which are sorted.
type CancelOutcome struct {
	Task Task // without its payload and the endpoints it expects
	// Stopped had not begun, or have stopped: nothing starts there any more.
	Stopped []string
	// Stopping run it and have been told to stop.
	Stopping []string
	// FinishedBefore had finished before the cancellation reached them.
	FinishedBefore []string
	// Unreachable were running it when they were last heard of. They stop when they
	// are back.
	Unreachable []string
}

// ValidateReason returns why a reason for a cancellation, a pause or a drain is invalid,
// or nil.
func ValidateReason(reason string) error {
	switch {
	case len(reason) > MaxReason:
		return Errorf(Invalid, "reason too long: %d bytes, the limit is %d", len(reason), MaxReason)
	case !utf8.ValidString(reason):
		return Errorf(Invalid, "invalid reason: must be UTF-8")
	}
	return nil
}

// Errmsg returns the message of a result that was canceled.
func (c *Cancellation) Errmsg() string {
	message := "canceled by " + c.By
	if c.Reason != "" {
		message += ": " + c.Reason
	}
	return message
}
