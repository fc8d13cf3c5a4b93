package ledger

import (
	"time"

	"github.com/taskerhq/tasker"
)

// Unsent is a CREATED task with the state of the attempts to send it. That is
// stored with the task, so that the next attempt continues from there after a
// crash or in another process.
type Unsent struct {
	tasker.Task
	// Attempt counts the attempts begun, from 1. The store rejects changes from
	// an attempt once a later one has begun.
	Attempt int
	// SentTo is the last of the listed Endpoints, in order, such that it and all
	// before it were sent to or are Unserved; empty if there is none.
	SentTo string
	// Refused is true if the broker refused the message in the last attempt.
	Refused bool
}

// Release ends an attempt to send a task that stays CREATED.
type Release struct {
	TaskID  int64
	Attempt int
	// After is the delay before the next attempt.
	After time.Duration
	// Refusal is why the broker refused the message; empty if it did not.
	Refusal string
	// Untried is true if nothing was published. The attempt is then not counted.
	Untried bool
}

// Creation is what became of a task to be created.
type Creation struct {
	// Task is the stored task, and Created is true if it was not stored before.
	Task    tasker.Task
	Created bool
	Err     error // if it could not be stored
}

// Sent is a task that has been sent.
type Sent struct {
	Task tasker.Task
	// Unserved are listed endpoints that had no queue.
	Unserved []string
}

// Marking is what became of a task to be marked as sent.
type Marking struct {
	Task tasker.Task // as it is stored now
	Err  error
}
