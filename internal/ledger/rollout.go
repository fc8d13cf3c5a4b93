package ledger

import "github.com/taskerhq/tasker"

// WaveClaim is an attempt to send a task to the endpoints whose wave of its rollout is
// open. The store rejects changes from an attempt once a later one has begun.
type WaveClaim struct {
	TaskID  int64
	Attempt int // from 1
}

// Wave is what an attempt has to send next.
type Wave struct {
	// Task is the stored task, without its payload.
	Task tasker.Task
	// Endpoints are some of those that have not been sent to; if there are none, the
	// attempt has ended.
	Endpoints []string
}

// Advance is what became of a rollout: by one decision, or by what a person did.
type Advance struct {
	TaskID           int64
	Type, Identifier string
	// Changed is true if something changed; then there may be more to decide.
	Changed bool
	State   string // of the rollout
	Reason  string // why it is in that state
	Wave    int    // the last one that was opened
	// Send is the attempt in which the caller has to send the task; its Attempt is 0 if
	// there is none to make.
	Send WaveClaim
	// Halted is the setting whose limit halted the rollout; empty if it did not halt.
	Halted string
	// Held are the endpoints to be told that a hold began or ended.
	Held []string
	// Canceled are those that were told to stop, in their rows.
	Canceled []string
	// Behind is true if the stored status of the task may be behind its results.
	Behind bool
}
