package manager

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/verdict"
	"github.com/taskerhq/tasker/internal/wire"
)

// finishAttempt stores the end of an attempt, however long the database is
// away. Meanwhile the end is kept in the spool; where the manager has to end
// before, it stays there for the next manager of the endpoint.
//
// Where the run has a report, its last is stored before, if that is quick: who
// sees the end shall find the whole log.
func (m *Manager) finishAttempt(ctx context.Context, e *executor, work tasker.Work, finish tasker.Finish, report *report) {
	log := func() *slog.Logger { return e.runLog(work).With("state", finish.State) }
	kept := m.keepLater(ctx, finish)
	if report != nil {
		m.flusher.await(report)
	}
	for {
		end, err := m.results.do(finish)
		if err == nil && end.err == nil {
			kept.remove()
			if !end.stored {
				// As well where it was stored with an answer that was lost.
				log().WarnContext(ctx, "the result was not stored: the attempt is not the current one, or was stored before",
					"errnr", finish.Errnr, "errmsg", finish.Errmsg, "payload", string(finish.Payload))
			}
			m.tellEnd(work, end)
			break
		}
		switch spooled := kept.now(); {
		case err == nil:
			// As long as this manager lives, the attempt stays its own.
			log().ErrorContext(ctx, "the database refuses the result, which is tried again", "spooled", spooled, "err", end.err)
			select {
			case <-time.After(refusedPause):
			case <-m.results.ended:
			}
			continue
		case spooled:
			log().WarnContext(ctx, "the result is not stored yet: it stays in the spool for the next manager of this endpoint", "err", err)
		default:
			log().ErrorContext(ctx, "the result could not be stored: it will count as interrupted", "err", err)
		}
		return
	}
	if finish.State == tasker.Retrying {
		e.retryBy(m.store.Now().Add(finish.RetryDelay))
	}
}

// tellEnd tells live views how an attempt ended.
func (m *Manager) tellEnd(work tasker.Work, end ending) {
	if !end.stored {
		return
	}
	change := changed(&work.Task, work.Endpoint, work.Attempt, end.state)
	change.Errnr = end.errnr
	m.changes.add(change)
}

// refusedPause lies between two tries of what the database refuses.
const refusedPause = time.Minute

// storeStarts counts a batch of attempts that begin.
func (m *Manager) storeStarts(ctx context.Context, batch []tasker.Start) (started []bool, err error) {
	err = m.persist(ctx, "start the attempts", func(ctx context.Context) (err error) {
		started, err = m.store.StartAttempts(ctx, m.id, batch)
		return err
	})
	return started, err
}

// ending is what became of the end of an attempt: stored or, where the
// attempt was not the current one, not; or an error that waiting does not mend.
type ending struct {
	stored bool
	state  tasker.ResultState // as it is stored
	errnr  int
	err    error
}

// storeFinishes writes a batch of ended attempts, and tells the aggregation
// about the results that ended. An error means that ctx has ended.
func (m *Manager) storeFinishes(ctx context.Context, batch []tasker.Finish) ([]ending, error) {
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
		ends := make([]ending, len(batch))
		for i := range batch {
			one, err := m.storeFinishes(ctx, batch[i:i+1])
			if err != nil {
				return nil, err
			}
			ends[i] = one[0]
		}
		return ends, nil
	case batch[0].Payload != nil:
		// The payload is all that can be wrong with it: the end itself counts.
		finish := batch[0]
		finish.State, finish.Errnr, finish.Payload = tasker.ResultFailed, tasker.ErrnrBadResult, nil
		finish.Errmsg = verdict.Clean(fmt.Sprintf("the result could not be stored: %v", err))
		return m.storeFinishes(ctx, []tasker.Finish{finish})
	default:
		return []ending{{err: err}}, nil
	}
	m.notify(ctx, batch)
	ends := make([]ending, len(batch))
	for i := range ends {
		ends[i] = ending{stored: stored[i], state: batch[i].State, errnr: batch[i].Errnr}
	}
	return ends, nil
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
