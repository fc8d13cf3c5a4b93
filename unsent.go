package tasker

import "time"

// Unsent is a CREATED task and what is known of the attempts to send it. It is
// stored with the task, so that whoever tries next, after a crash or in another
// process, goes on from there.
type Unsent struct {
	Task
	// Attempt counts the attempts that have begun, from 1. The store takes
	// nothing more from an attempt that another one has followed.
	Attempt int
	// SentTo is the last of the listed Endpoints, in their order, up to which
	// all are sent to or are Unserved; empty where none is.
	SentTo string
	// Refused reports whether the broker refused the task's message last.
	Refused bool
}

// Release ends an attempt to send a task that stays CREATED.
type Release struct {
	TaskID  int64
	Attempt int
	// After is for how long nobody tries again.
	After time.Duration
	// Refusal is why the broker refused the message; empty where it did not.
	Refusal string
	// Untried means that nothing was published: the attempt does not count.
	Untried bool
}

// RefusedTask is a task that the broker refuses to take.
type RefusedTask struct {
	ID               int64
	Type, Identifier string
	Attempts         int
	Reason           string
	NextTime         time.Time // when it is tried again
}
