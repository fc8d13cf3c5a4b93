package manager

import (
	"time"

	"github.com/taskerhq/tasker"
)

// Config says what a manager serves and within which limits.
type Config struct {
	// Endpoints are the names it serves: one in production, several for
	// development and tests.
	Endpoints []string
	// TaskTypes are the types that each of the endpoints performs.
	TaskTypes []TaskType
	// Heartbeat is the time between two signs of life; 0 means 2 s.
	Heartbeat time.Duration
	// Lease is how long an endpoint's name stays taken after the last sign of
	// life; 0 means 8 s. It must be at least twice Heartbeat.
	Lease time.Duration
	// ShutdownTimeout is how long handlers may go on when the manager stops;
	// 0 means 30 s.
	ShutdownTimeout time.Duration
	// AbandonAfter is how long a handler may take to return once its context
	// has ended; after that its result is recorded without it. 0 means 10 s.
	AbandonAfter time.Duration
	// MaxResult bounds the payload of a result, in bytes; 0 means 1 MiB.
	MaxResult int
	// Prefetch bounds the unacknowledged messages of a queue; 0 means 64.
	Prefetch int
	// Version is the program's, shown with the endpoint.
	Version string
}

// TaskType is how a manager performs the tasks of one type.
type TaskType struct {
	Name string
	// Concurrency is the number of slots per endpoint: how many of its tasks
	// run at once; 0 means 4.
	Concurrency int
	// Timeout is the run limit of an attempt; 0 means 1 h.
	Timeout time.Duration
	Retry   tasker.RetryPolicy
}
