package tasker

import "time"

// RetryPolicy says how often a failed run is repeated, and after what pauses.
// The zero policy never retries.
type RetryPolicy struct {
	// Delays are the pauses before the second attempt, the third, and so on:
	// a task has at most len(Delays)+1 attempts.
	Delays []time.Duration
}

// MaxAttempts is the number of runs that the policy allows, at least 1.
func (p RetryPolicy) MaxAttempts() int { return len(p.Delays) + 1 }

// Next tells whether another run may follow after attempt runs have begun,
// and after what pause.
func (p RetryPolicy) Next(attempt int) (delay time.Duration, ok bool) {
	if attempt < 1 || attempt > len(p.Delays) {
		return 0, false
	}
	return p.Delays[attempt-1], true
}
