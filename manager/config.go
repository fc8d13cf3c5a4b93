package manager

import (
	"encoding/json"
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
	// SpoolDir keeps the results that the database cannot take for now, until
	// it can, over restarts of the manager. It must be on a disk of this
	// machine, and may be that of other managers, of other endpoints. Empty
	// means that such results are in memory only.
	SpoolDir string
	// CatchUp is the time after which the manager looks again for tasks whose
	// message was lost; 0 means 60 s. It also looks each time that it has
	// subscribed.
	CatchUp time.Duration
	// Prefetch bounds the unacknowledged messages of a queue; 0 means 64.
	Prefetch int
	// Version is the program's, shown with the endpoint.
	Version string
	// Labels are what the endpoints are called besides their names, such as
	// role: web. They are shown with the endpoints, and task types may ask for
	// some.
	Labels map[string]string
	// BootID names the boot of the machine, by which a manager knows whether
	// the machine has rebooted; empty means what the system says.
	BootID string
}

// Schema is what payloads must fulfil.
type Schema interface {
	// Validate gives nil, or an error that tells people what is wrong with a
	// payload and where.
	Validate(payload json.RawMessage) error
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
	// Schema is what payloads must fulfil; nil for any. A result whose payload
	// does not is REJECTED, and its handler is not called.
	Schema Schema
	// Labels are those that a manager must have to perform the type; one that
	// lacks some leaves the type out.
	Labels map[string]string
}
