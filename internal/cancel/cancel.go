// Package cancel cancels tasks: in the database, which decides, and then at the
// endpoints that run them, by a hint.
package cancel

import (
	"context"
	"log/slog"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

// Store is the part of the database that a Canceler uses; see internal/store.
type Store interface {
	CancelTask(ctx context.Context, request tasker.CancelRequest) (tasker.CancelOutcome, error)
}

// Broker is the part of the message broker that a Canceler uses.
type Broker interface {
	SendControl(ctx context.Context, endpoints []string, body []byte) error
}

// maxNamed is the number of endpoints up to which each gets a hint of its own. If
// more have to stop, one hint goes to all managers.
const maxNamed = 100

// Canceler cancels tasks. It is safe for concurrent use, in several processes at
// once.
type Canceler struct {
	store  Store
	broker Broker
	log    *slog.Logger
}

// New returns a Canceler.
func New(store Store, b Broker, log *slog.Logger) *Canceler {
	return &Canceler{store: store, broker: b, log: log}
}

// Cancel cancels a task and tells the endpoints that run it. Its errors are those of
// the store. A hint may be lost: then they find the cancellation with their next
// heartbeat.
func (c *Canceler) Cancel(ctx context.Context, request tasker.CancelRequest) (tasker.CancelOutcome, error) {
	outcome, err := c.store.CancelTask(ctx, request)
	if err != nil || len(outcome.Stopping) == 0 {
		return outcome, err
	}
	body, err := wire.EncodeControl(wire.Control{Command: wire.CommandCancel, TaskID: outcome.Task.ID})
	if err != nil {
		return outcome, err
	}
	endpoints := outcome.Stopping
	if len(endpoints) > maxNamed {
		endpoints = nil
	}
	if err := c.broker.SendControl(ctx, endpoints, body); err != nil {
		c.log.DebugContext(ctx, "could not send a hint: endpoints stop with their next heartbeat", "task_id", outcome.Task.ID, "err", err)
	}
	return outcome, nil
}
