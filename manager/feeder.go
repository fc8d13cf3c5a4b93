package manager

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// feeder reads from the database what waits for a pool: results that memory has no
// room for, and those whose next attempt is due.
type feeder struct {
	pool     *pool
	work     Work
	database Database
	db       *database
	log      *slog.Logger
	// dueLeft is true if a result whose next attempt is due was left out of memory,
	// since what waits in the database may come before it.
	dueLeft bool
}

// run feeds the pool until ctx ends, and then suspends it. What it has started
// goes on; see [jobRunner] about taking.
func (f *feeder) run(ctx, taking context.Context) {
	defer f.pool.suspend()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		if err := f.fill(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			f.log.ErrorContext(ctx, "could not read the waiting results", "queue", f.pool.queue.Name(), "err", err)
		}
		f.pool.mu.Lock()
		f.pool.startWaiting(taking)
		f.pool.mu.Unlock()
		retry.Reset(f.pool.retries.until(f.database.Now()))
		select {
		case <-f.pool.wake:
		case <-retry.C:
			if err := f.enqueueDue(ctx); err != nil {
				if ctx.Err() != nil {
					return
				}
				f.log.ErrorContext(ctx, "could not read the results to retry", "queue", f.pool.queue.Name(), "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// fill reads what waits if a slot is free and memory has nothing for it, and then what
// is due and was left out before.
func (f *feeder) fill(ctx context.Context) error {
	read, err := f.refill(ctx)
	if read && err == nil && f.dueLeft {
		return f.enqueueDue(ctx)
	}
	return err
}

// refill reads waiting results if a slot is free and memory has none left, or the
// database may have some that come first.
func (f *feeder) refill(ctx context.Context) (read bool, err error) {
	p := f.pool
	p.mu.Lock()
	needed := p.mustRead()
	p.refilling = needed
	var counted map[int64]int
	if needed {
		p.beyond = place{math.MaxInt64, 0} // a doubt from now on is noticed
		counted = p.countedAttempts()
	}
	p.mu.Unlock()
	if !needed {
		return false, nil
	}
	work, full, err := f.readWaiting(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refilling = false
	if err != nil {
		p.doubt()
		return true, err
	}
	if full && !p.outdated() {
		p.behind, p.beyond = true, after(&work[len(work)-1])
	}
	before := p.waiting // with what was enqueued meanwhile
	p.waiting, p.queued = nil, map[int64]bool{}
	for _, w := range work {
		// One that was active when the read began may have been read before its start was
		// stored, and have ended since.
		if !p.isActive(&w) && w.Attempt >= counted[w.Task.ID] {
			p.insert(w)
		}
	}
	for _, w := range before {
		if !p.enqueue(w) && w.State == tasker.Retrying {
			f.dueLeft = true
		}
	}
	return true, nil
}

// readWaiting reads waiting results, and reports whether the database may have more
// of them. If it has not, it clears behind first and then reads once more: what is
// recorded after the first read is either enqueued in memory or in the second one.
func (f *feeder) readWaiting(ctx context.Context) (work []ledger.Work, full bool, err error) {
	read := func() error {
		return f.db.retry(ctx, "read the waiting results", func(ctx context.Context) (err error) {
			work, err = f.work.WaitingWork(ctx, f.pool.queue.Endpoint, f.pool.queue.TaskType, maxWaiting)
			return err
		})
	}
	if err = read(); err == nil && len(work) < maxWaiting {
		f.pool.mu.Lock()
		f.pool.behind = false
		f.pool.mu.Unlock()
		err = read()
	}
	return work, len(work) >= maxWaiting, err
}

// enqueueDue enqueues the results whose next attempt is due.
func (f *feeder) enqueueDue(ctx context.Context) error {
	const soon = time.Second
	p := f.pool
	p.retries.clear()
	if p.bound().handler == nil {
		return nil
	}
	var due []ledger.Work
	var next time.Time
	var more bool
	err := f.db.retry(ctx, "read the results to retry", func(ctx context.Context) (err error) {
		if due, err = f.work.DueWork(ctx, p.queue.Endpoint, p.queue.TaskType, maxWaiting); err != nil {
			return err
		}
		next, more, err = f.work.NextRetry(ctx, p.queue.Endpoint, p.queue.TaskType)
		return err
	})
	if err != nil {
		p.retries.by(f.database.Now().Add(soon))
		return err
	}
	f.dueLeft = false
	p.mu.Lock()
	for _, w := range due {
		if !p.enqueue(w) {
			f.dueLeft = true
		}
	}
	p.mu.Unlock()
	if more {
		// Those that are due now remain the next ones until they have a slot.
		if earliest := f.database.Now().Add(soon); len(due) > 0 && next.Before(earliest) {
			next = earliest
		}
		p.retries.by(next)
	}
	return nil
}

// alarm is the time at which a feeder looks for due retries.
type alarm struct {
	wake signal.Signal
	mu   sync.Mutex
	at   time.Time // zero if there is none
}

// by sets the alarm for a time, unless it is set for an earlier one.
func (a *alarm) by(at time.Time) {
	a.mu.Lock()
	if a.at.IsZero() || at.Before(a.at) {
		a.at = at
	}
	a.mu.Unlock()
	a.wake.Raise()
}

func (a *alarm) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = time.Time{}
}

// until returns the time from now until the alarm, or an hour if there is none.
func (a *alarm) until(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() {
		return time.Hour
	}
	return max(a.at.Sub(now), 0)
}
