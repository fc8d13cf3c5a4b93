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
	err := m.persist(ctx, "take back lost results", func(ctx context.Context) error {
		_, err := m.store.ReturnFromLost(ctx, m.cfg.Endpoints)
		return err
	})
	if err != nil {
		return err
	}
	for _, endpoint := range m.cfg.Endpoints {
		if err := m.deliverSpooled(ctx, endpoint); err != nil {
			return err
		}
		if err := m.adoptInterrupted(ctx, endpoint); err != nil {
			return fmt.Errorf("adopt the results of endpoint %s: %w", endpoint, err)
		}
	}
	return nil
}

func (m *Manager) adoptInterrupted(ctx context.Context, endpoint string) error {
	retry := map[string]tasker.RetryPolicy{}
	for _, t := range m.cfg.TaskTypes {
		retry[t.Name] = t.Retry
	}
	for {
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
			return fmt.Errorf("none of %d interrupted results could be stored", len(finishes))
		}
		m.log.WarnContext(ctx, "adopted results of attempts that were interrupted", "endpoint", endpoint, "results", len(finishes))
	}
}
