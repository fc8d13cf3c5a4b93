package tasker

import "slices"

// TaskStatus is the status of a task, computed from its results.
type TaskStatus string

// The task statuses. docs/state-machine.md draws their moves.
const (
	// Scheduled: stored, to start at a later time. The reconciler of any API process
	// moves it to CREATED when it is due, or to FAILED if it cannot start as asked;
	// a crash changes nothing.
	Scheduled TaskStatus = "SCHEDULED"
	// Created: stored, but not known to be confirmed by the broker. The API
	// process that accepted or started it moves it to SENT at once, or the relay
	// does so later, after a crash or an outage.
	Created TaskStatus = "CREATED"
	// Sent: the broker has confirmed it for every queue. The aggregation moves
	// it when its results end, or when the time to receive it has passed.
	Sent TaskStatus = "SENT"
	// Incomplete: an expected endpoint did not receive the task in time, nobody took
	// a place of it, or an endpoint was lost. Not final: when the late ones finish, the aggregation moves it to
	// DONE or FAILED.
	Incomplete TaskStatus = "INCOMPLETE"
	// Canceling: somebody canceled it, and some endpoints have not stopped yet.
	// The aggregation moves it when the last one has stopped, or has finished
	// after all; one that is away stops when it is back, or is removed.
	Canceling TaskStatus = "CANCELING"
	// Done: every expected endpoint finished without an error. Final, as the next two
	// are: only a retry opens the task again.
	Done TaskStatus = "DONE"
	// Failed: every expected endpoint finished, some with an error; or the task
	// could not start as asked, or expired, and no endpoint has it. Final.
	Failed TaskStatus = "FAILED"
	// Canceled: somebody canceled it, as a whole or for some endpoints, or a newer task
	// of its topic superseded it at some, and no endpoint runs it any more; or all its
	// endpoints were removed. Final.
	Canceled TaskStatus = "CANCELED"
)

// taskMoves is the table of legal moves within a round; the store guards its updates
// with it. A retry begins another round: see [TaskStatus.CanRetry].
var taskMoves = map[TaskStatus][]TaskStatus{
	Scheduled:  {Created, Failed, Canceling, Canceled},
	Created:    {Sent, Failed, Canceling, Canceled},
	Sent:       {Done, Failed, Incomplete, Canceling, Canceled},
	Incomplete: {Done, Failed, Canceling, Canceled},
	Canceling:  {Done, Failed, Canceled},
	Done:       {},
	Failed:     {},
	Canceled:   {},
}

// TaskStatuses returns all statuses, in the order of a task's life.
func TaskStatuses() []TaskStatus {
	return []TaskStatus{Scheduled, Created, Sent, Incomplete, Canceling, Done, Failed, Canceled}
}

// Valid reports whether s is one of the statuses.
func (s TaskStatus) Valid() bool { _, ok := taskMoves[s]; return ok }

// Final reports whether a task in s has ended: nothing but a retry moves it.
func (s TaskStatus) Final() bool { return s == Done || s == Failed || s == Canceled }

// CanRetry reports whether a task in s can be retried. That makes it SENT again.
func (s TaskStatus) CanRetry() bool { return s.Final() || s == Sent || s == Incomplete }

// RetriableTaskStatuses returns the statuses in which a task can be retried, for the
// guard of an update.
func RetriableTaskStatuses() []TaskStatus {
	return slices.DeleteFunc(TaskStatuses(), func(s TaskStatus) bool { return !s.CanRetry() })
}

// CanMoveTo reports whether the move from s to next is legal within a round.
func (s TaskStatus) CanMoveTo(next TaskStatus) bool { return slices.Contains(taskMoves[s], next) }

// TaskStatusesBefore returns the statuses from which a move to next is legal within a
// round, for the guard of an update.
func TaskStatusesBefore(next TaskStatus) []TaskStatus {
	return before(TaskStatuses(), taskMoves, next)
}

// ResultState is the state of one endpoint's result for one task.
type ResultState string

// The result states. docs/state-machine.md draws their moves.
const (
	// Received: recorded, waiting for a free slot. The manager moves it; a
	// manager that starts adopts it.
	Received ResultState = "RECEIVED"
	// Running: an attempt is counted and its handler runs, or has a slot in no
	// time: otherwise the manager moves it back to RECEIVED, and the attempt is not
	// counted. The manager moves it; a manager that starts finds it interrupted,
	// which counts as a failed attempt.
	Running ResultState = "RUNNING"
	// Retrying: an attempt failed and the next one is due at RetryTime. The
	// manager moves it; a manager that starts adopts it.
	Retrying ResultState = "RETRYING"
	// Lost: the endpoint stopped heartbeating before it finished the task. The
	// reconciler moves results here. When the endpoint returns, the result
	// moves back; a late end overwrites it.
	Lost ResultState = "LOST"
	// ResultDone: the handler finished without an error. Final, as those that follow
	// are: only a retry of the task makes the result RECEIVED again.
	ResultDone ResultState = "DONE"
	// ResultFailed: the last attempt that the policy allows failed. Final.
	ResultFailed ResultState = "FAILED"
	// TimedOut: the time limit of the run passed. Final.
	TimedOut ResultState = "TIMED_OUT"
	// ResultCanceled: the task was canceled before its end at this endpoint.
	// Final.
	ResultCanceled ResultState = "CANCELED"
	// Expired: the task expired while it waited, or its signature had expired when its
	// handler was to be called; it did not run, or not once more. Final.
	Expired ResultState = "EXPIRED"
	// Rejected: the endpoint has no handler for it, its payload violates the schema, or
	// its signature does not permit it, which may be found after an attempt was counted;
	// that called no handler. Final.
	Rejected ResultState = "REJECTED"
	// Superseded: a newer task of its topic replaced the task while it waited; it did
	// not run, or not once more. Final.
	Superseded ResultState = "SUPERSEDED"
)

// resultMoves is the table of legal moves within a round of the task; the store
// guards its updates with it. A result begins as one of [InitialResultStates].
var resultMoves = map[ResultState][]ResultState{
	Received:       {Running, ResultCanceled, Expired, Rejected, Superseded, Lost},
	Running:        {Received, ResultDone, ResultFailed, TimedOut, ResultCanceled, Expired, Rejected, Superseded, Retrying, Lost},
	Retrying:       {Running, ResultCanceled, Expired, Superseded, Lost},
	Lost:           {Received, Running, Retrying, ResultDone, ResultFailed, TimedOut, ResultCanceled, Expired, Rejected, Superseded},
	ResultDone:     {},
	ResultFailed:   {},
	TimedOut:       {},
	ResultCanceled: {},
	Expired:        {},
	Rejected:       {},
	Superseded:     {},
}

// ResultStates returns all states, in the order of a result's life.
func ResultStates() []ResultState {
	return []ResultState{
		Received, Running, Retrying, Lost, ResultDone, ResultFailed, TimedOut, ResultCanceled, Expired, Rejected, Superseded,
	}
}

// InitialResultStates returns the states in which a result may be recorded:
// RUNNING if a slot is free or is about to be, RECEIVED otherwise, or a final one
// without a run.
func InitialResultStates() []ResultState {
	return []ResultState{Received, Running, ResultCanceled, Expired, Rejected, Superseded}
}

// Valid reports whether s is one of the states.
func (s ResultState) Valid() bool { _, ok := resultMoves[s]; return ok }

// Finished reports whether the endpoint has finished the task: nothing but a retry
// of the task moves the result. A LOST result is not finished, since its endpoint may
// return.
func (s ResultState) Finished() bool {
	switch s {
	case ResultDone, ResultFailed, TimedOut, ResultCanceled, Expired, Rejected, Superseded:
		return true
	case Received, Running, Retrying, Lost:
	}
	return false
}

// CanRetry reports whether a result in s can be run again by a retry of its task. That
// makes it RECEIVED; one that is LOST stays so until its endpoint returns.
func (s ResultState) CanRetry() bool { return s.Finished() || s == Lost }

// CanMoveTo reports whether the move from s to next is legal within a round of the
// task.
func (s ResultState) CanMoveTo(next ResultState) bool { return slices.Contains(resultMoves[s], next) }

// ResultStatesBefore returns the states from which a move to next is legal within a
// round of the task, for the guard of an update.
func ResultStatesBefore(next ResultState) []ResultState {
	return before(ResultStates(), resultMoves, next)
}

// UnfinishedResultStates returns the states that are not final.
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
