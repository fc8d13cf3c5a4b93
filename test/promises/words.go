package promises

import (
	"slices"
	"time"
)

// The words of the public contract, repeated so that the checker does not
// depend on tasker's code.
const (
	statusScheduled  = "SCHEDULED"
	statusCreated    = "CREATED"
	statusSent       = "SENT"
	statusIncomplete = "INCOMPLETE"
	statusCanceling  = "CANCELING"
	statusDone       = "DONE"
	statusFailed     = "FAILED"
	statusCanceled   = "CANCELED"

	stateReceived   = "RECEIVED"
	stateRunning    = "RUNNING"
	stateRetrying   = "RETRYING"
	stateLost       = "LOST"
	stateDone       = "DONE"
	stateFailed     = "FAILED"
	stateTimedOut   = "TIMED_OUT"
	stateCanceled   = "CANCELED"
	stateExpired    = "EXPIRED"
	stateRejected   = "REJECTED"
	stateSuperseded = "SUPERSEDED"

	errnrTimedOut    = -1
	errnrCanceled    = -2
	errnrLost        = -3
	errnrExpired     = -4
	errnrRejected    = -5
	errnrInterrupted = -6
	errnrBadResult   = -7
	errnrRemoved     = -8
	errnrSuperseded  = -9

	ranDone    = "done"
	ranFailed  = "failed"
	ranStopped = "stopped"
)

// statusRank orders the statuses: a task never goes back.
var statusRank = map[string]int{
	statusScheduled: 0, statusCreated: 1, statusSent: 2, statusIncomplete: 3, statusCanceling: 4,
	statusDone: 5, statusFailed: 5, statusCanceled: 5,
}

var unfinishedStates = []string{stateReceived, stateRunning, stateRetrying, stateLost}

var finalStates = []string{stateDone, stateFailed, stateTimedOut, stateCanceled, stateExpired, stateRejected, stateSuperseded}

func finished(state string) bool { return slices.Contains(finalStates, state) }

func finalStatus(status string) bool { return statusRank[status] == 5 }

// clock formats a time as in the journals.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
