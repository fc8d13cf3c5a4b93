package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// maxTaken bounds the places that are taken at once.
	maxTaken = 16
	// takePause is the pause after a place was taken that was taken before: what was
	// recorded of it is not known.
	takePause = time.Second
)

// taker takes places, for its pool, in tasks that are for so many endpoints of their own
// choice. The database decides who gets one, and in which order. What is taken becomes a
// task of the endpoint, which the recorder records like any other.
//
// It takes no more than there are free slots, so that tasks go where there is room. While
// none is free it waits for one, and then looks in the database. Where that has nothing
// left, it consumes the queue that the endpoints of the type share: each message there stands
// for a place, and wakes one of those with a free slot. Since messages may be lost, it also
// looks from time to time.
type taker struct {
	pool     *pool
	places   Places
	broker   Broker
	recorder *recorder
	db       *database
	manager  string
	period   func() time.Duration // between two looks without a wake-up
	log      *slog.Logger

	last int64 // the first task that was taken by the last call
}

// run takes places until ctx ends.
func (t *taker) run(ctx context.Context) {
	for t.pool.awaitRoom(ctx) {
		if err := t.fill(ctx); err != nil {
			t.failed(ctx, err)
			_ = clock.Sleep(ctx, takePause)
			continue
		}
		if t.pool.room() > 0 {
			t.listen(ctx)
		}
	}
}

func (t *taker) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		t.log.ErrorContext(ctx, "could not take tasks that are for any endpoint", "endpoint", t.pool.queue.Endpoint,
			"type", t.pool.queue.TaskType, "err", err)
	}
}

// fill takes places until no slot is free or none are left.
func (t *taker) fill(ctx context.Context) error {
	for {
		wanted := min(t.pool.room(), maxTaken)
		if wanted == 0 {
			return nil
		}
		if taken, err := t.take(ctx, wanted); err != nil || taken < wanted {
			return err
		}
	}
}

// listen consumes wake-ups until no slot is free, or one of them could not be used for an
// error.
func (t *taker) listen(ctx context.Context) {
	consuming, stop := context.WithCancel(ctx)
	var consumer sync.WaitGroup
	defer consumer.Wait()
	defer stop() // what is not settled returns to the queue, for another endpoint
	queue := broker.Queue{TaskType: t.pool.queue.TaskType}
	wakeUps := make(chan broker.Delivery)
	consumer.Go(func() {
		err := t.broker.Consume(consuming, broker.Subscription{Queue: queue, Prefetch: 1, Deliver: func(d broker.Delivery) {
			select {
			case wakeUps <- d:
			case <-consuming.Done():
			}
		}})
		if err != nil && consuming.Err() == nil {
			t.log.ErrorContext(ctx, "consumer ended", "queue", queue.Name(), "err", err)
		}
	})
	for t.pool.room() > 0 && ctx.Err() == nil {
		periodic := time.NewTimer(t.period())
		var err error
		select {
		case d := <-wakeUps:
			err = t.wake(ctx, d)
		case <-periodic.C:
			err = t.fill(ctx)
		case <-ctx.Done():
		}
		periodic.Stop()
		if err != nil {
			t.failed(ctx, err)
			return
		}
	}
}

// wake takes a place for a wake-up. One that it cannot use is for another endpoint: this one
// may have a place of that task already. If nobody can, it was too late.
func (t *taker) wake(ctx context.Context, d broker.Delivery) error {
	taken := 0
	var err error
	if t.pool.room() > 0 {
		if taken, err = t.take(ctx, 1); err == nil && (taken > 0 || d.Redelivered()) {
			t.settled(ctx, d.Ack())
			return nil
		}
	}
	t.settled(ctx, d.Requeue())
	return err
}

// settled notes whether a wake-up is settled.
func (t *taker) settled(ctx context.Context, err error) {
	if err != nil {
		t.log.DebugContext(ctx, "could not settle a wake-up: the broker delivers it again", "err", err)
	}
}

// take takes up to limit places, has the tasks recorded, and returns how many there were.
func (t *taker) take(ctx context.Context, limit int) (taken int, err error) {
	queue := t.pool.queue
	var tasks []tasker.Task
	err = t.db.retry(ctx, "take tasks that are for any endpoint", func(ctx context.Context) (err error) {
		tasks, err = t.places.TakeTasks(ctx, t.manager, queue.Endpoint, queue.TaskType, limit)
		return err
	})
	if err != nil || len(tasks) == 0 {
		return 0, err
	}
	if tasks[0].ID == t.last {
		_ = clock.Sleep(ctx, takePause)
	}
	t.last = tasks[0].ID
	var recorded []<-chan struct{}
	for _, task := range tasks {
		done := make(chan struct{})
		message := wire.Task{TaskID: task.ID, Identifier: task.Identifier, Type: task.Type}
		if err := t.recorder.submit(ctx, incoming{pool: t.pool, message: message, done: done}); err != nil {
			return 0, err
		}
		recorded = append(recorded, done)
	}
	for _, done := range recorded {
		select {
		case <-done:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return len(tasks), nil
}

// room returns how many tasks could start at once: the free slots for which nothing waits.
func (p *pool) room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roomLocked()
}

// roomLocked is room for a caller that holds the lock.
func (p *pool) roomLocked() int {
	if p.retired || p.behind || len(p.waiting) > 0 || p.ahead.claimed+len(p.ahead.tasks) > 0 || !p.canStart() {
		return 0
	}
	return p.free
}

// awaitRoom waits until there is room, and reports whether there is. It is false if ctx ends
// first.
func (p *pool) awaitRoom(ctx context.Context) bool {
	for ctx.Err() == nil {
		p.mu.Lock()
		p.roomAwaited = p.roomLocked() == 0
		awaited := p.roomAwaited
		p.mu.Unlock()
		if !awaited {
			return true
		}
		select {
		case <-p.roomFree:
		case <-ctx.Done():
		}
	}
	return false
}

// signalRoom wakes the taker, if it waits for room and there is some. The caller holds the
// lock.
func (p *pool) signalRoom() {
	if p.roomAwaited && p.roomLocked() > 0 {
		p.roomAwaited = false
		p.roomFree.Raise()
	}
}
