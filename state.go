package tasker

import "slices"

// TaskStatus is where a task stands, computed from its results.
type TaskStatus string

// The task statuses. docs/state-machine.md draws their moves.
const (
	// Scheduled: stored, its start time is ahead. The reconciler moves it on
	// to CREATED when it is due; a crash changes nothing.
	Scheduled TaskStatus = "SCHEDULED"
	// Created: stored, and not known to be confirmed by the broker. The API
	// that took it moves it on to SENT at once, or the relay does later,
	// after a crash or an outage.
	Created TaskStatus = "CREATED"
	// Sent: the broker has confirmed it for every queue. The aggregation
	// moves it on when its results end, or when the time to be received has
	// passed.
	Sent TaskStatus = "SENT"
	// Incomplete: an expected endpoint did not receive the task in time, or
	// was lost. Not the end: when the late ones finish, the aggregation moves
	// it on to DONE or FAILED.
	Incomplete TaskStatus = "INCOMPLETE"
	// Done: every expected endpoint finished well. Final.
	Done TaskStatus = "DONE"
	// Failed: every expected endpoint finished, some with an error. Final.
	Failed TaskStatus = "FAILED"
	// Canceled: somebody canceled it. Final.
	Canceled TaskStatus = "CANCELED"
)

// taskMoves is the table of legal moves; the store guards its updates with it.
var taskMoves = map[TaskStatus][]TaskStatus{
	Scheduled:  {Created, Canceled},
	Created:    {Sent, Canceled},
	Sent:       {Done, Failed, Incomplete, Canceled},
	Incomplete: {Done, Failed, Canceled},
	Done:       {},
	Failed:     {},
	Canceled:   {},
}

// TaskStatuses gives every status, in the order of a task's life.
func TaskStatuses() []TaskStatus {
	return []TaskStatus{Scheduled, Created, Sent, Incomplete, Done, Failed, Canceled}
}

// Valid tells whether s is one of the statuses.
func (s TaskStatus) Valid() bool { _, ok := taskMoves[s]; return ok }

// Final tells whether no move leads out of s.
func (s TaskStatus) Final() bool { return s.Valid() && len(taskMoves[s]) == 0 }

// CanMoveTo tells whether the move from s to next is legal.
func (s TaskStatus) CanMoveTo(next TaskStatus) bool { return slices.Contains(taskMoves[s], next) }

// TaskStatusesBefore gives the statuses from which a move to next is legal,
// for the guard of an update.
func TaskStatusesBefore(next TaskStatus) []TaskStatus {
	return before(TaskStatuses(), taskMoves, next)
}

// ResultState is where one endpoint stands with one task.
type ResultState string

// The result states. docs/state-machine.md draws their moves.
const (
	// Received: recorded, and waiting for a free slot. The manager moves it
	// on; a manager that starts adopts it.
	Received ResultState = "RECEIVED"
	// Running: an attempt is counted and its handler runs. The manager moves
	// it on; a manager that starts finds it interrupted, which counts as a
	// failed attempt.
	Running ResultState = "RUNNING"
	// Retrying: an attempt failed and the next one is due at RetryTime. The
	// manager moves it on; a manager that starts adopts it.
	Retrying ResultState = "RETRYING"
	// Lost: the endpoint stopped heartbeating with the task unfinished. The
	// reconciler says so; the endpoint's return takes it back to where it
	// was, and a late finish overwrites it.
	Lost ResultState = "LOST"
	// ResultDone: the handler finished well. Final.
	ResultDone ResultState = "DONE"
	// ResultFailed: the last attempt that policy allows failed. Final.
	ResultFailed ResultState = "FAILED"
	// TimedOut: the run limit passed. Final.
	TimedOut ResultState = "TIMED_OUT"
	// ResultCanceled: the task was canceled before its end here. Final.
	ResultCanceled ResultState = "CANCELED"
	// Expired: the task's expiry passed while it waited; it did not run. Final.
	Expired ResultState = "EXPIRED"
	// Rejected: the endpoint has no handler for it, or its payload breaks the
	// schema, which may be found when an attempt is counted already; no handler
	// ran. Final.
	Rejected ResultState = "REJECTED"
)

// resultMoves is the table of legal moves; the store guards its updates with
// it. A result begins as one of [InitialResultStates].
var resultMoves = map[ResultState][]ResultState{
	Received:       {Running, ResultCanceled, Expired, Rejected, Lost},
	Running:        {ResultDone, ResultFailed, TimedOut, ResultCanceled, Rejected, Retrying, Lost},
	Retrying:       {Running, ResultCanceled, Expired, Lost},
	Lost:           {Received, Running, Retrying, ResultDone, ResultFailed, TimedOut, ResultCanceled, Rejected},
	ResultDone:     {},
	ResultFailed:   {},
	TimedOut:       {},
	ResultCanceled: {},
	Expired:        {},
	Rejected:       {},
}

// ResultStates gives every state, in the order of a result's life.
func ResultStates() []ResultState {
	return []ResultState{
		Received, Running, Retrying, Lost, ResultDone, ResultFailed, TimedOut, ResultCanceled, Expired, Rejected,
	}
}

// InitialResultStates gives the states in which a result may be recorded:
// RUNNING where a slot is free, RECEIVED where none is, or an end without a run.
func InitialResultStates() []ResultState {
	return []ResultState{Received, Running, ResultCanceled, Expired, Rejected}
}

// Valid tells whether s is one of the states.
func (s ResultState) Valid() bool { _, ok := resultMoves[s]; return ok }

// Finished tells whether the endpoint is through with the task: no move leads
// out of s. A LOST result is not finished, its endpoint may come back.
func (s ResultState) Finished() bool { return s.Valid() && len(resultMoves[s]) == 0 }

// CanMoveTo tells whether the move from s to next is legal.
func (s ResultState) CanMoveTo(next ResultState) bool { return slices.Contains(resultMoves[s], next) }

// ResultStatesBefore gives the states from which a move to next is legal, for
// the guard of an update.
func ResultStatesBefore(next ResultState) []ResultState {
	return before(ResultStates(), resultMoves, next)
}

// UnfinishedResultStates gives the states that are not the end.
func UnfinishedResultStates() []ResultState {
	return slices.DeleteFunc(ResultStates(), ResultState.Finished)
}

func before[S comparable](all []S, moves map[S][]S, next S) []S {
	var from []S
	for _, s := range all {
		if slices.Contains(moves[s], next) {
			from = append(from, s)
		}
	}
	return from
}
