package tasker

import (
	"slices"
)

// Outcome is what the aggregation needs to know of one result.
type Outcome struct {
	Endpoint string
	State    ResultState
}

// Summary counts a task's endpoints. Every expected endpoint is either in
// Missing or among the Received, so Expected == Received + len(Missing).
type Summary struct {
	// Expected counts the endpoints that must finish the task: those the task
	// expects, and any other that recorded a result for it.
	Expected int `json:"expected"`
	Received int `json:"received"` // those with a result row
	Finished int `json:"finished"` // those that are through, well or not
	Failed   int `json:"failed"`   // those that are through, and not well
	// Lost counts those that stopped heartbeating with the task unfinished.
	Lost    int      `json:"lost"`
	Missing []string `json:"missing"` // expected and without a row, sorted; never nil
	// Removed counts the endpoints that were removed before they finished the
	// task. They are in none of the other numbers.
	Removed int `json:"-"`
}

// Summarize counts the outcomes of the task. Those of removed endpoints do not
// count.
func (t *Task) Summarize(outcomes []Outcome) Summary {
	kept := outcomes
	if len(t.RemovedEndpoints) > 0 {
		kept = slices.DeleteFunc(slices.Clone(outcomes), func(o Outcome) bool { return t.Removed(o.Endpoint) })
	}
	s := Summarize(t.Expected, kept)
	s.Removed = len(t.RemovedEndpoints)
	return s
}

// Summarize counts the outcomes of a task against the endpoints it expects.
// Order and duplicates of expected do not matter.
func Summarize(expected []string, outcomes []Outcome) Summary {
	s := Summary{Missing: []string{}}
	recorded := make(map[string]bool, len(outcomes))
	for _, o := range outcomes {
		if recorded[o.Endpoint] {
			continue // one row per endpoint: the store guarantees it
		}
		recorded[o.Endpoint] = true
		s.Received++
		switch {
		case o.State == Lost:
			s.Lost++
		case o.State.Finished():
			s.Finished++
			if o.State != ResultDone {
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

// NextStatus computes the status that a task with a summary must have, from
// the one it has. overdue tells whether the time in which every endpoint
// should have received the task has passed. The answer is current itself or
// one legal move from it:
//
//   - every expected endpoint finished, and there is at least one: DONE, or
//     FAILED where one did not end well;
//   - none is expected, since all of them were removed: CANCELED;
//   - an endpoint is lost, or one is missing (or none is expected at all) and
//     the task is overdue: INCOMPLETE;
//   - otherwise it stays as it is.
//
// Tasks that are not sent yet, and those in a final status, stay as they are.
func NextStatus(current TaskStatus, s Summary, overdue bool) TaskStatus {
	if current != Sent && current != Incomplete {
		return current
	}
	switch {
	case s.Expected > 0 && s.Finished == s.Expected:
		if s.Failed > 0 {
			return Failed
		}
		return Done
	case s.Expected == 0 && s.Removed > 0:
		return Canceled
	case s.Lost > 0:
		return Incomplete
	case overdue && (len(s.Missing) > 0 || s.Expected == 0):
		return Incomplete
	}
	return current
}
