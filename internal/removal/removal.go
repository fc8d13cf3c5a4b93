// Package removal removes endpoints: their registrations, their place among the
// endpoints that open tasks expect, and their queues.
package removal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// Store is the part of the database that a Remover uses; see internal/store.
type Store interface {
	RemoveEndpoint(ctx context.Context, name string) (tasker.Removal, error)
	DetachEndpoint(ctx context.Context, removal tasker.Removal) (tasks int, err error)
	RemovalCurrent(ctx context.Context, removal tasker.Removal) (bool, error)
	EndRemoval(ctx context.Context, removal tasker.Removal) error
	Removals(ctx context.Context, limit int) ([]tasker.Removal, error)
	Now() time.Time
}

// Broker is the part of the message broker that a Remover uses.
type Broker interface {
	Ready() error
	DeleteQueue(ctx context.Context, q broker.Queue) error
}

const (
	// grace is how long a removal stays open at least. It must exceed the time of
	// a statement that marks a task as sent, which may have read the registrations
	// before the removal.
	grace = time.Minute
	// period is the time between two rounds over the open removals.
	period = 5 * time.Second
	// queueTimeout bounds the deletion of an endpoint's queues.
	queueTimeout = 5 * time.Second
	pageSize     = 100
)

// Remover removes endpoints. It is safe for concurrent use, in several
// processes at once.
type Remover struct {
	store  Store
	broker Broker
	log    *slog.Logger
}

// New returns a Remover.
func New(store Store, b Broker, log *slog.Logger) *Remover {
	return &Remover{store: store, broker: b, log: log}
}

// Remove removes an endpoint and returns how many open tasks no longer expect it.
// queuesLeft reports whether its queues could not be deleted yet; Run, in this
// process or another one, will delete them. If the error is not one of
// [Store.RemoveEndpoint], the removal may have begun, and Run completes it.
func (r *Remover) Remove(ctx context.Context, name string) (removal tasker.Removal, tasks int, queuesLeft bool, err error) {
	removal, err = r.store.RemoveEndpoint(ctx, name)
	if err != nil {
		return tasker.Removal{}, 0, false, err
	}
	tasks, err = r.store.DetachEndpoint(ctx, removal)
	if err != nil {
		return removal, tasks, true, err
	}
	if err := r.deleteQueues(ctx, removal); err != nil {
		r.log.WarnContext(ctx, "queues of removed endpoint not deleted yet", "endpoint", name, "err", err)
		queuesLeft = true
	}
	return removal, tasks, queuesLeft, nil
}

// deleteQueues deletes the queues of a removed endpoint with their messages,
// unless the endpoint has registered again. A manager that registers in between
// finds its queue gone, declares it again and catches up from the database.
func (r *Remover) deleteQueues(ctx context.Context, removal tasker.Removal) error {
	if err := r.broker.Ready(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	current, err := r.store.RemovalCurrent(ctx, removal)
	if err != nil || !current {
		return err
	}
	var errs []error
	for _, taskType := range removal.TaskTypes {
		q := broker.Queue{TaskType: taskType, Endpoint: removal.Endpoint}
		if err := r.broker.DeleteQueue(ctx, q); err != nil {
			errs = append(errs, fmt.Errorf("delete queue %s: %w", q.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// Run completes open removals until ctx ends: those of managers that stopped with
// --forget, and those that were interrupted by a crash or an unreachable broker.
func (r *Remover) Run(ctx context.Context) {
	for {
		if err := r.runOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "could not complete endpoint removals", "err", err)
		}
		if clock.Sleep(ctx, clock.Around(period)) != nil {
			return
		}
	}
}

func (r *Remover) runOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	removals, err := r.store.Removals(ctx, pageSize)
	if err != nil {
		return err
	}
	var errs []error
	for _, removal := range removals {
		if err := r.complete(ctx, removal); err != nil {
			errs = append(errs, fmt.Errorf("endpoint %s: %w", removal.Endpoint, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Remover) complete(ctx context.Context, removal tasker.Removal) error {
	tasks, err := r.store.DetachEndpoint(ctx, removal)
	if err != nil {
		return err
	}
	if tasks > 0 {
		r.log.InfoContext(ctx, "removed endpoint dropped from open tasks", "endpoint", removal.Endpoint, "tasks", tasks)
	}
	if err := r.deleteQueues(ctx, removal); err != nil {
		return err
	}
	if r.store.Now().Before(removal.Time.Add(grace)) {
		return nil
	}
	return r.store.EndRemoval(ctx, removal)
}
