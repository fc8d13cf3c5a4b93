package gateway

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

// clientEndpoints implements manager.Endpoints.
type clientEndpoints struct{ *connection }

// AcquireEndpoint is manager.Endpoints.AcquireEndpoint.
func (c clientEndpoints) AcquireEndpoint(
	ctx context.Context, e tasker.Endpoint, lease time.Duration,
) (holder *tasker.Endpoint, err error) {
	answer, err := call[protocol.Registered](ctx, c.connection, e.Name, protocol.OpRegister, &protocol.Register{
		Scope: protocol.Scope{Endpoint: e.Name}, Manager: e.Manager, TaskTypes: e.TaskTypes, Host: e.Host, PID: e.PID,
		Version: e.Version, Protocol: e.Protocol, Labels: e.Labels, LeaseMS: protocol.Milliseconds(lease),
	})
	if err != nil {
		return nil, err
	}
	c.pace.set([]protocol.Granted{answer.Granted})
	return answer.Holder, nil
}

// Heartbeat is manager.Endpoints.Heartbeat.
func (c clientEndpoints) Heartbeat(
	ctx context.Context, manager string, endpoints []string, lease time.Duration,
) (held bool, err error) {
	var mu sync.Mutex
	var granted []protocol.Granted
	var commanded bool
	held = true
	err = each(ctx, one(endpoints), func(ctx context.Context, g group) error {
		answer, err := call[protocol.Held](ctx, c.connection, g.endpoint, protocol.OpHeartbeat, &protocol.Heartbeat{
			Scope: protocol.Scope{Endpoint: g.endpoint}, Manager: manager, LeaseMS: protocol.Milliseconds(lease),
		})
		mu.Lock()
		defer mu.Unlock()
		granted = append(granted, answer.Granted)
		commanded = commanded || answer.Canceled || answer.Waiting
		held = held && (err != nil || answer.Held)
		return err
	})
	if err == nil {
		c.pace.set(granted)
	}
	if commanded {
		c.commands.Add(1)
	}
	return held, err
}

// CommandMark is manager.Endpoints.CommandMark: it changes with each heartbeat whose
// answer said that something was canceled, or may have been retried.
func (c clientEndpoints) CommandMark(context.Context) (string, error) {
	return strconv.FormatInt(c.commands.Load(), 10), nil
}

// HoldsAt is manager.Endpoints.HoldsAt. A gateway of an older release knows of none.
func (c clientEndpoints) HoldsAt(ctx context.Context, endpoints []string) ([]ledger.Hold, error) {
	var mu sync.Mutex
	list := []ledger.Hold{}
	err := each(ctx, one(endpoints), func(ctx context.Context, g group) error {
		answer, err := call[protocol.HoldList](ctx, c.connection, g.endpoint, protocol.OpHolds, &protocol.Holds{
			Scope: protocol.Scope{Endpoint: g.endpoint},
		})
		if tasker.CodeOf(err) == tasker.NotFound {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for _, h := range answer.Holds {
			list = append(list, ledger.Hold{Endpoint: g.endpoint, TaskType: h.TaskType, TaskID: h.TaskID, Until: h.Until})
		}
		return err
	})
	return list, err
}

// ReleaseEndpoints is manager.Endpoints.ReleaseEndpoints.
func (c clientEndpoints) ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error {
	return each(ctx, one(endpoints), func(ctx context.Context, g group) error {
		_, err := call[protocol.Empty](ctx, c.connection, g.endpoint, protocol.OpRelease, &protocol.Release{
			Scope: protocol.Scope{Endpoint: g.endpoint}, Manager: manager,
		})
		return err
	})
}

// ForgetEndpoints is manager.Endpoints.ForgetEndpoints.
func (c clientEndpoints) ForgetEndpoints(ctx context.Context, manager string, endpoints []string) (kept []string, err error) {
	for _, name := range endpoints {
		answer, err := call[protocol.Forgotten](ctx, c.connection, name, protocol.OpForget, &protocol.Forget{
			Scope: protocol.Scope{Endpoint: name}, Manager: manager,
		})
		if err != nil {
			return kept, err
		}
		if answer.Kept {
			kept = append(kept, name)
		}
	}
	return kept, nil
}

// ReturnFromLost is manager.Endpoints.ReturnFromLost.
func (c clientEndpoints) ReturnFromLost(ctx context.Context, endpoints []string) (returned int, err error) {
	for _, name := range endpoints {
		answer, err := call[protocol.Returned](ctx, c.connection, name, protocol.OpReturn, &protocol.Return{
			Scope: protocol.Scope{Endpoint: name},
		})
		if err != nil {
			return returned, err
		}
		returned += answer.Results
	}
	return returned, nil
}

// one returns a group for each of the endpoints.
func one(endpoints []string) []group {
	list := make([]group, len(endpoints))
	for i, name := range endpoints {
		list[i].endpoint = name
	}
	return list
}

// clientResults implements manager.Results.
type clientResults struct{ *connection }

// ReceiveResults is manager.Results.ReceiveResults, for messages of one manager.
func (c clientResults) ReceiveResults(ctx context.Context, incoming []ledger.Incoming) ([]ledger.Recording, error) {
	list := groups(incoming, c.cfg.MaxBody,
		func(in *ledger.Incoming) (string, string) { return in.Endpoint, in.Manager },
		func(in *ledger.Incoming) int { return len(in.Errmsg) + overhead })
	recordings := make([]ledger.Recording, len(incoming))
	err := each(ctx, list, func(ctx context.Context, g group) error {
		messages := make([]protocol.Message, len(g.indexes))
		for n, i := range g.indexes {
			in := &incoming[i]
			messages[n] = protocol.Message{
				TaskID: in.TaskID, Type: in.Type, Identifier: in.Identifier, PayloadSHA256: in.PayloadSHA256,
				State: in.State, Errnr: in.Errnr, Errmsg: in.Errmsg,
			}
		}
		answer, err := call[protocol.Recordings](ctx, c.connection, g.endpoint, protocol.OpReceive, &protocol.Receive{
			Scope: protocol.Scope{Endpoint: g.endpoint}, Manager: g.manager, Messages: messages,
		})
		if err == nil {
			err = c.complete(len(answer.Recordings), len(g.indexes), protocol.OpReceive)
		}
		for n := 0; err == nil && n < len(g.indexes); n++ {
			if recordings[g.indexes[n]], err = answer.Recordings[n].Recording(); err != nil {
				err = c.lost(err, "unreadable answer to "+protocol.OpReceive)
			}
		}
		return err
	})
	return recordings, err
}

// overhead is roughly the size of an item in a request without its texts.
const overhead = 200

// UnreceivedTasks is manager.Results.UnreceivedTasks.
func (c clientResults) UnreceivedTasks(
	ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int,
) (tasks []tasker.Task, next ledger.SentPosition, err error) {
	answer, err := call[protocol.Tasks](ctx, c.connection, endpoint, protocol.OpUnreceived, &protocol.Unreceived{
		Scope: protocol.Scope{Endpoint: endpoint}, TaskTypes: taskTypes, Since: since, After: protocol.PositionOf(after), Limit: limit,
	})
	if err != nil {
		return nil, ledger.SentPosition{}, err
	}
	for _, t := range answer.Tasks {
		tasks = append(tasks, t.Task())
	}
	return tasks, answer.Next.Position(), nil
}

// TakeTasks is manager.Places.TakeTasks. A gateway of an older release has none.
func (c clientResults) TakeTasks(
	ctx context.Context, manager, endpoint, taskType string, limit int,
) (tasks []tasker.Task, err error) {
	answer, err := call[protocol.Tasks](ctx, c.connection, endpoint, protocol.OpTake, &protocol.Take{
		Scope: protocol.Scope{Endpoint: endpoint}, Manager: manager, TaskType: taskType, Limit: limit,
	})
	if tasker.CodeOf(err) == tasker.NotFound {
		return nil, nil
	}
	for _, t := range answer.Tasks {
		tasks = append(tasks, t.Task())
	}
	return tasks, err
}

// TaskPayload is manager.Results.TaskPayload.
func (c clientResults) TaskPayload(ctx context.Context, taskID int64) (payload json.RawMessage, err error) {
	// The first endpoint that has the task: a manager of several asks for each.
	for _, endpoint := range c.callers.names() {
		var answer protocol.PayloadText
		answer, err = call[protocol.PayloadText](ctx, c.connection, endpoint, protocol.OpPayload, &protocol.Payload{
			Scope: protocol.Scope{Endpoint: endpoint}, TaskID: taskID,
		})
		if tasker.CodeOf(err) != tasker.NotFound {
			return json.RawMessage(answer.Payload), err
		}
	}
	return nil, err
}
