package manager

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// briefRun is the average run of a pool up to which a slot is taken to be free
	// in a moment.
	briefRun = 10 * time.Millisecond
	// slotPause is how long no slot may have become free for that.
	slotPause = 250 * time.Millisecond
	// maxHold bounds how long a task that has arrived waits for a slot before it is
	// recorded as RECEIVED.
	maxHold = 2500 * time.Millisecond
)

// holding has the tasks that have arrived and are about to be recorded. Where all
// slots of a pool are taken by brief runs, they wait a moment for one: then they are
// recorded as RUNNING, by one write, and not as RECEIVED, to be started by another.
// Only the recorder uses it.
type holding struct {
	limit int                  // of a batch
	freed signal.Signal        // raised when a slot is free that a task waits for
	pools []*pool              // those in tasks
	tasks map[*pool][]heldTask // of each pool, in the order in which they arrived
}

// heldTask is a task with the time at which it is recorded in any case.
type heldTask struct {
	incoming
	until time.Time
}

// prepared is a task to record.
type prepared struct {
	incoming
	record ledger.Incoming
	claim  *claim // if it is recorded as RUNNING
}

func newHolding(limit int) *holding {
	return &holding{limit: limit, freed: signal.New(), tasks: map[*pool][]heldTask{}}
}

// next waits until tasks can be recorded, and returns a batch of what has gathered;
// nil when ctx ends.
func (h *holding) next(ctx context.Context, queue <-chan incoming) []prepared {
	for ctx.Err() == nil {
		timer := time.NewTimer(h.pause(time.Now()))
		select {
		case in := <-queue:
			h.add(in, time.Now())
		case <-h.freed:
			runtime.Gosched() // lets runs that are about to end free their slots, too
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		for n := 1; n < h.limit; n++ {
			select {
			case in := <-queue:
				h.add(in, time.Now())
				continue
			default:
			}
			break
		}
		if ctx.Err() != nil {
			break
		}
		if batch := h.take(time.Now()); len(batch) > 0 {
			return batch
		}
	}
	return nil
}

func (h *holding) add(in incoming, now time.Time) {
	if h.tasks[in.pool] == nil {
		h.pools = append(h.pools, in.pool)
	}
	h.tasks[in.pool] = append(h.tasks[in.pool], heldTask{in, now.Add(maxHold)})
}

// pause returns how long to wait before the pools are asked again.
func (h *holding) pause(now time.Time) time.Duration {
	if len(h.pools) == 0 {
		return time.Hour
	}
	pause := slotPause
	for _, held := range h.tasks {
		pause = min(pause, held[0].until.Sub(now))
	}
	return max(pause, 0)
}

// take returns the tasks to record now, those of each pool in order.
func (h *holding) take(now time.Time) (batch []prepared) {
	reached := 0
	for _, p := range h.pools {
		if len(batch) == h.limit {
			break
		}
		reached++
		held := h.tasks[p]
		for len(held) > 0 && len(batch) < h.limit {
			in := held[0].incoming
			record, c := p.acquire(in.message, now.Before(held[0].until))
			if record.State == "" {
				break
			}
			batch = append(batch, prepared{in, record, c})
			held = held[1:]
		}
		h.tasks[p] = held
	}
	// The pools that the batch has no room for come first in the next one.
	h.pools = slices.Concat(h.pools[reached:], h.pools[:reached])
	h.pools = slices.DeleteFunc(h.pools, func(p *pool) bool {
		empty := len(h.tasks[p]) == 0
		if empty {
			delete(h.tasks, p)
		}
		return empty
	})
	if len(batch) == h.limit && len(h.pools) > 0 {
		h.freed.Raise() // there may be more
	}
	return batch
}

// turnover is how fast the slots of a pool become free, as far as is known. The
// pool's lock guards it.
type turnover struct {
	freed   signal.Signal // see [holding]
	average time.Duration // of the recent runs; 0 before the first
	last    time.Time     // when a slot has become free
	awaited bool          // a task waits for the next slot
}

// ran adds a run to the average.
func (t *turnover) ran(d time.Duration) {
	d = min(max(d, 1), time.Second) // one slow run is forgotten after some dozens of brief ones
	if t.average == 0 {
		t.average = d
	}
	t.average += (d - t.average) / 8
}

// await reports whether a slot is likely to be free in a moment. If so, freed is
// raised then.
func (t *turnover) await() bool {
	t.awaited = t.average > 0 && t.average <= briefRun && time.Since(t.last) < slotPause
	return t.awaited
}

// turnsOver reports whether runs are so brief that a slot is free in no time.
func (t *turnover) turnsOver() bool {
	return t.average > 0 && t.average <= aheadRun && time.Since(t.last) < aheadWait
}

// slotFree notes that a slot has become free. Unless ask is true, it is not for a
// task that is held.
func (t *turnover) slotFree(ask bool) {
	t.last = time.Now()
	if t.awaited && ask {
		t.awaited = false
		t.freed.Raise()
	}
}
