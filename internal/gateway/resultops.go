package gateway

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

// resultOps are the operations that record tasks at endpoints, and find them.
type resultOps struct {
	results  Results
	work     Work
	arrivals *committer[ledger.Incoming, ledger.Recording]
	news     *news
}

func (o *resultOps) receive(_ context.Context, r *protocol.Receive) (*protocol.Recordings, error) {
	incoming := make([]ledger.Incoming, len(r.Messages))
	for i, m := range r.Messages {
		incoming[i] = ledger.Incoming{
			ResultKey: tasker.ResultKey{TaskID: m.TaskID, Endpoint: r.Endpoint}, Manager: r.Manager, Identifier: m.Identifier,
			Type: m.Type, PayloadSHA256: m.PayloadSHA256, State: m.State, Errnr: m.Errnr, Errmsg: m.Errmsg,
		}
	}
	recorded, err := o.arrivals.do(incoming)
	if err != nil {
		return nil, err
	}
	answer := &protocol.Recordings{Recordings: make([]protocol.Recording, len(recorded))}
	for i := range recorded {
		answer.Recordings[i] = protocol.RecordingOf(recorded[i])
		held := recorded[i].Outcome == ledger.Duplicate && recorded[i].State == tasker.Received && incoming[i].State == tasker.Running
		if held {
			incoming[i].State = tasker.Received
		}
		if held || recorded[i].Outcome == ledger.Recorded {
			o.news.recorded(&incoming[i], &recorded[i].Task)
		}
	}
	return answer, nil
}

func (o *resultOps) unreceived(ctx context.Context, r *protocol.Unreceived) (*protocol.Tasks, error) {
	tasks, next, err := o.results.UnreceivedTasks(ctx, r.Endpoint, r.TaskTypes, r.Since, r.After.Position(), r.Limit)
	answer := &protocol.Tasks{Tasks: make([]*protocol.Task, len(tasks)), Next: protocol.PositionOf(next)}
	for i := range tasks {
		answer.Tasks[i] = protocol.TaskOf(&tasks[i])
	}
	return answer, err
}

func (o *resultOps) take(ctx context.Context, r *protocol.Take) (*protocol.Tasks, error) {
	tasks, err := o.results.TakeTasks(ctx, r.Manager, r.Endpoint, r.TaskType, r.Limit)
	answer := &protocol.Tasks{Tasks: make([]*protocol.Task, len(tasks))}
	for i := range tasks {
		answer.Tasks[i] = protocol.TaskOf(&tasks[i])
	}
	return answer, err
}

func (o *resultOps) payload(ctx context.Context, r *protocol.Payload) (*protocol.PayloadText, error) {
	payload, err := o.results.ResultPayload(ctx, tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint})
	return &protocol.PayloadText{Payload: string(payload)}, err
}

func (o *resultOps) unfinished(ctx context.Context, r *protocol.Unfinished) (*protocol.UnfinishedKinds, error) {
	u, err := o.work.UnfinishedWork(ctx, r.Manager, r.Endpoint)
	return &protocol.UnfinishedKinds{Lost: u.Lost, Interrupted: u.Interrupted, Waiting: u.Waiting, Canceled: u.Canceled}, err
}

func (o *resultOps) interrupted(ctx context.Context, r *protocol.Interrupted) (*protocol.WorkList, error) {
	return workList(o.work.InterruptedWork(ctx, r.Manager, r.Endpoint, r.Limit))
}

func (o *resultOps) canceled(ctx context.Context, r *protocol.Canceled) (*protocol.WorkList, error) {
	return workList(o.work.CanceledWork(ctx, r.Manager, r.Endpoint, r.Limit))
}

func (o *resultOps) waiting(ctx context.Context, r *protocol.Waiting) (*protocol.WorkList, error) {
	return workList(o.work.WaitingWork(ctx, r.Endpoint, r.TaskType, r.Limit))
}

func (o *resultOps) due(ctx context.Context, r *protocol.Due) (*protocol.WorkList, error) {
	return workList(o.work.DueWork(ctx, r.Endpoint, r.TaskType, r.Limit))
}

func (o *resultOps) nextRetry(ctx context.Context, r *protocol.NextRetry) (*protocol.Next, error) {
	next, ok, err := o.work.NextRetry(ctx, r.Endpoint, r.TaskType)
	if !ok || err != nil {
		return &protocol.Next{}, err
	}
	return &protocol.Next{Time: &next}, nil
}

func workList(work []ledger.Work, err error) (*protocol.WorkList, error) {
	answer := &protocol.WorkList{Work: make([]protocol.Work, len(work))}
	for i := range work {
		answer.Work[i] = protocol.WorkOf(&work[i])
	}
	return answer, err
}
