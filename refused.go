package tasker

import "time"

// RefusedTask is a task that the broker refused.
type RefusedTask struct {
	ID               int64
	Type, Identifier string
	Attempts         int
	Reason           string
	NextTime         time.Time // of the next attempt
}
