// Package hold pauses tasks and task types, drains endpoints, and ends that: in the
// database, which decides, and then at the managers, by a hint.
package hold

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

// Store is the part of the database that a Holder uses; see internal/store.
type Store interface {
	Hold(ctx context.Context, request tasker.HoldRequest) (tasker.HoldOutcome, error)
	Resume(ctx context.Context, subject tasker.HoldSubject) (ended tasker.EndedHold, resumed bool, err error)
	EndHolds(ctx context.Context, limit int) ([]tasker.EndedHold, error)
}

// Broker is the part of the message broker that a Holder uses.
type Broker interface {
	SendControl(ctx context.Context, endpoints []string, body []byte) error
}

const (
	// maxNamed is the number of endpoints up to which each gets a hint of its own. If
	// more are concerned, one hint goes to all managers.
	maxNamed = 100
	// maxEnded bounds the holds that one call of [Holder.EndOver] ends.
	maxEnded = 100
)

// Holder holds what must not start, and resumes it. It is safe for concurrent use, in
// several processes at once.
type Holder struct {
	store  Store
	broker Broker
	expect func(start time.Time) // tells that a SCHEDULED task may start at a time
	log    *slog.Logger
}

// New returns a Holder. expect is called when a task that is SCHEDULED is resumed.
func New(store Store, b Broker, expect func(start time.Time), log *slog.Logger) *Holder {
	return &Holder{store: store, broker: b, expect: expect, log: log}
}

// Hold pauses a task or a task type, or drains an endpoint, and tells the endpoints. Its
// errors are those of the store. A hint may be lost: the database refuses what must not
// start all the same.
func (h *Holder) Hold(ctx context.Context, request tasker.HoldRequest) (tasker.HoldOutcome, error) {
	outcome, err := h.store.Hold(ctx, request)
	if err == nil {
		h.tell(ctx, outcome.TaskID, outcome.Endpoints)
	}
	return outcome, err
}

// Resume ends a hold and tells the endpoints. resumed is false if there was none. If the
// hint is lost, they find it with their next heartbeat.
func (h *Holder) Resume(ctx context.Context, subject tasker.HoldSubject) (resumed bool, err error) {
	ended, resumed, err := h.store.Resume(ctx, subject)
	if err == nil && resumed {
		h.resumed(ctx, &ended)
	}
	return resumed, err
}

// EndOver ends the holds whose time has passed, and tells the endpoints.
func (h *Holder) EndOver(ctx context.Context) error {
	ended, err := h.store.EndHolds(ctx, maxEnded)
	for i := range ended {
		one := &ended[i]
		h.log.InfoContext(ctx, "hold ended: its time has passed", "endpoint", one.Endpoint, "type", one.TaskType,
			"identifier", one.Identifier)
		h.resumed(ctx, one)
	}
	return err
}

func (h *Holder) resumed(ctx context.Context, ended *tasker.EndedHold) {
	if ended.Scheduled != nil {
		h.expect(*ended.Scheduled)
	}
	h.tell(ctx, ended.TaskID, ended.Endpoints)
}

// tell sends a hint to endpoints.
func (h *Holder) tell(ctx context.Context, taskID int64, endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	if len(endpoints) > maxNamed {
		endpoints = nil
	}
	body, err := wire.EncodeControl(wire.Control{Command: wire.CommandHold, TaskID: taskID})
	if err == nil {
		err = h.broker.SendControl(ctx, endpoints, body)
	}
	if err != nil {
		h.log.DebugContext(ctx, "could not send a hint: endpoints find it out later", "endpoints", len(endpoints), "err", err)
	}
}
