package tasker

import "time"

// RetryPolicy is how often a failed run is repeated, and after what delays. The
// zero value never retries.
type RetryPolicy struct {
	// Delays are the delays before the second attempt, the third, and so on: a
	// task has at most len(Delays)+1 attempts.
	Delays []time.Duration
}

// MaxAttempts returns the number of runs that the policy allows, at least 1.
func (p RetryPolicy) MaxAttempts() int { return len(p.Delays) + 1 }

// Next reports whether another run may follow after attempt runs have begun,
// and after what delay.
func (p RetryPolicy) Next(attempt int) (delay time.Duration, ok bool) {
	if attempt < 1 || attempt > len(p.Delays) {
		return 0, false
	}
	return p.Delays[attempt-1], true
}
