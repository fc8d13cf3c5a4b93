package tasker

import (
	"slices"
	"time"
)

// RetryClass selects the endpoints of a task that are to run it again.
type RetryClass string

// The classes of endpoints of a retry. None of them has an endpoint that was removed.
const (
	// RetryFailed selects those that ended without success: FAILED, TIMED_OUT,
	// REJECTED, EXPIRED and CANCELED. SUPERSEDED ones have a newer task instead.
	RetryFailed RetryClass = "failed"
	// RetryMissing selects those that have not received the task.
	RetryMissing RetryClass = "missing"
	// RetryUnfinished selects all without success that do not work on the task:
	// those of RetryFailed and RetryMissing, and LOST ones.
	RetryUnfinished RetryClass = "unfinished"
	// RetryAll selects all that have ended, DONE and SUPERSEDED ones included, and those
	// of RetryMissing.
	RetryAll RetryClass = "all"
)

// RetryClasses returns all classes.
func RetryClasses() []RetryClass {
	return []RetryClass{RetryFailed, RetryMissing, RetryUnfinished, RetryAll}
}

// Valid reports whether c is one of the classes.
func (c RetryClass) Valid() bool { return slices.Contains(RetryClasses(), c) }

// Results returns the states of the results that the class selects.
func (c RetryClass) Results() (states []ResultState) {
	for _, s := range ResultStates() {
		switch {
		case c == RetryMissing, !s.CanRetry():
		case (s == ResultDone || s == Superseded) && c != RetryAll, s == Lost && c != RetryUnfinished:
		default:
			states = append(states, s)
		}
	}
	return states
}

// Missing reports whether the class selects endpoints without a result.
func (c RetryClass) Missing() bool { return c != RetryFailed }

// MaxKey is the length of the key of an idempotent request, in bytes.
const MaxKey = 255

// RetryRequest asks for a new round of a task.
type RetryRequest struct {
	Type, Identifier string
	// Class selects the endpoints, unless Endpoints names them, sorted.
	Class     RetryClass
	Endpoints []string
	// Expires is when the task expires in this round, counted from its start. The zero
	// value leaves it as it is.
	Expires Expiry
	// Key makes the request idempotent: one with the same key returns the round of the
	// first. Empty means that it is not.
	Key        string
	By, Reason string
	// DryRun returns what would be done, and does nothing.
	DryRun bool
}

// RetryOutcome is a round of a task that was retried.
type RetryOutcome struct {
	Task  Task // without its payload and the endpoints it expects
	Round int  // counted from 1, which began with the task
	// Retried are the endpoints that run the task again, sorted, and Missing those of
	// them that have not received it yet.
	Retried, Missing []string
	// NotRetried are the endpoints that were asked for as well and do not, by reason.
	NotRetried []NotRetried
}

// NotRetried is a set of endpoints that do not run a task again.
type NotRetried struct {
	Reason    string   `json:"reason"`    // one of the constants
	Endpoints []string `json:"endpoints"` // sorted
}

// The reasons why an endpoint does not run a task again.
const (
	NotRetriedDone     = "done"     // it ended with success
	NotRetriedRunning  = "running"  // it runs it
	NotRetriedStopping = "stopping" // it runs it, and was told to stop
	NotRetriedWaiting  = "waiting"  // it will run it, or try again
	NotRetriedLost     = "lost"     // it is away, and will run it when it is back
	NotRetriedRemoved  = "removed"  // it was removed after it had finished it
)

// NotRetriedReasons returns all reasons, in the order of an answer.
func NotRetriedReasons() []string {
	return []string{NotRetriedDone, NotRetriedRunning, NotRetriedStopping, NotRetriedWaiting, NotRetriedLost, NotRetriedRemoved}
}

// CheckRetry returns why a task cannot be retried at a time, or nil. The error is
// [Conflict], or [Invalid] with the field for an expiry in the past.
func (t *Task) CheckRetry(expires Expiry, now time.Time) error {
	const form = "task %q of type %q cannot be retried: "
	switch {
	case t.Status == Canceling:
		return Errorf(Conflict, form+"it is %s: wait until it has stopped", t.Identifier, t.Type, t.Status)
	case !t.Status.CanRetry():
		return Errorf(Conflict, form+"it is %s: no endpoint has it yet", t.Identifier, t.Type, t.Status)
	case !expires.IsZero():
		if at := expires.Time(now); !at.After(now) {
			return FieldErrorf("/expires", "invalid expires: %s has passed", at.Format(time.RFC3339Nano))
		}
	case t.Expires != nil && !t.Expires.After(now):
		return Errorf(Conflict, form+`it expired at %s: give a new time as "expires"`,
			t.Identifier, t.Type, t.Expires.Format(time.RFC3339))
	}
	return nil
}
