package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/ledger"
)

// clientAttempts implements manager.Attempts.
type clientAttempts struct{ *connection }

// begin starts, gives back or resumes attempts.
func (c clientAttempts) begin(
	ctx context.Context, operation string, list []ledger.Start,
	request func(scope protocol.Scope, manager string, items []protocol.Started) protocol.Request,
) ([]bool, error) {
	done := make([]bool, len(list))
	parts := groups(list, c.cfg.MaxBody,
		func(s *ledger.Start) (string, string) { return s.Endpoint, s.Manager }, func(*ledger.Start) int { return overhead })
	err := each(ctx, parts, func(ctx context.Context, g group) error {
		items := make([]protocol.Started, len(g.indexes))
		for n, i := range g.indexes {
			items[n] = protocol.Started{TaskID: list[i].TaskID, Attempt: list[i].Attempt}
		}
		answer, err := call[protocol.Done](ctx, c.connection, g.endpoint, operation,
			request(protocol.Scope{Endpoint: g.endpoint}, g.manager, items))
		return c.spread(done, answer.Done, g, operation, err)
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// spread stores the answers to a group in done.
func (c *connection) spread(done, answers []bool, g group, operation string, err error) error {
	if err == nil {
		err = c.complete(len(answers), len(g.indexes), operation)
	}
	if err != nil {
		return err
	}
	for n, i := range g.indexes {
		done[i] = answers[n]
	}
	return nil
}

// complete returns an error unless an answer has as many items as the request.
func (c *connection) complete(got, want int, operation string) error {
	if got == want {
		return nil
	}
	return c.lost(errors.New("it has another number of items than the request"), "unreadable answer to "+operation)
}

// StartAttempts is manager.Attempts.StartAttempts.
func (c clientAttempts) StartAttempts(ctx context.Context, list []ledger.Start) ([]bool, error) {
	return c.begin(ctx, protocol.OpStart, list, func(scope protocol.Scope, manager string, items []protocol.Started) protocol.Request {
		return &protocol.Start{Scope: scope, Manager: manager, Starts: items}
	})
}

// ReturnAttempts is manager.Attempts.ReturnAttempts. A gateway that is older than
// the operation answers [tasker.NotFound].
func (c clientAttempts) ReturnAttempts(ctx context.Context, list []ledger.Start) ([]bool, error) {
	return c.begin(ctx, protocol.OpGiveBack, list, func(scope protocol.Scope, manager string, items []protocol.Started) protocol.Request {
		return &protocol.GiveBack{Scope: scope, Manager: manager, Starts: items}
	})
}

// ResumeAttempts is manager.Attempts.ResumeAttempts.
func (c clientAttempts) ResumeAttempts(ctx context.Context, list []ledger.Start) ([]bool, error) {
	return c.begin(ctx, protocol.OpResume, list, func(scope protocol.Scope, manager string, items []protocol.Started) protocol.Request {
		return &protocol.Resume{Scope: scope, Manager: manager, Starts: items}
	})
}

// FinishAttempts is manager.Attempts.FinishAttempts.
func (c clientAttempts) FinishAttempts(ctx context.Context, ends []ledger.End) (stored []bool, err error) {
	stored = make([]bool, len(ends))
	parts := groups(ends, c.cfg.MaxBody,
		func(e *ledger.End) (string, string) { return e.Endpoint, "" },
		func(e *ledger.End) int { return len(e.Payload) + len(e.Errmsg) + overhead })
	err = each(ctx, parts, func(ctx context.Context, g group) error {
		items := make([]protocol.End, len(g.indexes))
		for n, i := range g.indexes {
			items[n] = protocol.EndOf(&ends[i])
		}
		answer, err := call[protocol.Done](ctx, c.connection, g.endpoint, protocol.OpFinish, &protocol.Finish{
			Scope: protocol.Scope{Endpoint: g.endpoint}, Ends: items,
		})
		return c.spread(stored, answer.Done, g, protocol.OpFinish, err)
	})
	return stored, err
}

// Attempts is manager.Attempts.Attempts, without partial results.
func (c clientAttempts) Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error) {
	answer, err := call[protocol.History](ctx, c.connection, endpoint, protocol.OpAttempts, &protocol.Attempts{
		Scope: protocol.Scope{Endpoint: endpoint}, TaskID: taskID,
	})
	return answer.Attempts, err
}

// AwaitReboot is manager.Attempts.AwaitReboot.
func (c clientAttempts) AwaitReboot(
	ctx context.Context, key tasker.ResultKey, attempt, step int, boot string,
) (stored bool, err error) {
	answer, err := call[protocol.Stored](ctx, c.connection, key.Endpoint, protocol.OpAwaitReboot, &protocol.AwaitReboot{
		Scope: protocol.Scope{Endpoint: key.Endpoint}, TaskID: key.TaskID, Attempt: attempt, Step: step, Boot: boot,
	})
	return answer.Stored, err
}

// clientWork implements manager.Work.
type clientWork struct{ *connection }

func (c clientWork) work(ctx context.Context, endpoint, operation string, request protocol.Request) ([]ledger.Work, error) {
	answer, err := call[protocol.WorkList](ctx, c.connection, endpoint, operation, request)
	work := make([]ledger.Work, len(answer.Work))
	for i := range answer.Work {
		work[i] = answer.Work[i].Work(endpoint)
	}
	return work, err
}

// UnfinishedWork is manager.Work.UnfinishedWork.
func (c clientWork) UnfinishedWork(ctx context.Context, manager, endpoint string) (ledger.Unfinished, error) {
	answer, err := call[protocol.UnfinishedKinds](ctx, c.connection, endpoint, protocol.OpUnfinished, &protocol.Unfinished{
		Scope: protocol.Scope{Endpoint: endpoint}, Manager: manager,
	})
	return ledger.Unfinished{Lost: answer.Lost, Interrupted: answer.Interrupted, Waiting: answer.Waiting, Canceled: answer.Canceled}, err
}

// InterruptedWork is manager.Work.InterruptedWork.
func (c clientWork) InterruptedWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error) {
	return c.work(ctx, endpoint, protocol.OpInterrupted, &protocol.Interrupted{
		Scope: protocol.Scope{Endpoint: endpoint}, Manager: manager, Limit: limit,
	})
}

// CanceledWork is manager.Work.CanceledWork. A gateway of an older release knows of
// none.
func (c clientWork) CanceledWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error) {
	work, err := c.work(ctx, endpoint, protocol.OpCanceled, &protocol.Canceled{
		Scope: protocol.Scope{Endpoint: endpoint}, Manager: manager, Limit: limit,
	})
	if tasker.CodeOf(err) == tasker.NotFound {
		return nil, nil
	}
	return work, err
}

// WaitingWork is manager.Work.WaitingWork.
func (c clientWork) WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	return c.work(ctx, endpoint, protocol.OpWaiting, &protocol.Waiting{
		Scope: protocol.Scope{Endpoint: endpoint}, TaskType: taskType, Limit: limit,
	})
}

// DueWork is manager.Work.DueWork.
func (c clientWork) DueWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error) {
	return c.work(ctx, endpoint, protocol.OpDue, &protocol.Due{
		Scope: protocol.Scope{Endpoint: endpoint}, TaskType: taskType, Limit: limit,
	})
}

// NextRetry is manager.Work.NextRetry.
func (c clientWork) NextRetry(ctx context.Context, endpoint, taskType string) (next time.Time, ok bool, err error) {
	answer, err := call[protocol.Next](ctx, c.connection, endpoint, protocol.OpNextRetry, &protocol.NextRetry{
		Scope: protocol.Scope{Endpoint: endpoint}, TaskType: taskType,
	})
	if err != nil || answer.Time == nil {
		return time.Time{}, false, err
	}
	return *answer.Time, true, nil
}

// clientLive implements manager.Live.
type clientLive struct{ *connection }

// SaveLive is manager.Live.SaveLive.
func (c clientLive) SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error {
	parts := groups(updates, c.cfg.MaxBody, func(u *ledger.LiveUpdate) (string, string) { return u.Endpoint, "" }, liveSize)
	return each(ctx, parts, func(ctx context.Context, g group) error {
		items := make([]protocol.LiveUpdate, len(g.indexes))
		for n, i := range g.indexes {
			items[n] = protocol.LiveUpdateOf(&updates[i])
		}
		_, err := call[protocol.Empty](ctx, c.connection, g.endpoint, protocol.OpLive, &protocol.Live{
			Scope: protocol.Scope{Endpoint: g.endpoint}, Updates: items,
		})
		return err
	})
}

// liveSize returns roughly the size of an update in a request.
func liveSize(u *ledger.LiveUpdate) int {
	size := overhead + len(u.Partial)
	for _, line := range u.Lines {
		size += overhead + len(line.Text)
	}
	return size
}

// clientDatabase implements manager.Database.
type clientDatabase struct{ *connection }

// Now returns the time by the database's clock, as the gateway told it.
func (c clientDatabase) Now() time.Time { return c.clock.now() }

// Answered reports whether err is an answer of the database or of the gateway,
// and not the loss of a connection.
func (clientDatabase) Answered(err error) bool {
	e, ok := errors.AsType[*answerError](err)
	return ok && e.answered
}
