package reconcile

import (
	"time"

	"github.com/taskerhq/tasker/internal/observe"
)

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	const day = 24 * time.Hour
	return Config{
		WaitForEndpoints: time.Minute, LostAfter: time.Minute,
		IncompleteRetention: 90 * day, DeadLetterRetention: 90 * day,
	}
}

// Config is the configuration of the reconciler.
type Config struct {
	// WaitForEndpoints is the time in which every expected endpoint should have
	// received a task; after it, the task is INCOMPLETE.
	WaitForEndpoints time.Duration
	// LostAfter is how long an endpoint may go without a heartbeat before its
	// unfinished results are LOST.
	LostAfter time.Duration
	// Retention is how long tasks of each configured type are kept after they
	// ended, 0 for ever. Types not in it have [tasker.DefaultRetention].
	Retention map[string]time.Duration
	// Attempts is how many attempts the retry policy of each configured type allows.
	// Types not in it have none but the first.
	Attempts map[string]int
	// IncompleteRetention is how long a task stays INCOMPLETE, without any
	// change of it or its results, before it is deleted; at least its
	// Retention. 0 means for ever.
	IncompleteRetention time.Duration
	// DeadLetterRetention is how long dead letters are kept; 0 means for ever.
	DeadLetterRetention time.Duration
	// TaskTypes are the types whose tasks are counted for the metrics.
	TaskTypes []string
	// Metrics tells of the loops and of what the database has.
	Metrics observe.ReconcileMetrics
}
