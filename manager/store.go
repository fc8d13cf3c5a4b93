package manager

import (
	"context"
	"encoding/json"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Store is the part of the database that a manager uses, by aggregate;
// internal/store implements all of it.
type Store struct {
	Endpoints Endpoints
	Results   Results
	Attempts  Attempts
	Work      Work
	Live      Live
	Database  Database
	Places    Places // nil if the manager takes no places
	Pacer     Pacer  // nil if heartbeats and leases are as configured
	Fleet     Fleet  // nil if the Pacer follows the size of the fleet
	// Gateway says that the parts reach the database over a gateway. The log then
	// names that in place of the database.
	Gateway bool
}

// Endpoints registers endpoints and holds their leases.
type Endpoints interface {
	// AcquireEndpoint registers e and takes its lease. It returns the holder if
	// another manager has the lease.
	AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (holder *tasker.Endpoint, err error)
	Heartbeat(ctx context.Context, manager string, endpoints []string, lease time.Duration) (held bool, err error)
	ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error
	// ForgetEndpoints removes the endpoints, except those with an unfinished
	// attempt, which it returns.
	ForgetEndpoints(ctx context.Context, manager string, endpoints []string) (kept []string, err error)
	ReturnFromLost(ctx context.Context, endpoints []string) (returned int, err error)
	// CommandMark returns a value that changes whenever a task may have been canceled or
	// retried.
	CommandMark(ctx context.Context) (string, error)
	// HoldsAt returns what keeps attempts from starting at the endpoints.
	HoldsAt(ctx context.Context, endpoints []string) ([]ledger.Hold, error)
}

// Results records tasks at endpoints.
type Results interface {
	ReceiveResults(ctx context.Context, incoming []ledger.Incoming) ([]ledger.Recording, error)
	// UnreceivedTasks returns a page of the open tasks that expect the endpoint
	// and have no result of it.
	UnreceivedTasks(
		ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int,
	) (tasks []tasker.Task, next ledger.SentPosition, err error)
	// TaskPayload returns the payload of a task. The other methods leave out a
	// large one.
	TaskPayload(ctx context.Context, taskID int64) (json.RawMessage, error)
}

// Places takes places in tasks that are for so many endpoints of their own choice.
type Places interface {
	// TakeTasks takes a place in up to limit tasks of a type for an endpoint. The manager
	// must record them; until it has, the next call returns them again. Fewer than limit
	// means that there are no more.
	TakeTasks(ctx context.Context, manager, endpoint, taskType string, limit int) ([]tasker.Task, error)
}

// Attempts stores the begin, the end and the reboots of attempts.
type Attempts interface {
	StartAttempts(ctx context.Context, starts []ledger.Start) (started []bool, err error)
	// ReturnAttempts undoes the start of attempts that were counted when their
	// results were recorded, and have not begun: Attempt is the number of such an
	// attempt. The error is [tasker.NotFound] if the store cannot do that.
	ReturnAttempts(ctx context.Context, starts []ledger.Start) (returned []bool, err error)
	FinishAttempts(ctx context.Context, ends []ledger.End) (stored []bool, err error)
	Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error)
	AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (stored bool, err error)
	ResumeAttempts(ctx context.Context, starts []ledger.Start) (resumed []bool, err error)
}

// Work finds unfinished results.
type Work interface {
	// UnfinishedWork returns which kinds of unfinished results an endpoint has:
	// what the other methods need to be asked for.
	UnfinishedWork(ctx context.Context, manager, endpoint string) (ledger.Unfinished, error)
	InterruptedWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error)
	// CanceledWork returns results that run under the manager and were told to stop.
	CanceledWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error)
	WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error)
	DueWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error)
	NextRetry(ctx context.Context, endpoint, taskType string) (next time.Time, ok bool, err error)
}

// Live stores what running attempts report.
type Live interface {
	SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error
}

// Pacer says how often a large fleet is to heartbeat.
type Pacer interface {
	// Pace returns the time between two heartbeats, and the length of the leases
	// that were granted last; ok is false before the first one.
	Pace() (heartbeat, lease time.Duration, ok bool)
}

// Fleet counts the endpoints of the fleet.
type Fleet interface {
	// CountSeen returns how many endpoints were seen since a time.
	CountSeen(ctx context.Context, since time.Time) (n int, err error)
}

// Database is the database server itself.
type Database interface {
	// Now returns the time by the database's clock.
	Now() time.Time
	// Answered reports whether err is the server's answer to a statement, and
	// not the loss of the connection.
	Answered(err error) bool
}
