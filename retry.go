package tasker

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// RetryPolicy is how often a failed run is repeated, and after what delays. The
// zero value never retries.
type RetryPolicy struct {
	// Delays are the delays before the second attempt, the third, and so on: a
	// task has at most len(Delays)+1 attempts.
	Delays []time.Duration
	// Jitter shortens each delay to a random part of it, so that endpoints that
	// failed together do not try again together.
	Jitter bool
}

// retryJSON is the JSON form of a policy: the delays are in seconds.
type retryJSON struct {
	Intervals []float64 `json:"intervals"`
	Jitter    bool      `json:"jitter,omitempty"`
}

// MarshalJSON encodes the policy as in the HTTP contract.
func (p RetryPolicy) MarshalJSON() ([]byte, error) {
	view := retryJSON{Intervals: make([]float64, len(p.Delays)), Jitter: p.Jitter}
	for i, delay := range p.Delays {
		view.Intervals[i] = delay.Seconds()
	}
	return json.Marshal(view)
}

// UnmarshalJSON decodes a policy of the HTTP contract.
func (p *RetryPolicy) UnmarshalJSON(data []byte) error {
	var view retryJSON
	if err := json.Unmarshal(data, &view); err != nil {
		return err
	}
	*p = RetryPolicy{Jitter: view.Jitter}
	for _, seconds := range view.Intervals {
		p.Delays = append(p.Delays, time.Duration(math.Round(seconds*1e6))*time.Microsecond)
	}
	return nil
}

// String returns the same text for policies that mean the same.
func (p RetryPolicy) String() string { return fmt.Sprint(p.Delays, " jitter ", p.Jitter) }

// MaxAttempts returns the number of runs that the policy allows, at least 1.
func (p RetryPolicy) MaxAttempts() int { return len(p.Delays) + 1 }

// Next reports whether another run may follow after attempt runs have begun,
// and after what delay. random returns numbers in [0, 1), as [math/rand/v2.Float64]
// does; it is called only if the policy has jitter.
func (p RetryPolicy) Next(attempt int, random func() float64) (delay time.Duration, ok bool) {
	if attempt < 1 || attempt > len(p.Delays) {
		return 0, false
	}
	delay = p.Delays[attempt-1]
	if p.Jitter {
		delay = time.Duration(random() * float64(delay))
	}
	return delay, true
}
