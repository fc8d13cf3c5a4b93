package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// Rollouts are the rollouts that have not ended; see internal/store.
type Rollouts interface {
	DueRollouts(ctx context.Context, limit int) (tasks []int64, err error)
	// OpenRollouts returns those among some tasks, or among all if taskIDs is nil, that
	// have a rollout which has not ended.
	OpenRollouts(ctx context.Context, taskIDs []int64, limit int) (tasks []int64, err error)
}

// Conductor decides about rollouts, and does what follows; see internal/conductor.
type Conductor interface {
	Look(ctx context.Context, taskID int64) error
	Wait()
}

// WaveSender sends what other processes did not; see internal/dispatch.
type WaveSender interface {
	SendWaves(ctx context.Context, c ledger.WaveClaim) error
}

// rollouts looks at the rollouts that are due: one after the other, and each as soon as one
// of its results has ended, which the managers' events say. Every process does; the row of a
// rollout says when the next look is due, so they share the work, and the one that comes
// first decides. An event that is lost costs a second.
//
// It also sends the task where the process that opened a wave did not, as the relay does
// for other tasks.
type rollouts struct {
	store     Rollouts
	unsent    Unsent
	conductor Conductor
	sender    WaveSender
	broker    Broker
	log       *slog.Logger

	open   atomic.Bool // some rollout had not ended at the last look
	wake   signal.Signal
	mu     sync.Mutex
	hinted map[int64]bool
}

const (
	rolloutPage = 100
	// rolloutPages is how many pages one run looks at.
	rolloutPages  = 10
	rolloutPeriod = 500 * time.Millisecond
)

func newRollouts(store Store, sender WaveSender, broker Broker, log *slog.Logger) *rollouts {
	return &rollouts{
		store: store.Rollouts, unsent: store.Unsent, conductor: store.Conductor, sender: sender, broker: broker, log: log,
		wake: signal.New(), hinted: map[int64]bool{},
	}
}

// runOnce looks at the rollouts that are due, and sends what is left of opened waves.
func (r *rollouts) runOnce(ctx context.Context) error {
	some, err := r.store.OpenRollouts(ctx, nil, 1)
	if err != nil {
		return err
	}
	r.open.Store(len(some) > 0)
	for range rolloutPages {
		due, err := r.store.DueRollouts(ctx, rolloutPage)
		if err != nil {
			return err
		}
		if err := r.look(ctx, due); err != nil {
			return err
		}
		if len(due) < rolloutPage {
			break
		}
	}
	return r.relay(ctx)
}

func (r *rollouts) look(ctx context.Context, tasks []int64) error {
	var errs []error
	for _, id := range tasks {
		if err := r.conductor.Look(ctx, id); err != nil {
			errs = append(errs, err) // the others are looked at all the same
		}
	}
	return errors.Join(errs...)
}

// relay sends what is left of opened waves.
func (r *rollouts) relay(ctx context.Context) error {
	if r.broker.Ready() != nil {
		return nil // it waits, as the tasks do
	}
	claims, err := r.unsent.ClaimWaves(ctx, relayPage, dispatch.Lease)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for _, claim := range claims {
		group.Go(func() {
			if err := r.sender.SendWaves(ctx, claim); err != nil {
				r.log.DebugContext(ctx, "wave not sent: it is tried again", "task_id", claim.TaskID, "err", err)
			}
		})
	}
	group.Wait()
	return nil
}

// hint says that results of tasks have ended.
func (r *rollouts) hint(ids []int64) {
	if !r.open.Load() {
		return
	}
	r.mu.Lock()
	for _, id := range ids {
		if len(r.hinted) < maxHinted { // the next look finds the others
			r.hinted[id] = true
		}
	}
	r.mu.Unlock()
	r.wake.Raise()
}

// hints looks at the rollouts among the hinted tasks, until ctx ends, and waits until what
// was opened is sent or left to the relay.
func (r *rollouts) hints(ctx context.Context) {
	defer r.conductor.Wait()
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		if err := r.lookHinted(ctx); err != nil && ctx.Err() == nil {
			// They are looked at within a second.
			r.log.DebugContext(ctx, "hinted rollouts were not looked at", "err", err)
		}
		_ = clock.Sleep(ctx, hintPause)
	}
}

func (r *rollouts) lookHinted(ctx context.Context) error {
	r.mu.Lock()
	hinted := slices.Sorted(maps.Keys(r.hinted))
	clear(r.hinted)
	r.mu.Unlock()
	tasks, err := r.store.OpenRollouts(ctx, hinted, len(hinted))
	if err != nil {
		return err
	}
	return r.look(ctx, tasks)
}
