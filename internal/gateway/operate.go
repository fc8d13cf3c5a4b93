package gateway

import (
	"context"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

func (s *Server) register(ctx context.Context, r *protocol.Register) (*protocol.Registered, error) {
	granted, lease := s.grant(r.LeaseMS)
	holder, err := s.stores.Endpoints.AcquireEndpoint(ctx, tasker.Endpoint{
		Name: r.Endpoint, TaskTypes: r.TaskTypes, Labels: r.Labels, Manager: r.Manager, Host: r.Host, PID: r.PID, Version: r.Version,
		Protocol: r.Protocol,
	}, lease)
	if err != nil {
		return nil, err
	}
	return &protocol.Registered{Granted: granted, Holder: holder}, nil
}

func (s *Server) heartbeat(ctx context.Context, r *protocol.Heartbeat) (*protocol.Held, error) {
	granted, lease := s.grant(r.LeaseMS)
	held, err := s.stores.Endpoints.Heartbeat(ctx, r.Manager, []string{r.Endpoint}, lease)
	if err != nil {
		return nil, err
	}
	return &protocol.Held{Granted: granted, Held: held}, nil
}

func (s *Server) release(ctx context.Context, r *protocol.Release) (*protocol.Empty, error) {
	return &protocol.Empty{}, s.stores.Endpoints.ReleaseEndpoints(ctx, r.Manager, []string{r.Endpoint})
}

func (s *Server) forget(ctx context.Context, r *protocol.Forget) (*protocol.Forgotten, error) {
	kept, err := s.stores.Endpoints.ForgetEndpoints(ctx, r.Manager, []string{r.Endpoint})
	return &protocol.Forgotten{Kept: len(kept) > 0}, err
}

func (s *Server) returnFromLost(ctx context.Context, r *protocol.Return) (*protocol.Returned, error) {
	n, err := s.stores.Endpoints.ReturnFromLost(ctx, []string{r.Endpoint})
	return &protocol.Returned{Results: n}, err
}

func (s *Server) receive(ctx context.Context, r *protocol.Receive) (*protocol.Recordings, error) {
	incoming := make([]ledger.Incoming, len(r.Messages))
	for i, m := range r.Messages {
		incoming[i] = ledger.Incoming{
			ResultKey: tasker.ResultKey{TaskID: m.TaskID, Endpoint: r.Endpoint}, Identifier: m.Identifier, Type: m.Type,
			PayloadSHA256: m.PayloadSHA256,
			Manager:       r.Manager, State: m.State, Errnr: m.Errnr, Errmsg: m.Errmsg,
		}
	}
	recorded, err := s.stores.Results.ReceiveResults(ctx, incoming)
	if err != nil {
		return nil, err
	}
	answer := &protocol.Recordings{Recordings: make([]protocol.Recording, len(recorded))}
	for i := range recorded {
		answer.Recordings[i] = protocol.RecordingOf(recorded[i])
	}
	return answer, nil
}

func (s *Server) unreceived(ctx context.Context, r *protocol.Unreceived) (*protocol.Tasks, error) {
	tasks, next, err := s.stores.Results.UnreceivedTasks(ctx, r.Endpoint, r.TaskTypes, r.Since, r.After.Position(), r.Limit)
	if err != nil {
		return nil, err
	}
	answer := &protocol.Tasks{Tasks: make([]*protocol.Task, len(tasks)), Next: protocol.PositionOf(next)}
	for i := range tasks {
		answer.Tasks[i] = protocol.TaskOf(&tasks[i])
	}
	return answer, nil
}

func (s *Server) payload(ctx context.Context, r *protocol.Payload) (*protocol.PayloadText, error) {
	payload, err := s.stores.Results.TaskPayload(ctx, r.TaskID)
	return &protocol.PayloadText{Payload: string(payload)}, err
}

// starts returns the items of a request.
func starts(endpoint, manager string, items []protocol.Started) []ledger.Start {
	list := make([]ledger.Start, len(items))
	for i, item := range items {
		list[i] = ledger.Start{ResultKey: tasker.ResultKey{TaskID: item.TaskID, Endpoint: endpoint}, Manager: manager, Attempt: item.Attempt}
	}
	return list
}

func (s *Server) start(ctx context.Context, r *protocol.Start) (*protocol.Done, error) {
	done, err := s.stores.Attempts.StartAttempts(ctx, starts(r.Endpoint, r.Manager, r.Starts))
	return &protocol.Done{Done: done}, err
}

func (s *Server) resume(ctx context.Context, r *protocol.Resume) (*protocol.Done, error) {
	done, err := s.stores.Attempts.ResumeAttempts(ctx, starts(r.Endpoint, r.Manager, r.Starts))
	return &protocol.Done{Done: done}, err
}

func (s *Server) finish(ctx context.Context, r *protocol.Finish) (*protocol.Done, error) {
	ends := make([]ledger.End, len(r.Ends))
	for i := range r.Ends {
		ends[i] = r.Ends[i].End(r.Endpoint)
	}
	done, err := s.stores.Attempts.FinishAttempts(ctx, ends)
	return &protocol.Done{Done: done}, err
}

func (s *Server) attempts(ctx context.Context, r *protocol.Attempts) (*protocol.History, error) {
	attempts, err := s.stores.Attempts.Attempts(ctx, r.TaskID, r.Endpoint)
	for i := range attempts {
		attempts[i].Partial = nil
	}
	return &protocol.History{Attempts: attempts}, err
}

func (s *Server) awaitReboot(ctx context.Context, r *protocol.AwaitReboot) (*protocol.Stored, error) {
	key := tasker.ResultKey{TaskID: r.TaskID, Endpoint: r.Endpoint}
	stored, err := s.stores.Attempts.AwaitReboot(ctx, key, r.Attempt, r.Step, r.Boot)
	return &protocol.Stored{Stored: stored}, err
}

func workList(work []ledger.Work, err error) (*protocol.WorkList, error) {
	answer := &protocol.WorkList{Work: make([]protocol.Work, len(work))}
	for i := range work {
		answer.Work[i] = protocol.WorkOf(&work[i])
	}
	return answer, err
}

func (s *Server) interrupted(ctx context.Context, r *protocol.Interrupted) (*protocol.WorkList, error) {
	return workList(s.stores.Work.InterruptedWork(ctx, r.Manager, r.Endpoint, r.Limit))
}

func (s *Server) waiting(ctx context.Context, r *protocol.Waiting) (*protocol.WorkList, error) {
	return workList(s.stores.Work.WaitingWork(ctx, r.Endpoint, r.TaskType, r.Limit))
}

func (s *Server) due(ctx context.Context, r *protocol.Due) (*protocol.WorkList, error) {
	return workList(s.stores.Work.DueWork(ctx, r.Endpoint, r.TaskType, r.Limit))
}

func (s *Server) nextRetry(ctx context.Context, r *protocol.NextRetry) (*protocol.Next, error) {
	next, ok, err := s.stores.Work.NextRetry(ctx, r.Endpoint, r.TaskType)
	if !ok || err != nil {
		return &protocol.Next{}, err
	}
	return &protocol.Next{Time: &next}, nil
}

func (s *Server) live(ctx context.Context, r *protocol.Live) (*protocol.Empty, error) {
	updates := make([]ledger.LiveUpdate, len(r.Updates))
	for i := range r.Updates {
		updates[i] = r.Updates[i].Update(r.Endpoint)
	}
	return &protocol.Empty{}, s.stores.Live.SaveLive(ctx, updates)
}
