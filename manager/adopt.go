package manager

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/attempt"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// adoptRounds bounds how often the same results may fail to be adopted.
const adoptRounds = 5

// adopter takes over what earlier managers of the endpoints left. Results that
// were declared lost are taken back. Those that are RUNNING were interrupted, unless
// their ends are in the spool: that was a failed attempt, which the retry policy may
// repeat. The feeders read those that wait.
type adopter struct {
	endpoints Endpoints
	work      Work
	manager   string
	boot      string
	db        *database
	pools     *pools
	leftovers *leftovers
	completer *completer
	log       *slog.Logger
}

// adopt adopts the results of endpoints before tasks are taken.
func (a *adopter) adopt(ctx context.Context, endpoints []string) error {
	for _, endpoint := range endpoints {
		unfinished, err := a.adoptOne(ctx, endpoint)
		if err != nil {
			return fmt.Errorf("adopt the results of endpoint %s: %w", endpoint, err)
		}
		if !unfinished.Any() {
			for _, p := range a.pools.at(endpoint) {
				p.settle()
			}
		}
	}
	return nil
}

// adoptOne adopts the results of an endpoint, and returns what it found. It looks
// first, by one statement: as a rule there is nothing.
func (a *adopter) adoptOne(ctx context.Context, endpoint string) (unfinished ledger.Unfinished, err error) {
	unfinished, err = a.unfinished(ctx, endpoint)
	if err == nil && unfinished.Lost {
		err = a.returnFromLost(ctx, endpoint)
	}
	if err == nil && (unfinished.Lost || unfinished.Interrupted) {
		err = a.adoptInterrupted(ctx, endpoint)
	}
	if err == nil && unfinished.Canceled {
		err = a.stopCanceled(ctx, endpoint)
	}
	return unfinished, err
}

// unfinished returns which kinds of unfinished results an endpoint has.
func (a *adopter) unfinished(ctx context.Context, endpoint string) (unfinished ledger.Unfinished, err error) {
	err = a.db.retry(ctx, "look for unfinished results", func(ctx context.Context) (err error) {
		unfinished, err = a.work.UnfinishedWork(ctx, a.manager, endpoint)
		return err
	})
	return unfinished, err
}

// stopCanceled ends the runs at an endpoint that were told to stop. The end of one
// that no pool knows is stored at once: the answer that it was to run was lost, or it
// was given back too late, and the mark in its row keeps it from starting.
func (a *adopter) stopCanceled(ctx context.Context, endpoint string) error {
	var found []ledger.Work
	err := a.db.retry(ctx, "read the canceled results", func(ctx context.Context) (err error) {
		found, err = a.work.CanceledWork(ctx, a.manager, endpoint, maxCanceled)
		return err
	})
	if err != nil {
		return err
	}
	var unknown []ledger.Work
	for _, work := range found {
		p := a.pools.get(broker.Queue{TaskType: work.Task.Type, Endpoint: endpoint})
		if p == nil || !p.CancelRun(work.Task.ID, canceledBy(work.Canceled)) {
			unknown = append(unknown, work)
			continue
		}
		a.log.InfoContext(ctx, "task canceled", "endpoint", endpoint, "task_id", work.Task.ID, "reason", work.Canceled)
	}
	for part := range slices.Chunk(unknown, batchSize) {
		if _, err := a.end(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (a *adopter) returnFromLost(ctx context.Context, endpoint string) error {
	return a.db.retry(ctx, "take back lost results", func(ctx context.Context) error {
		n, err := a.endpoints.ReturnFromLost(ctx, []string{endpoint})
		if n > 0 {
			a.log.InfoContext(ctx, "took back lost results", "endpoint", endpoint, "results", n)
		}
		return err
	})
}

// adoptInterrupted judges the attempts that run under other managers: this one
// holds the endpoint, so nobody runs them any more.
func (a *adopter) adoptInterrupted(ctx context.Context, endpoint string) error {
	staying := a.leftovers.count() // those that are found again each time
	for failed := 0; ; {
		var found []ledger.Work
		limit := staying + batchSize
		err := a.db.retry(ctx, "read the interrupted results", func(ctx context.Context) (err error) {
			found, err = a.work.InterruptedWork(ctx, a.manager, endpoint, limit)
			return err
		})
		if err != nil {
			return err
		}
		interrupted := a.interrupted(ctx, found)
		staying = len(found) - len(interrupted)
		interrupted = interrupted[:min(len(interrupted), batchSize)]
		if len(interrupted) == 0 {
			if len(found) < limit {
				return nil
			}
			continue
		}
		done, err := a.end(ctx, interrupted)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(done, func(c completion) bool { return c.stored }) {
			a.log.WarnContext(ctx, "adopted interrupted results", "endpoint", endpoint, "results", len(done))
			continue
		}
		// They were stored and the answer was lost, or their manager has just stored
		// their ends: then the next round does not find them.
		if failed++; failed == adoptRounds {
			a.log.ErrorContext(ctx, "could not store interrupted results: retrying with the next resync",
				"endpoint", endpoint, "results", len(done), "err", done[0].err)
			return nil
		}
	}
}

// interrupted returns those of the work found that were interrupted. An attempt
// that awaits a reboot is left to its pool; one whose end is in the spool has ended.
func (a *adopter) interrupted(ctx context.Context, found []ledger.Work) (list []ledger.Work) {
	for _, work := range found {
		if a.leftovers.has(work.Key(), work.Attempt) {
			continue
		}
		p := a.pools.get(broker.Queue{TaskType: work.Task.Type, Endpoint: work.Endpoint})
		if work.AwaitsReboot != "" && work.Canceled == "" && p != nil {
			p.adoptReboot(ctx, work, a.boot)
			continue
		}
		list = append(list, work)
	}
	return list
}

// end stores the ends of interrupted attempts, and of canceled ones.
func (a *adopter) end(ctx context.Context, interrupted []ledger.Work) ([]completion, error) {
	ends := make([]ledger.End, len(interrupted))
	for i, work := range interrupted {
		ends[i] = ledger.End{
			ResultKey: work.Key(), Attempt: work.Attempt, State: tasker.ResultFailed, Errnr: tasker.ErrnrInterrupted,
			Errmsg: fmt.Sprintf("interrupted: the manager of endpoint %s ended during attempt %d", work.Endpoint, work.Attempt),
		}
		if work.Canceled != "" {
			ends[i] = attempt.Cancel(work.Attempt, canceledBy(work.Canceled))
			ends[i].ResultKey = work.Key()
			continue
		}
		if p := a.pools.get(broker.Queue{TaskType: work.Task.Type, Endpoint: work.Endpoint}); p != nil {
			if delay, ok := retryOf(&work.Task, p.bound()).Next(work.Attempt-work.Earlier, rand.Float64); ok {
				ends[i].State, ends[i].RetryDelay = tasker.Retrying, delay
			}
		}
	}
	done, err := a.completer.storeAll(ctx, ends)
	for i := range done {
		a.completer.report(&interrupted[i], done[i])
	}
	return done, err
}
