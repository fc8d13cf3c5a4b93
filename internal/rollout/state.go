package rollout

import "slices"

// State is the state of a rollout. The task has a status of its own.
type State string

// The states of a rollout.
const (
	// Running: a wave or a window is open, or the next is about to be opened.
	Running State = "RUNNING"
	// Soaking: a wave has ended, and the next one opens at Until. What becomes
	// bad meanwhile counts.
	Soaking State = "SOAKING"
	// WaitingApproval: the next wave opens when a person has approved it.
	WaitingApproval State = "WAITING_APPROVAL"
	// Halted: too many endpoints are bad. A person resumes or cancels it.
	Halted State = "HALTED"
	// Paused: a person paused it, and one resumes or cancels it.
	Paused State = "PAUSED"
	// Done: every endpoint is settled. Final.
	Done State = "DONE"
	// Canceled: a person canceled it. Final.
	Canceled State = "CANCELED"
)

// moves is the table of legal moves; the store guards its updates with it.
var moves = map[State][]State{
	Running:         {Soaking, WaitingApproval, Halted, Paused, Done, Canceled},
	Soaking:         {Running, WaitingApproval, Halted, Paused, Done, Canceled},
	WaitingApproval: {Running, Halted, Paused, Done, Canceled},
	Halted:          {Running, Done, Canceled},
	Paused:          {Running, Halted, Done, Canceled},
	Done:            {},
	Canceled:        {},
}

// States returns all states, in the order of a rollout's life.
func States() []State {
	return []State{Running, Soaking, WaitingApproval, Halted, Paused, Done, Canceled}
}

// Valid reports whether s is one of the states.
func (s State) Valid() bool { _, ok := moves[s]; return ok }

// Final reports whether no move leads out of s.
func (s State) Final() bool { return s.Valid() && len(moves[s]) == 0 }

// CanMoveTo reports whether the move from s to next is legal.
func (s State) CanMoveTo(next State) bool { return slices.Contains(moves[s], next) }

// MayStart reports whether an endpoint of an open wave, or of one that was open,
// may begin with the task: the guard of the move from RECEIVED to RUNNING. An
// endpoint that has begun finishes in every state, with its automatic retries.
// A retry by a person may begin in a rollout that is DONE.
func (s State) MayStart() bool {
	switch s {
	case Running, Soaking, WaitingApproval, Done:
		return true
	}
	return false
}
