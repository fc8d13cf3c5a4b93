// Package storetest has a store for tests that replace single methods of it, and makes the
// tables of a test quickly.
package storetest

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
)

// Flat is a store with the methods of all its parts. A fake embeds it and
// overrides what it changes.
type Flat struct {
	*store.Store
	*store.DB
	tasks
	schedule
	expiry
	outbox
	inbox
	attempts
	results
	statuses
	live
	endpoints
	removals
	cancels
	holds
	rounds
	rollouts
	deadLetters
	retention
	leases
	inspection
	schema
}

type (
	tasks       = store.Tasks
	schedule    = store.Schedule
	expiry      = store.Expiry
	outbox      = store.Outbox
	inbox       = store.Inbox
	attempts    = store.Attempts
	results     = store.Results
	statuses    = store.Statuses
	live        = store.Live
	endpoints   = store.Endpoints
	removals    = store.Removals
	cancels     = store.Cancels
	holds       = store.Holds
	rounds      = store.Rounds
	rollouts    = store.Rollouts
	deadLetters = store.DeadLetters
	retention   = store.Retention
	leases      = store.Leases
	inspection  = store.Inspection
	schema      = store.Schema
)

// Flatten returns s with the methods of its parts.
func Flatten(s *store.Store) *Flat {
	return &Flat{
		s, s.DB, s.Tasks, s.Schedule, s.Expiry, s.Outbox, s.Inbox, s.Attempts, s.Results, s.Statuses, s.Live, s.Endpoints, s.Removals,
		s.Cancels, s.Holds, s.Rounds, s.Rollouts, s.DeadLetters, s.Retention, s.Leases, s.Inspection, s.Schema,
	}
}

// Attempts is [store.Results.Attempts].
func (f *Flat) Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error) {
	return f.results.Attempts(ctx, taskID, endpoint)
}

// Removals is [store.Removals.Removals].
func (f *Flat) Removals(ctx context.Context, limit int) ([]tasker.Removal, error) {
	return f.removals.Removals(ctx, limit)
}
