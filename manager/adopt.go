package manager

import (
	"context"
	"fmt"
	"slices"

	"github.com/taskerhq/tasker"
)

// adopt takes over what an earlier manager of the endpoints left. Results that
// were called lost are back. Ends of attempts that it could not store are in
// the spool, if it ran on this machine. Those that are RUNNING even then were
// interrupted: that was a failed attempt, which policy may repeat. Those that
// wait are picked up by the executors.
func (m *Manager) adopt(ctx context.Context) error {
	for _, endpoint := range m.cfg.Endpoints {
		if err := m.takeBackLost(ctx, endpoint); err != nil {
			return err
		}
		if err := m.deliverSpooled(ctx, endpoint); err != nil {
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
// one, which holds the endpoint: there is nobody any more who runs them.
func (m *Manager) adoptInterrupted(ctx context.Context, endpoint string) error {
	retry := map[string]tasker.RetryPolicy{}
	for _, t := range m.cfg.TaskTypes {
		retry[t.Name] = t.Retry
	}
	for idle := 0; ; {
		var interrupted []tasker.Work
		err := m.persist(ctx, "read the interrupted results", func(ctx context.Context) (err error) {
			interrupted, err = m.store.InterruptedWork(ctx, m.id, endpoint, batchSize)
			return err
		})
		if err != nil || len(interrupted) == 0 {
			return err
		}
		finishes := make([]tasker.Finish, len(interrupted))
		for i, work := range interrupted {
			finishes[i] = tasker.Finish{
				ResultKey: work.Key(), Attempt: work.Attempt, State: tasker.ResultFailed, Errnr: tasker.ErrnrInterrupted,
				Errmsg: fmt.Sprintf("interrupted: the manager of endpoint %s ended during attempt %d", endpoint, work.Attempt),
			}
			if delay, ok := retry[work.Task.Type].Next(work.Attempt); ok {
				finishes[i].State, finishes[i].RetryDelay = tasker.Retrying, delay
			}
		}
		ends, err := m.storeFinishes(ctx, finishes)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(ends, func(e ending) bool { return e.stored }) {
			// They were stored and the answer got lost, or their manager had
			// just stored their ends: then the next round does not find them.
			if idle++; idle == adoptRounds {
				return fmt.Errorf("none of %d interrupted results could be stored", len(finishes))
			}
			continue
		}
		m.log.WarnContext(ctx, "adopted results of attempts that were interrupted", "endpoint", endpoint, "results", len(finishes))
	}
}
