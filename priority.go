package tasker

import "time"

// MaxPriority is the highest priority of a task, which comes first. The lowest, and
// the default, is 0.
const MaxPriority = 9

// PriorityAge is the time in which a task that waits at an endpoint rises as high as by
// one step of priority. So a task of priority 9 overtakes those of priority 0 that came
// up to 90 minutes earlier, and none that came before them: nothing waits for ever.
const PriorityAge = 10 * time.Minute

// ValidatePriority returns an error unless p is a priority.
func ValidatePriority(p int) error {
	if p < 0 || p > MaxPriority {
		return Errorf(Invalid, "invalid priority %d: must be 0-%d, and %[2]d comes first", p, MaxPriority)
	}
	return nil
}
