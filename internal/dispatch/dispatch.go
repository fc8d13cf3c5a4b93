// Package dispatch brings a stored task to its endpoints: it publishes the
// task and marks it SENT. The API does so when it takes a task, the relay when
// that failed.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/wire"
)

// Store is what a Dispatcher needs of the database.
type Store interface {
	MarkSent(ctx context.Context, task tasker.Task, unserved []string, seenWithin time.Duration) (tasker.Task, error)
	ReleaseTask(ctx context.Context, taskID int64, after time.Duration) error
}

// Publisher is what a Dispatcher needs of the broker.
type Publisher interface {
	Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error)
	Ready() error
}

// Config bounds a dispatch.
type Config struct {
	// Timeout is how long a publish may take, with its confirm; 0 means 5 s,
	// and 10 s is the most, since the relay takes over a little later.
	Timeout time.Duration
	// SeenWithin is how long ago an endpoint may have been seen last and still
	// be expected to perform a task for all: as long as its queue is kept. 0
	// means 7 days.
	SeenWithin time.Duration
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	c.Timeout = min(c.Timeout, 10*time.Second)
	if c.SeenWithin == 0 {
		c.SeenWithin = 7 * 24 * time.Hour
	}
	return c
}

// Dispatcher publishes tasks. It is safe for concurrent use.
type Dispatcher struct {
	cfg    Config
	store  Store
	broker Publisher
	log    *slog.Logger
}

// New makes a Dispatcher.
func New(cfg Config, store Store, publisher Publisher, log *slog.Logger) *Dispatcher {
	return &Dispatcher{cfg: cfg.withDefaults(), store: store, broker: publisher, log: log}
}

// Dispatch publishes a CREATED task and marks it SENT, within the configured
// time, whether or not the caller stays. On an error the task stays CREATED
// and is left to the relay; the task given back is the newest known. A broker
// that is not ready is not waited for.
func (d *Dispatcher) Dispatch(ctx context.Context, task tasker.Task) (tasker.Task, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Timeout)
	defer cancel()
	receipt, err := d.publish(ctx, task)
	if err != nil {
		pause := refusedPause
		if errors.Is(err, broker.ErrNotConnected) || ctx.Err() != nil {
			pause = 0 // the relay waits for the broker itself
		}
		d.release(ctx, task, pause)
		return task, fmt.Errorf("publish task %d: %w", task.ID, err)
	}
	if receipt.Unrouted {
		d.log.WarnContext(ctx, "no queue took the task: no endpoint has subscribed to its type", "task_id", task.ID, "type", task.Type)
	}
	// A crash before this line leaves the task CREATED: the relay publishes it
	// again, and the endpoints recognize it.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Timeout)
	defer cancel()
	return d.store.MarkSent(ctx, task, receipt.Unserved, d.cfg.SeenWithin)
}

func (d *Dispatcher) publish(ctx context.Context, task tasker.Task) (broker.Receipt, error) {
	if err := d.broker.Ready(); err != nil {
		return broker.Receipt{}, err
	}
	body, err := wire.EncodeTask(task)
	if err != nil {
		return broker.Receipt{}, err
	}
	target := broker.ToAll()
	if task.Endpoints != nil {
		endpoints := task.Targets()
		if len(endpoints) == 0 {
			return broker.Receipt{}, nil // all were removed: To() of nobody would be everybody
		}
		target = broker.To(endpoints...)
	}
	return d.broker.Publish(ctx, broker.Publication{
		TaskType: task.Type, Target: target, MessageID: wire.MessageID(task.ID), Body: body,
	})
}

// refusedPause is for how long a task rests that a working broker did not
// take, so that tasks which can never be published do not keep the relay from
// the others.
const refusedPause = 5 * time.Second

// release lets the relay have the task after a pause; where that fails, it
// takes the task a little later.
func (d *Dispatcher) release(ctx context.Context, task tasker.Task, after time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := d.store.ReleaseTask(ctx, task.ID, after); err != nil {
		d.log.DebugContext(ctx, "the task was not released to the relay", "task_id", task.ID, "err", err)
	}
}
