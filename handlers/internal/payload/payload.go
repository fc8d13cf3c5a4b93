// Package payload reads what the payloads of several handlers have in common.
package payload

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

// OrNull returns a payload, or null if it is empty.
func OrNull(payload json.RawMessage) json.RawMessage {
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	return payload
}

// MaxRunTime returns the run limit that "max_run_time" sets, in seconds.
func MaxRunTime(seconds float64) (time.Duration, error) {
	if seconds <= 0 || seconds > clock.MaxSeconds {
		return 0, fmt.Errorf(`invalid "max_run_time" %v: must be a number of seconds greater than 0`, seconds)
	}
	return clock.Seconds(seconds), nil
}
