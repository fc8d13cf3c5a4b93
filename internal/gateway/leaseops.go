package gateway

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

// leaseOps are the operations on endpoints and their leases.
type leaseOps struct {
	endpoints Endpoints
	fleet     *fleet
	beats     *committer[ledger.Renewal, bool]
	commands  *commandWatch
	found     *committer[string, ledger.Commands]
}

func (o *leaseOps) register(ctx context.Context, r *protocol.Register) (*protocol.Registered, error) {
	granted, lease := o.fleet.grant(r.LeaseMS)
	holder, err := o.endpoints.AcquireEndpoint(ctx, tasker.Endpoint{
		Name: r.Endpoint, TaskTypes: r.TaskTypes, Labels: r.Labels, Manager: r.Manager, Host: r.Host, PID: r.PID, Version: r.Version,
		Protocol: r.Protocol,
	}, lease)
	return &protocol.Registered{Granted: granted, Holder: holder}, err
}

func (o *leaseOps) heartbeat(_ context.Context, r *protocol.Heartbeat) (*protocol.Held, error) {
	granted, lease := o.fleet.grant(r.LeaseMS)
	held, err := o.beats.do([]ledger.Renewal{{Endpoint: r.Endpoint, Manager: r.Manager, Lease: lease}})
	if err != nil {
		return nil, err
	}
	answer := &protocol.Held{Granted: granted, Held: held[0]}
	if o.commands.recent() {
		// Without an answer the endpoint asks itself, a little later.
		if found, err := o.found.do([]string{r.Endpoint}); err == nil {
			answer.Canceled, answer.Waiting = found[0].Canceled, found[0].Waiting
		}
	}
	return answer, nil
}

func (o *leaseOps) release(ctx context.Context, r *protocol.Release) (*protocol.Empty, error) {
	return &protocol.Empty{}, o.endpoints.ReleaseEndpoints(ctx, r.Manager, []string{r.Endpoint})
}

func (o *leaseOps) forget(ctx context.Context, r *protocol.Forget) (*protocol.Forgotten, error) {
	kept, err := o.endpoints.ForgetEndpoints(ctx, r.Manager, []string{r.Endpoint})
	return &protocol.Forgotten{Kept: len(kept) > 0}, err
}

func (o *leaseOps) returnFromLost(ctx context.Context, r *protocol.Return) (*protocol.Returned, error) {
	n, err := o.endpoints.ReturnFromLost(ctx, []string{r.Endpoint})
	return &protocol.Returned{Results: n}, err
}

func (o *leaseOps) holds(ctx context.Context, r *protocol.Holds) (*protocol.HoldList, error) {
	holds, err := o.endpoints.HoldsAt(ctx, []string{r.Endpoint})
	answer := &protocol.HoldList{Holds: make([]protocol.Hold, len(holds))}
	for i := range holds {
		answer.Holds[i] = protocol.Hold{TaskType: holds[i].TaskType, TaskID: holds[i].TaskID, Until: holds[i].Until}
	}
	return answer, err
}
