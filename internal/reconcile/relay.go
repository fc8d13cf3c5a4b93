package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Unsent are the tasks that are not sent yet.
type Unsent interface {
	ClaimUnsent(ctx context.Context, limit int, lease time.Duration) ([]ledger.Unsent, error)
	// ClaimWaves does so for the waves of rollouts.
	ClaimWaves(ctx context.Context, limit int, lease time.Duration) ([]ledger.WaveClaim, error)
}

// relay makes further attempts to send CREATED tasks: those accepted while the
// broker was down or busy, those that it refused or did not confirm, and those
// whose API process died before it marked them as SENT. Some are published
// twice; endpoints recognize that.
//
// Tasks come in the order in which they are due, and each pauses after an
// attempt: none keeps the others waiting, however many cannot be sent.
type relay struct {
	store      Unsent
	broker     Broker
	dispatcher Dispatcher
	log        *slog.Logger
}

// relayPage is how many tasks are tried at once.
const relayPage = 64

func (r *relay) runOnce(ctx context.Context) error {
	for ctx.Err() == nil {
		if r.broker.Ready() != nil {
			return nil // the tasks wait; /readyz reports it
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
			return nil // logged by the dispatcher; the next run continues
		}
	}
	return nil
}
