package tasker

import (
	"cmp"
	"encoding/json"
	"time"
)

// ResultKey names one endpoint's result for one task.
type ResultKey struct {
	TaskID   int64
	Endpoint string
}

// Arrival is a task's message that reached an endpoint, to be recorded.
type Arrival struct {
	ResultKey
	// Identifier and Type are what the message says; they must be those of
	// the stored task.
	Identifier string
	Type       string
	// State is how to record it, one of [InitialResultStates]: Running counts
	// the first attempt.
	State ResultState
	// Errnr and Errmsg say why, where State is an end.
	Errnr  int
	Errmsg string
}

// Verdict is what became of an [Arrival].
type Verdict int

// The verdicts on an arrival.
const (
	Admitted Verdict = iota // recorded, in the state asked for
	Known                   // recorded before: a redelivery
	Refused                 // not for this endpoint, or not a task: Reason says why
	NotOwner                // this manager does not hold the endpoint any more
)

// Admission is the verdict on an [Arrival].
type Admission struct {
	Verdict Verdict
	Reason  string // of Refused, for people
	Task    Task   // of Admitted and Known, as stored: what shall run
	// State and Attempt are those of the result that is Known, and Own tells
	// that the same manager recorded or started it. Of a result that is LOST,
	// State is where its endpoint's return takes it.
	State   ResultState
	Attempt int
	Own     bool
}

// Work is an unfinished result together with its task.
type Work struct {
	Task      Task
	Endpoint  string
	State     ResultState
	Attempt   int
	RetryTime *time.Time // of RETRYING
	// Step is the step of the attempt that is to run; 0 and 1 are the first.
	Step int
	// AwaitsReboot is the boot of the machine in which the attempt asked for a
	// reboot, to go on after it; empty where it did not.
	AwaitsReboot string
}

// Key names the result.
func (w *Work) Key() ResultKey { return ResultKey{w.Task.ID, w.Endpoint} }

// Start is an attempt to be started.
type Start struct {
	ResultKey
	// Attempt is the number of attempts that have begun before; where the
	// result has another one, somebody else was first.
	Attempt int
}

// Finish is the end of one attempt, to be stored.
type Finish struct {
	ResultKey
	// Attempt must be the result's current one; an older one is not stored.
	Attempt int
	// State is where the result goes: an end, or Retrying.
	State   ResultState
	Errnr   int
	Errmsg  string
	Payload json.RawMessage
	// RetryDelay is the pause before the next attempt, of Retrying.
	RetryDelay time.Duration
}

// SentPosition is the place of a task in the order in which tasks were sent;
// the zero value is before all. A task that is not sent yet has no SentTime and
// is before those that are.
type SentPosition struct {
	SentTime time.Time
	ID       int64
}

// Compare returns -1 where p is before q, 1 where it is behind, and 0 where
// they are the same.
func (p SentPosition) Compare(q SentPosition) int {
	return cmp.Or(p.SentTime.Compare(q.SentTime), cmp.Compare(p.ID, q.ID))
}
