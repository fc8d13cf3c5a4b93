package manager

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
)

// finishAttempt stores the end of an attempt, however long the database is
// away. Meanwhile the end is kept in the spool; where the manager has to end
// before, it stays there for the next manager of the endpoint.
//
// Where the run has a report, its last is stored before, if that is quick: who
// sees the end shall find the whole log.
func (m *Manager) finishAttempt(ctx context.Context, e *executor, work ledger.Work, finish ledger.End, report *report) {
	log := func() *slog.Logger { return e.runLog(work).With("state", finish.State) }
	kept := m.keepLater(ctx, finish)
	if report != nil {
		m.flusher.await(report)
	}
	end, err := m.results.Do(finish)
	if err == nil && end.err != nil {
		end, err = m.finishAlone(ctx, log(), kept, finish, end.err)
	}
	switch spooled := err != nil && kept.now(); {
	case err == nil:
	case spooled:
		log().WarnContext(ctx, "the result is not stored yet: it stays in the spool for the next manager of this endpoint", "err", err)
		return
	default:
		log().ErrorContext(ctx, "the result could not be stored: it will count as interrupted", "err", err)
		return
	}
	kept.remove()
	if !end.stored {
		// As well where it was stored with an answer that was lost.
		log().WarnContext(ctx, "the result was not stored: the attempt is not the current one, or was stored before",
			"errnr", finish.Errnr, "errmsg", finish.Errmsg, "payload", string(finish.Payload))
	}
	m.tellEnd(work, end)
	if end.state == tasker.Retrying {
		e.retryBy(m.store.Now().Add(finish.RetryDelay))
	}
}

const (
	// alonePause is the first pause before a result that failed by itself is
	// tried again, and refusedPause the longest.
	alonePause, refusedPause = 100 * time.Millisecond, time.Minute
	// maxFailures is how often the connection may break over a result, alone
	// and while the database takes other statements, before the result is stored
	// without its payload.
	maxFailures = 5
)

// finishAlone stores the end of an attempt that the database did not take by
// itself, beside all others, and tries on with growing pauses until the manager
// ends: as long as it lives, the attempt stays its own.
func (m *Manager) finishAlone(ctx context.Context, log *slog.Logger, kept *keeping, finish ledger.End, why error) (ending, error) {
	failures := 0
	for pause := alonePause; ; pause = min(3*pause, refusedPause) {
		log.WarnContext(ctx, "the database does not take the result, which is tried again by itself", "spooled", kept.now(), "err", why)
		select {
		case <-time.After(pause):
		case <-m.alone.Ended():
		}
		end, err := m.storeAlone(ctx, finish, &failures)
		if err != nil || end.err == nil {
			return end, err
		}
		why = end.err
	}
}

// storeAlone tries to store the end of an attempt, in a batch of its own. Where
// the connection broke over it too often, and does so now, the attempt is
// stored as failed, without the payload: that is all that can be wrong with it.
// What the server answers, a full disk for one, does not count: it may end.
func (m *Manager) storeAlone(ctx context.Context, finish ledger.End, failures *int) (ending, error) {
	end, err := m.alone.Do(finish)
	if err != nil || end.err == nil {
		return end, err
	}
	if !m.store.Answered(end.err) {
		*failures++
	}
	if *failures < maxFailures || finish.Payload == nil {
		return end, nil
	}
	// Once more as it is, and at once without the payload: where the database
	// has come back meanwhile, nothing is lost.
	whole, err := m.finishOnce(ctx, finish)
	if err == nil {
		return whole, nil
	}
	if part, err := m.finishOnce(ctx, unstorable(finish, err)); err == nil {
		return part, nil
	}
	return end, nil
}

func (m *Manager) finishOnce(ctx context.Context, finish ledger.End) (ending, error) {
	var stored []bool
	batch := []ledger.End{finish}
	err := try(ctx, func(ctx context.Context) (err error) {
		stored, err = m.store.FinishAttempts(ctx, batch)
		return err
	})
	if err != nil {
		return ending{}, err
	}
	m.notify(ctx, batch)
	return ending{stored: stored[0], state: finish.State, errnr: finish.Errnr}, nil
}

// unstorable is the end of an attempt whose payload cannot be stored.
func unstorable(finish ledger.End, err error) ledger.End {
	finish.Errmsg = attempt.Clean(fmt.Sprintf("the result of %d bytes could not be stored: %v", len(finish.Payload), err))
	finish.State, finish.Errnr, finish.Payload, finish.RetryDelay = tasker.ResultFailed, tasker.ErrnrBadResult, nil, 0
	return finish
}

// tellEnd tells live views how an attempt ended.
func (m *Manager) tellEnd(work ledger.Work, end ending) {
	if !end.stored {
		return
	}
	change := changed(&work.Task, work.Endpoint, work.Attempt, end.state)
	change.Errnr = end.errnr
	m.changes.add(change)
}

// started is whether an attempt was started, or why the database does not take
// that.
type started = outcome[bool]

// storeStarts counts a batch of attempts that begin.
func (m *Manager) storeStarts(ctx context.Context, batch []ledger.Start) ([]started, error) {
	return inParts(ctx, m, "start the attempts", 1, batch, func(ctx context.Context, batch []ledger.Start) ([]bool, error) {
		return m.store.StartAttempts(ctx, m.id, batch)
	})
}

// ending is what became of the end of an attempt: stored or, where the
// attempt was not the current one, not; or an error, where the database does not
// take it although it takes others.
type ending struct {
	stored bool
	state  tasker.ResultState // as it is stored
	errnr  int
	err    error
}

// storeFinishes writes a batch of ended attempts, and tells the aggregation
// about the results that ended. Of an attempt whose payload the database
// refuses, the end counts: it is stored as failed. An error means that ctx has
// ended.
func (m *Manager) storeFinishes(ctx context.Context, batch []ledger.End) ([]ending, error) {
	batch = slices.Clone(batch)
	outcomes, err := inParts(ctx, m, "store the results", 1, batch, m.store.FinishAttempts)
	if err != nil {
		return nil, err
	}
	for i, o := range outcomes {
		if !isRefusal(o.err) || batch[i].Payload == nil {
			continue
		}
		batch[i] = unstorable(batch[i], o.err)
		again, err := inParts(ctx, m, "store the results", 1, batch[i:i+1], m.store.FinishAttempts)
		if err != nil {
			return nil, err
		}
		outcomes[i] = again[0]
	}
	ends := make([]ending, len(batch))
	var written []ledger.End
	for i, o := range outcomes {
		ends[i] = ending{stored: o.out, state: batch[i].State, errnr: batch[i].Errnr, err: o.err}
		if o.err == nil {
			written = append(written, batch[i])
		}
	}
	m.notify(ctx, written)
	return ends, nil
}

// notify tells the aggregation which tasks had results that ended. It is a
// hint: where it gets lost, the tasks are found a little later.
func (m *Manager) notify(ctx context.Context, batch []ledger.End) {
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
