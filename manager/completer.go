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
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/batch"
)

const (
	// minAlonePause and maxAlonePause bound the pauses between the tries to store
	// an end that failed alone.
	minAlonePause, maxAlonePause = 100 * time.Millisecond, time.Minute
	// maxFailures is how often the connection may be lost over an end, alone and
	// while the database takes other statements, before the end is stored without
	// its payload.
	maxFailures = 5
)

// completer stores the ends of attempts, in common batches, however long the
// database is unavailable; meanwhile they are in the spool.
type completer struct {
	store     Attempts
	database  Database
	db        *database
	spooler   *spooler
	telemetry *telemetry
	events    *livefeed.Feed
	notify    livefeed.NotifyFunc
	attempts  observe.Counter
	log       *slog.Logger
	together  *batch.Writer[ledger.End, completion]
	alone     *batch.Writer[ledger.End, completion] // one end at a time
}

// completion is what became of the end of an attempt. It is not stored if its
// attempt is not the current one. err is set if the database does not take it
// although it takes others.
type completion struct {
	stored bool
	state  tasker.ResultState // as stored
	errnr  int
	err    error
}

func newCompleter(c completer) *completer {
	c.together = batch.New(maxBatch, c.storeAll)
	c.alone = batch.New(1, c.storeAll)
	return &c
}

// complete stores the end of an attempt. If the manager stops before the database
// takes it, the end stays in the spool for the next manager of the endpoint.
//
// If the run has a report, complete first waits for a short time until that is
// stored: a reader who sees the end should find the whole log.
func (c *completer) complete(ctx context.Context, log *slog.Logger, work *ledger.Work, end ledger.End, report *report) followUp {
	pending := c.spooler.hold(end)
	if report != nil {
		c.telemetry.await(report)
	}
	done, err := c.together.Do(end)
	if err == nil && done.err != nil {
		done, err = c.retryAlone(ctx, log, pending, end, done.err)
	}
	if err != nil {
		if pending.write() {
			log.WarnContext(ctx, "result not stored yet: it stays in the spool for the next manager of this endpoint",
				"state", end.State, "err", err)
		} else {
			log.ErrorContext(ctx, "could not store the result: its attempt will count as interrupted", "state", end.State, "err", err)
		}
		return followUp{}
	}
	pending.remove()
	if !done.stored {
		// This also happens if it was stored and the answer was lost.
		log.WarnContext(ctx, "result not stored: its attempt is not the current one or was stored before",
			"state", end.State, "errnr", end.Errnr, "errmsg", end.Errmsg, "payload", string(end.Payload))
	}
	c.report(work, done)
	if !done.stored {
		return followUp{rescan: true} // the task may have been retried while this endpoint was lost
	}
	if done.state == tasker.Retrying {
		return followUp{retryAt: c.database.Now().Add(end.RetryDelay)}
	}
	return followUp{}
}

// retryAlone stores an end that failed alone, beside all others and with growing
// pauses, until the manager stops: until then the attempt remains its own.
func (c *completer) retryAlone(
	ctx context.Context, log *slog.Logger, pending *pendingWrite, end ledger.End, failed error,
) (completion, error) {
	failures := 0
	for pause := minAlonePause; ; pause = min(3*pause, maxAlonePause) {
		log.WarnContext(ctx, "could not store the result: retrying it alone", "state", end.State, "spooled", pending.write(), "err", failed)
		select {
		case <-time.After(pause):
		case <-c.alone.Ended():
		}
		done, err := c.storeAlone(ctx, end, &failures)
		if err != nil || done.err == nil {
			return done, err
		}
		failed = done.err
	}
}

// storeAlone tries to store an end in a batch of its own. If the connection was
// lost over it too often, and is again, the attempt is stored as failed, without
// the payload: nothing else can be wrong with it. Answers of the server, such as a
// full disk, do not count: they may change.
func (c *completer) storeAlone(ctx context.Context, end ledger.End, failures *int) (completion, error) {
	done, err := c.alone.Do(end)
	if err != nil || done.err == nil {
		return done, err
	}
	if !c.database.Answered(done.err) {
		*failures++
	}
	if *failures < maxFailures || end.Payload == nil {
		return done, nil
	}
	// Once more with the payload and then at once without it: if the database has
	// become available meanwhile, nothing is lost.
	whole, err := c.storeOnce(ctx, end)
	if err == nil {
		return whole, nil
	}
	if part, err := c.storeOnce(ctx, withoutPayload(end, err)); err == nil {
		return part, nil
	}
	return done, nil
}

func (c *completer) storeOnce(ctx context.Context, end ledger.End) (completion, error) {
	var stored []bool
	ends := []ledger.End{end}
	err := call(ctx, func(ctx context.Context) (err error) {
		stored, err = c.store.FinishAttempts(ctx, ends)
		return err
	})
	if err != nil {
		return completion{}, err
	}
	c.notifyEnded(ctx, ends)
	return completion{stored: stored[0], state: end.State, errnr: end.Errnr}, nil
}

// withoutPayload returns the end of an attempt whose payload cannot be stored.
func withoutPayload(end ledger.End, err error) ledger.End {
	end.Errmsg = attempt.Clean(fmt.Sprintf("the result of %d bytes could not be stored: %v", len(end.Payload), err))
	end.State, end.Errnr, end.Payload, end.RetryDelay = tasker.ResultFailed, tasker.ErrnrBadResult, nil, 0
	return end
}

// storeAll stores a batch of ends. If the database refuses the payload of one, its
// attempt is stored as failed. The error is the cause if ctx ends.
func (c *completer) storeAll(ctx context.Context, ends []ledger.End) ([]completion, error) {
	ends = slices.Clone(ends)
	const operation = "store the ends of attempts"
	results, err := writeBatch(ctx, c.db, operation, 1, ends, c.store.FinishAttempts)
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		if !isRefusal(r.err) || ends[i].Payload == nil {
			continue
		}
		ends[i] = withoutPayload(ends[i], r.err)
		once, err := writeBatch(ctx, c.db, operation, 1, ends[i:i+1], c.store.FinishAttempts)
		if err != nil {
			return nil, err
		}
		results[i] = once[0]
	}
	done := make([]completion, len(ends))
	var stored []ledger.End
	for i, r := range results {
		done[i] = completion{stored: r.out, state: ends[i].State, errnr: ends[i].Errnr, err: r.err}
		if r.err == nil {
			stored = append(stored, ends[i])
		}
	}
	c.notifyEnded(ctx, stored)
	return done, nil
}

// report counts the end of an attempt, and tells live views how an attempt ended.
func (c *completer) report(work *ledger.Work, done completion) {
	if !done.stored {
		return
	}
	c.attempts.Inc(work.Task.Type, string(done.state))
	change := livefeed.ChangeOf(&work.Task, work.Endpoint, work.Attempt, done.state)
	change.Errnr = done.errnr
	c.events.Add(change)
}

// notifyEnded tells the aggregation which tasks have results that ended. If the
// event is lost, the aggregation finds them a little later.
func (c *completer) notifyEnded(ctx context.Context, ends []ledger.End) {
	var tasks []int64
	seen := map[int64]bool{}
	for _, end := range ends {
		if end.State.Finished() && !seen[end.TaskID] {
			seen[end.TaskID] = true
			tasks = append(tasks, end.TaskID)
		}
	}
	if len(tasks) == 0 {
		return
	}
	body, err := wire.EncodeResultsEnded(tasks)
	if err == nil {
		err = c.notify(ctx, wire.KeyResultsEnded, body)
	}
	if err != nil {
		c.log.DebugContext(ctx, "could not notify the aggregation", "err", err)
	}
}
