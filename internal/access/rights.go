package access

import (
	"slices"
	"strings"
)

// Right is what somebody may be allowed to do.
type Right string

// The rights. [Drain] and [Admin] are not about task types.
const (
	View     Right = "view"     // see the tasks of a type, with payloads, results and logs
	Run      Right = "run"      // create tasks of a type, and change when they start
	Cancel   Right = "cancel"   // cancel tasks
	Retry    Right = "retry"    // retry tasks
	Pause    Right = "pause"    // pause and resume tasks, and types
	Approve  Right = "approve"  // approve, resume and promote rollouts
	Schedule Right = "schedule" // create, change, pause, trigger and delete schedules, which run tasks
	Drain    Right = "drain"    // drain and resume endpoints
	Admin    Right = "admin"    // remove endpoints, make their tokens, requeue and discard dead letters
)

// Rights returns all rights.
func Rights() []Right {
	return []Right{View, Run, Cancel, Retry, Pause, Approve, Schedule, Drain, Admin}
}

// ofType reports whether a right is about task types.
func (r Right) ofType() bool { return r != Drain && r != Admin }

// ofEndpoints reports whether the endpoints of a rule limit a right. Who may view a task
// may view all of it.
func (r Right) ofEndpoints() bool { return r != View && r != Admin }

// builtIn returns the rights of the roles that every access file has. The word admin
// is also that of a right, which nobody needs alone: wherever it stands it means everything.
func builtIn() map[string][]Right {
	return map[string][]Right{
		"viewer":      {View},
		"operator":    {View, Run, Cancel, Retry, Pause, Schedule},
		"approver":    {View, Approve},
		string(Admin): Rights(),
	}
}

// rightSet is a set of rights.
type rightSet map[Right]bool

// list returns the rights in the order of [Rights].
func (s rightSet) list() []Right {
	return slices.DeleteFunc(Rights(), func(r Right) bool { return !s[r] })
}

// words returns rights as texts.
func words(rights []Right) []string {
	list := make([]string, len(rights))
	for i, r := range rights {
		list[i] = string(r)
	}
	return list
}

// joined returns rights as one text.
func joined(rights []Right) string { return strings.Join(words(rights), ", ") }
