package manager

import (
	"context"
	"fmt"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

// finishAttempt stores the end of an attempt, however long the database is
// away, unless the manager has to end before.
func (m *Manager) finishAttempt(ctx context.Context, e *executor, finish tasker.Finish) {
	stored, err := m.results.do(finish)
	switch {
	case err != nil:
		m.log.ErrorContext(ctx, "the result could not be stored: it will count as interrupted",
			"endpoint", finish.Endpoint, "task_id", finish.TaskID, "attempt", finish.Attempt, "state", finish.State, "err", err)
	case !stored:
		m.log.WarnContext(ctx, "the result was not stored: the attempt is not the current one, or was stored before",
			"endpoint", finish.Endpoint, "task_id", finish.TaskID, "attempt", finish.Attempt, "state", finish.State)
	case finish.State == tasker.Retrying:
		e.retryBy(m.store.Now().Add(finish.RetryDelay))
	}
}

// storeStarts counts a batch of attempts that begin.
func (m *Manager) storeStarts(ctx context.Context, batch []tasker.Start) (started []bool, err error) {
	err = m.persist(ctx, "start the attempts", func(ctx context.Context) (err error) {
		started, err = m.store.StartAttempts(ctx, m.id, batch)
		return err
	})
	return started, err
}

// storeFinishes writes a batch of ended attempts, and tells the aggregation
// about the results that ended.
func (m *Manager) storeFinishes(ctx context.Context, batch []tasker.Finish) ([]bool, error) {
	var stored []bool
	err := m.persist(ctx, "store the results", func(ctx context.Context) (err error) {
		stored, err = m.store.FinishAttempts(ctx, batch)
		return err
	})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, err
	case len(batch) > 1:
		// One of them is what the database does not take: find it.
		stored = make([]bool, len(batch))
		for i, finish := range batch {
			one, err := m.storeFinishes(ctx, []tasker.Finish{finish})
			if err != nil {
				m.log.ErrorContext(ctx, "a result could not be stored", "task_id", finish.TaskID, "endpoint", finish.Endpoint, "err", err)
				continue
			}
			stored[i] = one[0]
		}
		return stored, nil
	case batch[0].Payload != nil:
		// The payload is all that can be wrong with it: the end itself counts.
		finish := batch[0]
		finish.State, finish.Errnr, finish.Payload = tasker.ResultFailed, tasker.ErrnrBadResult, nil
		finish.Errmsg = clean(fmt.Sprintf("the result could not be stored: %v", err))
		return m.storeFinishes(ctx, []tasker.Finish{finish})
	default:
		return nil, err
	}
	m.notify(ctx, batch)
	return stored, nil
}

// notify tells the aggregation which tasks had results that ended. It is a
// hint: where it gets lost, the tasks are found a little later.
func (m *Manager) notify(ctx context.Context, batch []tasker.Finish) {
	var ended []int64
	seen := map[int64]bool{}
	for _, finish := range batch {
		if finish.State.Finished() && !seen[finish.TaskID] {
			seen[finish.TaskID] = true
			ended = append(ended, finish.TaskID)
		}
	}
	if len(ended) == 0 {
		return
	}
	body, err := wire.EncodeResultsEnded(ended)
	if err == nil {
		err = m.broker.Notify(ctx, wire.KeyResultsEnded, body)
	}
	if err != nil {
		m.log.DebugContext(ctx, "the aggregation was not told", "err", err)
	}
}
