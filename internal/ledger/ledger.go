// Package ledger has the types that the store exchanges with the manager and
// with the dispatch of tasks: entries for a result, and what became of them.
package ledger

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/taskerhq/tasker"
)

// Incoming is a task's message that has reached an endpoint and is to be
// recorded.
type Incoming struct {
	tasker.ResultKey
	// Manager is the manager that consumed the message. It must hold the
	// endpoint.
	Manager string
	// Identifier and Type are those in the message. They must match the stored
	// task.
	Identifier string
	Type       string
	// PayloadSHA256 is that of the message, and must match the stored task, too;
	// empty if the message has none.
	PayloadSHA256 string
	// State is the state to record, one of [tasker.InitialResultStates].
	// Running counts the first attempt.
	State tasker.ResultState
	// Errnr and Errmsg give the reason if State is final.
	Errnr  int
	Errmsg string
}

// Outcome is what became of an [Incoming].
type Outcome int

// The outcomes.
const (
	Recorded  Outcome = iota // recorded in the state asked for
	Duplicate                // already recorded: a redelivery
	Refused                  // not for this endpoint, or not a task: see Reason
	NotOwner                 // the manager no longer holds the endpoint
)

// Recording is the store's reply to an [Incoming].
type Recording struct {
	Outcome Outcome
	Reason  string      // why it was Refused, for people
	Task    tasker.Task // the stored task, if Recorded or Duplicate: this is what runs
	// State and Attempt are those of the existing result, if Duplicate. If that
	// result is LOST, State is the one it returns to with its endpoint.
	State   tasker.ResultState
	Attempt int
	Earlier int // see [Work]
	// StartOrder is that of the result: see [Work].
	StartOrder int64
	// Own is true if the same manager recorded or started the existing result.
	Own bool
}

// StartOrder returns the place of a result that is due at a time in the order in which
// those that wait at an endpoint start: the microseconds since 1970, less
// [tasker.PriorityAge] for each step of priority. So one that waits rises by a step in
// that time, as seen from those that come later, and nothing has to be stored for it.
func StartOrder(due time.Time, priority int) int64 {
	return due.UnixMicro() - int64(priority)*tasker.PriorityAge.Microseconds()
}

// Work is an unfinished result with its task.
type Work struct {
	Task     tasker.Task
	Endpoint string
	State    tasker.ResultState
	// StartOrder and then the id of the task say which of the results that wait at the
	// endpoint starts first: the one with the lowest. It is 0 if a program recorded the
	// result that knew of no priorities.
	StartOrder int64
	Attempt    int
	RetryTime  *time.Time // only if RETRYING
	// Earlier is how many of the attempts were of earlier rounds of the task: the retry
	// policy does not count them.
	Earlier int
	// Step is the step that the attempt runs next; 0 and 1 both mean the first.
	Step int
	// AwaitsReboot is the boot id of the machine at the time the attempt asked
	// for a reboot; empty if it did not.
	AwaitsReboot string
	// Canceled says who canceled it and why, for people; empty if nobody did.
	Canceled string
}

// Key returns the key of the result.
func (w *Work) Key() tasker.ResultKey {
	return tasker.ResultKey{TaskID: w.Task.ID, Endpoint: w.Endpoint}
}

// Unfinished says which kinds of unfinished results an endpoint has.
type Unfinished struct {
	// Lost is true if some are LOST.
	Lost bool
	// Interrupted is true if some are RUNNING under another manager.
	Interrupted bool
	// Waiting is true if some are RECEIVED or RETRYING.
	Waiting bool
	// Canceled is true if some run under the manager and were told to stop.
	Canceled bool
}

// Commands says what an endpoint is to look for after people asked for something.
type Commands struct {
	// Canceled is true if a result runs there that was told to stop.
	Canceled bool
	// Waiting is true if some are RECEIVED: the task may have been retried.
	Waiting bool
}

// Any reports whether the endpoint has unfinished results other than those that
// the manager runs.
func (u Unfinished) Any() bool { return u != Unfinished{} }

// Hold keeps attempts from starting at an endpoint: all of them, those of a task type if
// TaskType is set, or those of one task if TaskID is.
type Hold struct {
	Endpoint string
	TaskType string
	TaskID   int64
	Until    *time.Time // when it ends by itself; nil if somebody must end it
}

// Start is an attempt to start.
type Start struct {
	tasker.ResultKey
	// Manager is the manager that runs the attempt. It must hold the endpoint.
	Manager string
	// Attempt is the number of attempts begun so far. The start fails if the
	// result has another number: somebody else started it first.
	Attempt int
}

// End is the end of an attempt, to be stored.
type End struct {
	tasker.ResultKey
	// Attempt must be the result's current attempt; the end of an older one is
	// not stored.
	Attempt int
	// State is the state that the result moves to: a final one, or Retrying.
	State   tasker.ResultState
	Errnr   int
	Errmsg  string
	Payload json.RawMessage
	// RetryDelay is the delay before the next attempt, if Retrying.
	RetryDelay time.Duration
}

// Renewal is a heartbeat of a manager for an endpoint.
type Renewal struct {
	Endpoint string
	Manager  string
	Lease    time.Duration // from now on
}

// LiveUpdate is what an attempt reported since its last update, to be stored. It
// changes nothing else of the result.
type LiveUpdate struct {
	tasker.ResultKey
	Attempt  int
	Progress *tasker.Progress // nil if unchanged
	Partial  json.RawMessage  // the result so far; nil if unchanged
	Lines    []tasker.LogLine // to append as one chunk; nil if none
	Totals   tasker.LogTotals
	// DropFrom and DropTo are line numbers: chunks entirely between them are
	// deleted. Both are 0 if none are.
	DropFrom, DropTo int64
}

// Look is what a look at an open task finds.
type Look struct {
	ID int64
	// Results is the number of the task's results: what the look costs.
	Results int
	// Unsettled is true if the stored status is behind the results.
	Unsettled bool
}

// SentPosition is the position of a task in the order in which tasks were sent.
// The zero value comes before all. A task not yet sent has a zero SentTime and
// comes before those that were.
type SentPosition struct {
	SentTime time.Time
	ID       int64
}

// Compare returns -1 if p is before q, 1 if it is after q, and 0 if they are
// equal.
func (p SentPosition) Compare(q SentPosition) int {
	return cmp.Or(p.SentTime.Compare(q.SentTime), cmp.Compare(p.ID, q.ID))
}
