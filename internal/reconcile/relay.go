package reconcile

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// relay publishes CREATED tasks: those that were taken while the broker was
// away, and those whose API died before it had marked them as SENT. A task
// that was published before that is published again; its endpoints recognize
// it.
type relay struct {
	store      Store
	broker     Broker
	dispatcher Dispatcher
	log        *slog.Logger
}

// relayLease is for how long the tasks that a relay claims are its own: longer
// than a page takes that the broker takes, and how long they wait where it
// dies. Should a page take longer, some tasks are published twice, which their
// endpoints recognize.
const relayLease = 10 * time.Second

func (r *relay) runOnce(ctx context.Context) error {
	for ctx.Err() == nil {
		if r.broker.Ready() != nil {
			return nil // the tasks wait; whoever needs to know asks /readyz
		}
		tasks, err := r.store.ClaimUnsent(ctx, pageSize, relayLease)
		if err != nil || len(tasks) == 0 {
			return err
		}
		var group errgroup.Group
		group.SetLimit(16)
		for _, task := range tasks {
			group.Go(func() error {
				_, err := r.dispatcher.Dispatch(ctx, task)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err // the failed ones were released, and come again
		}
		r.log.InfoContext(ctx, "relayed tasks that had not been sent", "tasks", len(tasks))
	}
	return nil
}
