// Package removal removes endpoints: their registrations, what open tasks
// expect of them, and their queues.
package removal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// Store is what a Remover needs of the database; see internal/store.
type Store interface {
	RemoveEndpoint(ctx context.Context, name string) (tasker.Removal, error)
	DetachEndpoint(ctx context.Context, removal tasker.Removal) (tasks int, err error)
	RemovalCurrent(ctx context.Context, removal tasker.Removal) (bool, error)
	EndRemoval(ctx context.Context, removal tasker.Removal) error
	Removals(ctx context.Context, limit int) ([]tasker.Removal, error)
	Now() time.Time
}

// Broker is what a Remover needs of the message broker.
type Broker interface {
	Ready() error
	DeleteQueue(ctx context.Context, q broker.Queue) error
}

const (
	// grace is how long a removal is carried on at least: longer than a statement
	// lasts that marks a task as sent and read the registrations before.
	grace = time.Minute
	// period is the pause between two looks at the removals under way.
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

// Remove removes an endpoint and returns how many open tasks do not expect it
// any more. queuesLeft reports that its queues could not be deleted yet: Run
// does so later, in this process or another one. The errors are those of
// [Store.RemoveEndpoint]; on any other one the removal may have begun, and then
// Run carries it on.
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
		r.log.WarnContext(ctx, "the queues of a removed endpoint were not deleted yet", "endpoint", name, "err", err)
		queuesLeft = true
	}
	return removal, tasks, queuesLeft, nil
}

// deleteQueues deletes the queues of a removal, with what is in them, unless
// the endpoint has registered anew. A manager that registers in between finds
// its queue gone, declares it again, and catches up from the database.
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

// Run carries on the removals that are under way until ctx ends: those of
// managers that said goodbye, and those whose process ended or whose broker was
// away.
func (r *Remover) Run(ctx context.Context) {
	for {
		if err := r.carryOn(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "removals of endpoints are not carried on", "err", err)
		}
		select {
		case <-time.After(period*3/4 + rand.N(period/2)):
		case <-ctx.Done():
			return
		}
	}
}

func (r *Remover) carryOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	removals, err := r.store.Removals(ctx, pageSize)
	if err != nil {
		return err
	}
	var errs []error
	for _, removal := range removals {
		if err := r.carryOnOne(ctx, removal); err != nil {
			errs = append(errs, fmt.Errorf("endpoint %s: %w", removal.Endpoint, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Remover) carryOnOne(ctx context.Context, removal tasker.Removal) error {
	tasks, err := r.store.DetachEndpoint(ctx, removal)
	if err != nil {
		return err
	}
	if tasks > 0 {
		r.log.InfoContext(ctx, "open tasks do not expect a removed endpoint any more", "endpoint", removal.Endpoint, "tasks", tasks)
	}
	if err := r.deleteQueues(ctx, removal); err != nil {
		return err
	}
	if r.store.Now().Before(removal.Time.Add(grace)) {
		return nil
	}
	return r.store.EndRemoval(ctx, removal)
}
