package gateway

import (
	"context"
	"encoding/json"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Authenticator knows the endpoints by their tokens. It is asked with every
// request, so it must remember what it found.
type Authenticator interface {
	// Endpoint returns the endpoint that a token belongs to. The error is
	// [tasker.Unauthorized] if there is none, and [tasker.Unavailable] if that
	// cannot be known now.
	Endpoint(ctx context.Context, token string) (name string, err error)
}

// Notifier publishes transient events.
type Notifier interface {
	Notify(ctx context.Context, key string, body []byte) error
}

// Stores is the part of the database that the gateway uses, by aggregate;
// internal/store implements all of it.
type Stores struct {
	Endpoints Endpoints
	Results   Results
	Attempts  Attempts
	Work      Work
	Live      Live
	Database  Database
}

// Endpoints registers endpoints and holds their leases.
type Endpoints interface {
	AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (holder *tasker.Endpoint, err error)
	// RenewLeases renews the leases of endpoints of different managers.
	RenewLeases(ctx context.Context, renewals []ledger.Renewal) (held []bool, err error)
	ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error
	ForgetEndpoints(ctx context.Context, manager string, endpoints []string) (kept []string, err error)
	ReturnFromLost(ctx context.Context, endpoints []string) (returned int, err error)
	// CommandMark returns a value that changes whenever a task is canceled or retried.
	CommandMark(ctx context.Context) (string, error)
	// CommandsAt returns what the endpoints are to look for.
	CommandsAt(ctx context.Context, endpoints []string) ([]ledger.Commands, error)
	// HoldsAt returns what keeps attempts from starting at the endpoints.
	HoldsAt(ctx context.Context, endpoints []string) ([]ledger.Hold, error)
	// CountSeen returns how many endpoints were seen since a time.
	CountSeen(ctx context.Context, since time.Time) (n int, err error)
}

// Results records tasks at endpoints.
type Results interface {
	ReceiveResults(ctx context.Context, incoming []ledger.Incoming) ([]ledger.Recording, error)
	UnreceivedTasks(
		ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int,
	) (tasks []tasker.Task, next ledger.SentPosition, err error)
	// TakeTasks takes a place in up to limit tasks of a type for an endpoint.
	TakeTasks(ctx context.Context, manager, endpoint, taskType string, limit int) ([]tasker.Task, error)
	// ResultPayload returns the payload of a task that an endpoint has a result of.
	ResultPayload(ctx context.Context, key tasker.ResultKey) (json.RawMessage, error)
}

// Attempts stores the begin, the end and the reboots of attempts.
type Attempts interface {
	StartAttempts(ctx context.Context, starts []ledger.Start) (started []bool, err error)
	ReturnAttempts(ctx context.Context, starts []ledger.Start) (returned []bool, err error)
	FinishAttempts(ctx context.Context, ends []ledger.End) (stored []bool, err error)
	Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error)
	AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (stored bool, err error)
	ResumeAttempts(ctx context.Context, starts []ledger.Start) (resumed []bool, err error)
}

// Work finds unfinished results.
type Work interface {
	UnfinishedWork(ctx context.Context, manager, endpoint string) (ledger.Unfinished, error)
	InterruptedWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error)
	CanceledWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error)
	WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error)
	DueWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error)
	NextRetry(ctx context.Context, endpoint, taskType string) (next time.Time, ok bool, err error)
}

// Live stores what running attempts report.
type Live interface {
	SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error
	// ResultNews returns the states of the existing results among keys.
	ResultNews(ctx context.Context, keys []tasker.ResultKey) ([]tasker.ResultNews, error)
}

// Database is the database server itself.
type Database interface {
	Now() time.Time
	Answered(err error) bool
	Ping(ctx context.Context) error
}
