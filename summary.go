package tasker

import (
	"slices"
)

// Outcome is the part of a result that decides the status of its task.
type Outcome struct {
	Endpoint string
	State    ResultState
}

// Summary counts a task's endpoints. Every expected endpoint is in Missing, or counted in
// Received, in Unopened or in Untaken, so
// Expected == Received + len(Missing) + Unopened + Untaken.
type Summary struct {
	// Expected counts the endpoints that must finish the task: those the task
	// expects, and any other that recorded a result for it.
	Expected int `json:"expected"`
	Received int `json:"received"` // those with a result
	Finished int `json:"finished"` // those in a final state
	Failed   int `json:"failed"`   // those in a final state other than DONE, CANCELED and SUPERSEDED
	Canceled int `json:"canceled"` // those that were canceled, or superseded
	// Held counts those that wait with the task and do not start it because of a pause
	// or a drain.
	Held int `json:"held"`
	// Unopened counts those that wait for their wave of a rollout to open.
	Unopened int `json:"unopened,omitempty"`
	// Untaken counts the places of a task with [Task].Deliver that no endpoint has taken.
	Untaken int `json:"untaken,omitempty"`
	// Lost counts those that stopped heartbeating before they finished the
	// task.
	Lost    int      `json:"lost"`
	Missing []string `json:"missing"` // expected, without a result; sorted, never nil
	// Removed counts the endpoints removed before they finished the task. They
	// are in none of the other numbers.
	Removed int `json:"-"`
	// Closed counts the places that nobody can take any more: the task was canceled or
	// superseded before, or the endpoint that had one was removed. They are in none of the other
	// numbers either, and keep the task from being DONE.
	Closed int `json:"-"`
}

// Summarize counts the outcomes of the task, without those of removed
// endpoints.
func (t *Task) Summarize(outcomes []Outcome) Summary {
	kept := outcomes
	if len(t.RemovedEndpoints) > 0 {
		kept = slices.DeleteFunc(slices.Clone(outcomes), func(o Outcome) bool { return t.Removed(o.Endpoint) })
	}
	s := Summarize(t.Expected, kept)
	s.Removed = len(t.RemovedEndpoints)
	s.Unopened, s.Untaken = t.Unopened, t.Untaken
	s.Expected += t.Unopened + t.Untaken
	s.Closed = t.Closed
	return s
}

// Summarize counts the outcomes of a task against the endpoints it expects. The
// order of expected and duplicates in it do not matter.
func Summarize(expected []string, outcomes []Outcome) Summary {
	s := Summary{Missing: []string{}}
	recorded := make(map[string]bool, len(outcomes))
	for _, o := range outcomes {
		if recorded[o.Endpoint] {
			continue // cannot happen: the store has one row per endpoint
		}
		recorded[o.Endpoint] = true
		s.Received++
		switch {
		case o.State == Lost:
			s.Lost++
		case o.State.Finished():
			s.Finished++
			switch o.State {
			case ResultDone:
			case ResultCanceled, Superseded:
				s.Canceled++
			default:
				s.Failed++
			}
		}
	}
	for _, endpoint := range expected {
		if !recorded[endpoint] {
			s.Missing = append(s.Missing, endpoint)
		}
	}
	slices.Sort(s.Missing)
	s.Missing = slices.Compact(s.Missing)
	s.Expected = s.Received + len(s.Missing)
	return s
}

// NextStatus returns the status that a task must have, from its current one and
// its summary. overdue is true if the time in which every endpoint should have
// received the task has passed. The result is current itself or one legal move
// from it:
//
//   - DONE if every expected endpoint has finished, and there is at least one;
//     FAILED if one ended with an error; CANCELED if one was canceled or superseded, or
//     a place was closed, and, unless the task was canceled as a whole, none ended with
//     an error;
//   - CANCELED if no endpoint is expected because all were removed, all places are
//     closed, or the task was canceled as a whole;
//   - INCOMPLETE if an endpoint is lost, or the task is overdue and one is
//     missing, or a place is not taken (or none is expected at all);
//   - otherwise current.
//
// Tasks not sent yet, and those in a final status, keep it. The names of the
// missing endpoints are not needed.
func NextStatus(current TaskStatus, s Summary, overdue bool) TaskStatus {
	if current != Sent && current != Incomplete && current != Canceling {
		return current
	}
	switch {
	case s.Expected > 0 && s.Finished == s.Expected:
		return endOf(current, s)
	case s.Expected == 0 && (s.Removed > 0 || s.Closed > 0 || current == Canceling):
		return Canceled
	case current == Canceling:
		return current
	case s.Lost > 0:
		return Incomplete
	case overdue && (s.Expected > s.Received+s.Unopened || s.Expected == 0):
		return Incomplete
	}
	return current
}

// endOf returns the final status of a task that all endpoints have finished.
func endOf(current TaskStatus, s Summary) TaskStatus {
	switch {
	case s.Canceled+s.Closed > 0 && (current == Canceling || s.Failed == 0):
		return Canceled
	case s.Failed > 0:
		return Failed
	}
	return Done
}
