package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// maxHoldPause bounds the time between two looks for holds while one has an end.
const maxHoldPause = time.Hour

// holder pauses the pools of what is held. The database refuses a start to which a hold
// applies, whatever a pool believes: the holder saves the attempts, and has the pools
// read again what waits when a hold has ended.
//
// It looks for holds in the database when a hint comes and when a start was refused;
// and, while a hold applies, at its end and after each heartbeat, since the hint that it
// was ended may be lost.
type holder struct {
	endpoints []string
	store     Endpoints
	database  Database
	db        *database
	pools     *pools
	prompts   prompts
	wake      signal.Signal // has it look
	log       *slog.Logger

	mu    sync.Mutex
	holds []ledger.Hold // those that apply, as far as is known
	// doubt has the endpoints where something may have been held, and not been read for
	// that: if no hold applies any more at the next look, it is read then.
	doubt map[string]bool
}

func newHolder(h *holder) *holder {
	h.wake, h.doubt = signal.New(), map[string]bool{}
	return h
}

// refused has it look, since a start at some endpoints was refused, or may have been.
func (h *holder) refused(endpoints ...string) {
	h.mu.Lock()
	for _, name := range endpoints {
		h.doubt[name] = true
	}
	h.mu.Unlock()
	h.wake.Raise()
}

// run looks for holds until ctx ends.
func (h *holder) run(ctx context.Context) {
	for ctx.Err() == nil {
		timer := time.NewTimer(h.pause())
		select {
		case <-h.wake:
			h.look(ctx)
		case <-timer.C:
			h.look(ctx)
		case <-ctx.Done():
		}
		timer.Stop()
		_ = clock.Sleep(ctx, cancelPause)
	}
}

// pause returns the time until the next hold ends by itself.
func (h *holder) pause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	pause := maxHoldPause
	for _, hold := range h.holds {
		if hold.Until != nil {
			pause = min(pause, hold.Until.Sub(h.database.Now())+time.Millisecond)
		}
	}
	return max(pause, 0)
}

// afterBeat has it look if a hold applies.
func (h *holder) afterBeat() {
	h.mu.Lock()
	holding := len(h.holds) > 0
	h.mu.Unlock()
	if holding {
		h.wake.Raise()
	}
}

// look reads what is held, and pauses the pools of that and no others.
func (h *holder) look(ctx context.Context) {
	h.mu.Lock()
	doubt := h.doubt
	h.doubt = map[string]bool{}
	h.mu.Unlock()
	var found []ledger.Hold
	err := h.db.retry(ctx, "look for holds", func(ctx context.Context) (err error) {
		found, err = h.store.HoldsAt(ctx, h.endpoints)
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			h.log.ErrorContext(ctx, "could not look for pauses and drains: what they hold may be tried in vain", "err", err)
		}
		h.settle(doubt, nil)
		return
	}
	h.mu.Lock()
	before := h.holds
	h.holds = found
	h.mu.Unlock()
	defer h.settle(doubt, found)
	was, applies := subjects(before), subjects(found)
	for _, m := range h.pools.all() {
		queue := m.queue
		if applies[ledger.Hold{Endpoint: queue.Endpoint}] || applies[ledger.Hold{Endpoint: queue.Endpoint, TaskType: queue.TaskType}] {
			m.Pause()
		} else {
			m.Resume()
		}
	}
	for hold := range applies {
		if !was[hold] {
			h.log.InfoContext(ctx, "held: nothing of it starts", "endpoint", hold.Endpoint, "type", hold.TaskType, "task_id", hold.TaskID)
		}
	}
	for hold := range was {
		if !applies[hold] {
			h.log.InfoContext(ctx, "no longer held", "endpoint", hold.Endpoint, "type", hold.TaskType, "task_id", hold.TaskID)
			h.prompts[hold.Endpoint].suspect.Raise() // it reads what may start now
		}
	}
}

// settle has the endpoints in doubt read what waits there, if no hold applies any more.
func (h *holder) settle(doubt map[string]bool, found []ledger.Hold) {
	for _, hold := range found {
		delete(doubt, hold.Endpoint)
	}
	for name := range doubt {
		h.prompts[name].suspect.Raise()
	}
}

// subjects returns holds without the times of their ends.
func subjects(holds []ledger.Hold) map[ledger.Hold]bool {
	set := make(map[ledger.Hold]bool, len(holds))
	for _, hold := range holds {
		hold.Until = nil
		set[hold] = true
	}
	return set
}
