// Package conductor takes tasks through their rollouts: it has the database decide, by
// people and by the rows, and then does what follows outside of it. It sends the task to
// the waves that were opened, and tells endpoints what is held or canceled.
package conductor

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/wire"
)

// Store is the part of the database that a Conductor uses; see internal/store.
type Store interface {
	Advance(ctx context.Context, taskID int64, wait time.Duration) (ledger.Advance, error)
	Approve(ctx context.Context, act tasker.RolloutAct, wait time.Duration) (ledger.Advance, error)
	ResumeRollout(ctx context.Context, act tasker.RolloutAct, wait time.Duration) (ledger.Advance, error)
}

// Statuses stores the statuses of tasks.
type Statuses interface {
	Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error)
}

// Sender sends tasks to the waves of their rollouts; see internal/dispatch.
type Sender interface {
	SendWaves(ctx context.Context, c ledger.WaveClaim) error
}

// Broker is the part of the message broker that a Conductor uses.
type Broker interface {
	SendControl(ctx context.Context, endpoints []string, body []byte) error
}

const (
	// maxNamed is the number of endpoints up to which each gets a hint of its own. If more
	// are concerned, one hint goes to all managers.
	maxNamed = 100
	// maxDecisions bounds the decisions of one look, so that one rollout does not keep the
	// others waiting.
	maxDecisions = 100
	// maxSending bounds the attempts to send that run at the same time.
	maxSending = 64
)

// Deps are what a Conductor works with. All are needed.
type Deps struct {
	Store    Store
	Statuses Statuses
	Sender   Sender
	Broker   Broker
	Metrics  observe.RolloutMetrics
	Log      *slog.Logger
}

// Conductor is safe for concurrent use, in several processes at once.
type Conductor struct {
	Deps
	wait    time.Duration
	sending chan struct{} // slots
}

// New returns a Conductor. waitForEndpoints is the time in which an endpoint should have
// received a task, from when its wave is open.
func New(deps Deps, waitForEndpoints time.Duration) *Conductor {
	return &Conductor{Deps: deps, wait: waitForEndpoints, sending: make(chan struct{}, maxSending)}
}

// Approve approves waves of a rollout, and opens the next one if it waits for that. Its
// errors are those of the store.
func (c *Conductor) Approve(ctx context.Context, act tasker.RolloutAct) (changed bool, err error) {
	a, err := c.Store.Approve(ctx, act, c.wait)
	if err != nil {
		return false, err
	}
	c.follow(context.WithoutCancel(ctx), &a)
	return a.Changed, nil
}

// Resume continues a rollout that is HALTED or PAUSED, or promotes it. Its errors are those
// of the store.
func (c *Conductor) Resume(ctx context.Context, act tasker.RolloutAct) (changed bool, err error) {
	a, err := c.Store.ResumeRollout(ctx, act, c.wait)
	if err != nil {
		return false, err
	}
	c.follow(context.WithoutCancel(ctx), &a)
	return a.Changed, nil
}

// Look has the database decide about a rollout until there is nothing more to decide.
func (c *Conductor) Look(ctx context.Context, taskID int64) error {
	for range maxDecisions {
		a, err := c.Store.Advance(ctx, taskID, c.wait)
		if err != nil {
			return err
		}
		c.follow(ctx, &a)
		if a.Behind {
			if _, err := c.Statuses.Aggregate(ctx, []int64{taskID}, c.wait); err != nil {
				return err
			}
		}
		if !a.Changed {
			return nil
		}
	}
	return nil
}

// Wait waits until what was opened is sent, or left to the relay.
func (c *Conductor) Wait() {
	for range cap(c.sending) {
		c.sending <- struct{}{}
	}
	for range cap(c.sending) {
		<-c.sending
	}
}

// follow does what follows from a decision. What fails is found by others: the relay sends
// the task, and endpoints look at the database with their heartbeats.
func (c *Conductor) follow(ctx context.Context, a *ledger.Advance) {
	if a.Changed {
		c.Log.InfoContext(ctx, "rollout advanced", "task_id", a.TaskID, "type", a.Type, "identifier", a.Identifier,
			"state", a.State, "wave", a.Wave, "reason", a.Reason)
	}
	if a.Halted != "" {
		c.Metrics.Halts.Inc(a.Halted)
	}
	c.tell(ctx, wire.CommandHold, a.TaskID, a.Held)
	c.tell(ctx, wire.CommandCancel, a.TaskID, a.Canceled)
	if a.Send.Attempt > 0 {
		c.send(ctx, a)
	}
}

// send sends the task in the background, once there is a slot.
func (c *Conductor) send(ctx context.Context, a *ledger.Advance) {
	claim, taskType, identifier := a.Send, a.Type, a.Identifier
	c.sending <- struct{}{}
	go func() {
		defer func() { <-c.sending }()
		if err := c.Sender.SendWaves(ctx, claim); err != nil {
			c.Log.WarnContext(ctx, "wave opened but not sent: the relay will send it",
				"err", err, "task_id", claim.TaskID, "type", taskType, "identifier", identifier)
		}
	}()
}

// tell sends a hint to endpoints.
func (c *Conductor) tell(ctx context.Context, command string, taskID int64, endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	if len(endpoints) > maxNamed {
		endpoints = nil
	}
	body, err := wire.EncodeControl(wire.Control{Command: command, TaskID: taskID})
	if err == nil {
		err = c.Broker.SendControl(ctx, endpoints, body)
	}
	if err != nil {
		c.Log.DebugContext(ctx, "could not send a hint: endpoints find it out later", "endpoints", len(endpoints), "err", err)
	}
}
