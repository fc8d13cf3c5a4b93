package manager

import (
	"context"
	"fmt"
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// adopt takes over what an earlier manager of the endpoints left. Results that
// were called lost are back. Those that are RUNNING and whose ends are not in
// the spool were interrupted: that was a failed attempt, which policy may
// repeat. Those that wait are picked up by the executors.
func (m *Manager) adopt(ctx context.Context) error {
	for _, endpoint := range m.cfg.Endpoints {
		if err := m.takeBackLost(ctx, endpoint); err != nil {
			return err
		}
		if err := m.adoptInterrupted(ctx, endpoint); err != nil {
			return fmt.Errorf("adopt the results of endpoint %s: %w", endpoint, err)
		}
	}
	return nil
}

func (m *Manager) takeBackLost(ctx context.Context, endpoint string) error {
	return m.persist(ctx, "take back lost results", func(ctx context.Context) error {
		n, err := m.store.ReturnFromLost(ctx, []string{endpoint})
		if n > 0 {
			m.log.InfoContext(ctx, "results are back from lost", "endpoint", endpoint, "results", n)
		}
		return err
	})
}

// adoptRounds bounds how often the same results may fail to be adopted.
const adoptRounds = 5

// adoptInterrupted judges the attempts that run under other managers than this
// one, which holds the endpoint: there is nobody any more who runs them. Those
// that wait for a reboot are the executors' to resume, and those whose ends are
// in the spool have ended.
func (m *Manager) adoptInterrupted(ctx context.Context, endpoint string) error {
	staying := m.pending.count() // what is found each time, and stays
	for idle := 0; ; {
		var found []ledger.Work
		limit := staying + batchSize
		err := m.persist(ctx, "read the interrupted results", func(ctx context.Context) (err error) {
			found, err = m.store.InterruptedWork(ctx, m.id, endpoint, limit)
			return err
		})
		if err != nil {
			return err
		}
		var interrupted []ledger.Work
		staying = 0
		for _, work := range found {
			if m.pending.has(work.Key(), work.Attempt) {
				staying++
				continue
			}
			e := m.executor(broker.Queue{TaskType: work.Task.Type, Endpoint: endpoint})
			if work.AwaitsReboot != "" && e != nil {
				staying++
				e.adoptRebooting(ctx, work)
				continue
			}
			interrupted = append(interrupted, work)
		}
		interrupted = interrupted[:min(len(interrupted), batchSize)]
		if len(interrupted) == 0 {
			if len(found) < limit {
				return nil
			}
			continue
		}
		finishes := make([]ledger.End, len(interrupted))
		for i, work := range interrupted {
			finishes[i] = ledger.End{
				ResultKey: work.Key(), Attempt: work.Attempt, State: tasker.ResultFailed, Errnr: tasker.ErrnrInterrupted,
				Errmsg: fmt.Sprintf("interrupted: the manager of endpoint %s ended during attempt %d", endpoint, work.Attempt),
			}
			if e := m.executor(broker.Queue{TaskType: work.Task.Type, Endpoint: endpoint}); e != nil {
				if delay, ok := e.performer().Retry.Next(work.Attempt); ok {
					finishes[i].State, finishes[i].RetryDelay = tasker.Retrying, delay
				}
			}
		}
		ends, err := m.storeFinishes(ctx, finishes)
		if err != nil {
			return err
		}
		for i, end := range ends {
			m.tellEnd(interrupted[i], end)
		}
		if !slices.ContainsFunc(ends, func(e ending) bool { return e.stored }) {
			// They were stored and the answer got lost, or their manager had
			// just stored their ends: then the next round does not find them.
			if idle++; idle == adoptRounds {
				m.log.ErrorContext(ctx, "interrupted results could not be stored: they are tried again with the next look",
					"endpoint", endpoint, "results", len(finishes), "err", ends[0].err)
				return nil
			}
			continue
		}
		m.log.WarnContext(ctx, "adopted results of attempts that were interrupted", "endpoint", endpoint, "results", len(finishes))
	}
}
