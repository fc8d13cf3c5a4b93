// Package rounds retries tasks: in the database, which decides, and then at the
// endpoints, by a hint.
package rounds

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

// Store is the part of the database that a Retrier uses; see internal/store.
type Store interface {
	RetryTask(ctx context.Context, request tasker.RetryRequest) (tasker.RetryOutcome, error)
}

// Broker is the part of the message broker that a Retrier uses.
type Broker interface {
	SendControl(ctx context.Context, endpoints []string, body []byte) error
}

const (
	// maxNamed is the number of endpoints up to which each gets a hint of its own.
	maxNamed = 100
	// spread is within which time managers look if one hint goes to all of them.
	spread = 2 * time.Second
)

// Retrier retries tasks. It is safe for concurrent use, in several processes at once.
type Retrier struct {
	store  Store
	broker Broker
	log    *slog.Logger
}

// New returns a Retrier.
func New(store Store, b Broker, log *slog.Logger) *Retrier {
	return &Retrier{store: store, broker: b, log: log}
}

// Retry begins a new round of a task, and tells the endpoints. Its errors are those of
// the store. A hint may be lost: endpoints find what waits for them after their next
// heartbeat, and a task that they have not received within a minute.
func (r *Retrier) Retry(ctx context.Context, request tasker.RetryRequest) (tasker.RetryOutcome, error) {
	outcome, err := r.store.RetryTask(ctx, request)
	if err != nil || request.DryRun {
		return outcome, err
	}
	again := slices.DeleteFunc(slices.Clone(outcome.Retried), func(name string) bool {
		_, missing := slices.BinarySearch(outcome.Missing, name)
		return missing
	})
	hint := wire.Control{Command: wire.CommandRetry, TaskID: outcome.Task.ID, Type: outcome.Task.Type}
	switch {
	case len(again) > maxNamed:
		hint.SpreadMS = spread.Milliseconds()
		r.hint(ctx, nil, hint)
	case len(again) > 0:
		r.hint(ctx, again, hint)
	}
	// Those that have not received it are away, as a rule. If they are very many, no
	// hint is worth its cost: each looks by itself.
	if n := len(outcome.Missing); n > 0 && n <= maxNamed {
		hint.Command, hint.SpreadMS = wire.CommandReceive, 0
		r.hint(ctx, outcome.Missing, hint)
	}
	return outcome, nil
}

// hint sends a hint to endpoints, or to all if there are none.
func (r *Retrier) hint(ctx context.Context, endpoints []string, hint wire.Control) {
	body, err := wire.EncodeControl(hint)
	if err == nil {
		err = r.broker.SendControl(ctx, endpoints, body)
	}
	if err != nil {
		r.log.DebugContext(ctx, "could not send a hint: endpoints find the retried task by themselves", "task_id", hint.TaskID, "err", err)
	}
}
