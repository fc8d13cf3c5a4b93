package reconcile

import "time"

// Config says when the reconciler acts.
type Config struct {
	// WaitForEndpoints is the time in which every expected endpoint should
	// have received a task; after it the task is INCOMPLETE. 0 means 60 s.
	WaitForEndpoints time.Duration
	// LostAfter is how long an endpoint may go without a heartbeat before its
	// unfinished results are LOST; 0 means 60 s.
	LostAfter time.Duration
	// Retention is how long tasks of each configured type are kept after they
	// ended, 0 for ever. Types that are not in it have [tasker.DefaultRetention].
	Retention map[string]time.Duration
	// IncompleteRetention is how long a task stays INCOMPLETE without any change
	// of it or its results before it is deleted, at least as long as its
	// Retention; 0 for ever.
	IncompleteRetention time.Duration
	// DeadLetterRetention is how long dead letters are kept; 0 for ever.
	DeadLetterRetention time.Duration
}
