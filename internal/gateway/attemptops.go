package gateway

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// attemptOps are the operations on attempts.
type attemptOps struct {
	store   Attempts
	starts  *committer[ledger.Start, bool]
	ends    *committer[ledger.End, bool]
	updates *committer[ledger.LiveUpdate, struct{}]
	news    *news
}

// startsOf returns the items of a request.
func startsOf(endpoint, manager string, items []protocol.Started) []ledger.Start {
	list := make([]ledger.Start, len(items))
	for i, item := range items {
		list[i] = ledger.Start{
			ResultKey: tasker.ResultKey{TaskID: item.TaskID, Endpoint: endpoint}, Manager: manager, Attempt: item.Attempt,
		}
	}
	return list
}

func (o *attemptOps) start(_ context.Context, r *protocol.Start) (*protocol.Done, error) {
	starts := startsOf(r.Endpoint, r.Manager, r.Starts)
	started, err := o.starts.do(starts)
	o.moved(starts, started, 1, tasker.Running)
	return &protocol.Done{Done: started}, err
}

func (o *attemptOps) giveBack(ctx context.Context, r *protocol.GiveBack) (*protocol.Done, error) {
	starts := startsOf(r.Endpoint, r.Manager, r.Starts)
	returned, err := o.store.ReturnAttempts(ctx, starts)
	o.moved(starts, returned, -1, tasker.Received)
	return &protocol.Done{Done: returned}, err
}

func (o *attemptOps) resume(ctx context.Context, r *protocol.Resume) (*protocol.Done, error) {
	starts := startsOf(r.Endpoint, r.Manager, r.Starts)
	resumed, err := o.store.ResumeAttempts(ctx, starts)
	o.moved(starts, resumed, 0, tasker.Running)
	return &protocol.Done{Done: resumed}, err
}

// moved tells of results that have moved to a state, with the attempts that were
// given plus further.
func (o *attemptOps) moved(starts []ledger.Start, done []bool, further int, state tasker.ResultState) {
	for i, ok := range done {
		if ok {
			o.news.changed(wire.LiveChange{
				TaskID: starts[i].TaskID, Endpoint: starts[i].Endpoint, Attempt: starts[i].Attempt + further, State: state,
			})
		}
	}
}

func (o *attemptOps) finish(_ context.Context, r *protocol.Finish) (*protocol.Done, error) {
	ends := make([]ledger.End, len(r.Ends))
	for i := range r.Ends {
		ends[i] = r.Ends[i].End(r.Endpoint)
	}
	stored, err := o.ends.do(ends)
	for i, ok := range stored {
		if ok {
			o.news.finished(&ends[i])
		}
	}
	return &protocol.Done{Done: stored}, err
}

func (o *attemptOps) live(_ context.Context, r *protocol.Live) (*protocol.Empty, error) {
	updates := make([]ledger.LiveUpdate, len(r.Updates))
	for i := range r.Updates {
		updates[i] = r.Updates[i].Update(r.Endpoint)
	}
	if _, err := o.updates.do(updates); err != nil {
		return nil, err
	}
	for i := range updates {
		o.news.reported(&updates[i])
	}
	return &protocol.Empty{}, nil
}

func (o *attemptOps) attempts(ctx context.Context, r *protocol.Attempts) (*protocol.History, error) {
	attempts, err := o.store.Attempts(ctx, r.TaskID, r.Endpoint)
	for i := range attempts {
		attempts[i].Partial = nil
	}
	return &protocol.History{Attempts: attempts}, err
}

func (o *attemptOps) awaitReboot(ctx context.Context, r *protocol.AwaitReboot) (*protocol.Stored, error) {
	key := tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}
	stored, err := o.store.AwaitReboot(ctx, key, r.Attempt, r.Step, r.Boot)
	return &protocol.Stored{Stored: stored}, err
}
