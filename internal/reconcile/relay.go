package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/taskerhq/tasker/internal/dispatch"
)

// relay makes the further attempts to send CREATED tasks: those that were taken
// while the broker was away or busy, those that it refused or did not confirm,
// and those whose API died before it had marked them as SENT. A task that was
// published before that is published again; its endpoints recognize it.
//
// Tasks come in the order in which they are due, and each rests after an
// attempt: so none keeps the others waiting, however many cannot be sent.
type relay struct {
	store      Store
	broker     Broker
	dispatcher Dispatcher
	log        *slog.Logger
}

// relayPage is how many tasks are tried at once.
const relayPage = 64

func (r *relay) runOnce(ctx context.Context) error {
	for ctx.Err() == nil {
		if r.broker.Ready() != nil {
			return nil // the tasks wait; whoever needs to know asks /readyz
		}
		tasks, err := r.store.ClaimUnsent(ctx, relayPage, dispatch.Lease)
		if err != nil || len(tasks) == 0 {
			return err
		}
		var group sync.WaitGroup
		errs := make([]error, len(tasks))
		for i, task := range tasks {
			group.Go(func() { _, errs[i] = r.dispatcher.Resume(ctx, task) })
		}
		group.Wait()
		sent := 0
		for _, err := range errs {
			if err == nil {
				sent++
			}
		}
		if sent > 0 {
			r.log.InfoContext(ctx, "relayed tasks that had not been sent", "tasks", sent)
		}
		if errors.Is(errors.Join(errs...), dispatch.ErrBusy) {
			return nil // the dispatcher says why of each; the next run goes on
		}
	}
	return nil
}
