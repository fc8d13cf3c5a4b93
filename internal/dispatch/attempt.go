package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// maxLoad bounds the copies of messages that await the broker's confirm,
	// counting each queue that a broadcast reaches. More would burden a busy
	// broker and be confirmed no sooner.
	maxLoad = 8192
	// leastLoad is the weight of a small message: at most 512 wait at once.
	leastLoad = maxLoad / 512
	// loadBytes of a body weigh as much as one copy, which bounds memory.
	loadBytes = 8 << 10
	// sliceCopies and sliceBytes bound a slice of a task with listed endpoints.
	// After each slice the progress is stored and other tasks get their turn.
	sliceCopies = 256
	sliceBytes  = 4 << 20
)

const (
	// A confirmed task is marked as sent in up to markTries tries, with pauses
	// that grow by markPause.
	markTries = 5
	markPause = 100 * time.Millisecond
)

// The pause after an attempt starts at one of the first two and doubles with each
// attempt up to longestPause.
const (
	unconfirmedPause = time.Second
	refusedPause     = 5 * time.Second
	longestPause     = 10 * time.Minute
)

// attempt is one attempt to send a task.
type attempt struct {
	d       *Dispatcher
	u       ledger.Unsent
	wait    time.Duration // how long to wait for room before the first message
	started bool          // at least one message was handed to the broker

	mu       sync.Mutex
	unserved []string // listed endpoints known not to be served

	// ended is closed when task and err are set: see finish.
	finished sync.Once
	ended    chan struct{}
	task     tasker.Task
	err      error
}

// run publishes the task and marks it as sent, or releases it after an error.
func (a *attempt) run(ctx context.Context) (tasker.Task, error) {
	defer a.keep(ctx)()
	stopWatching := a.watchReceipt(ctx)
	err := a.publish(ctx)
	if stopWatching() {
		a.publishLate(ctx, err)
		return a.task, nil
	}
	if err != nil {
		a.release(ctx, err)
		task := a.u.Task
		task.Unserved = a.unserved
		return task, fmt.Errorf("publish task %d: %w", a.u.ID, err)
	}
	// After a crash here the task is still CREATED: the relay publishes it again
	// and the endpoints recognize the duplicate.
	sent, err := a.mark(ctx)
	if err != nil {
		a.release(ctx, err)
	} else if sent.SentTime != nil {
		a.d.cfg.Metrics.SendDelay.Observe(sent.SentTime.Sub(sent.StartTime))
	}
	return sent, err
}

// mark marks the task as sent, with retries: failing here would publish a
// confirmed message once more.
func (a *attempt) mark(ctx context.Context) (tasker.Task, error) {
	for try := 1; ; try++ {
		call, cancel := storing(ctx)
		sent, err := a.d.store.MarkSent(call, a.u.Task, a.u.Unserved)
		cancel()
		if err == nil || try == markTries || ctx.Err() != nil {
			return sent, err
		}
		_ = clock.Sleep(ctx, time.Duration(try)*markPause)
	}
}

// storing returns a context for a call to the store that outlives Close.
func storing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

func (a *attempt) publish(ctx context.Context) error {
	if a.u.Deliver > 0 {
		return a.publishWakeUps(ctx)
	}
	copies, known := a.d.audiences.of(ctx, a.u.Task)
	if known != nil {
		a.skip(known)
	}
	if err := a.d.broker.Ready(); err != nil {
		return err
	}
	body, err := a.d.form(ctx, a.u.Type).Encode(a.u.Task)
	if err != nil {
		return err
	}
	if a.u.Endpoints == nil {
		receipt, err := a.publishTo(ctx, broker.ToAll(), copies, body)
		if err == nil && receipt.Unrouted {
			a.d.log.WarnContext(ctx, "task not routed: no endpoint has subscribed to its type", "task_id", a.u.ID, "type", a.u.Type)
		}
		return err
	}
	return a.publishList(ctx, known, body)
}

// maxWakeUps bounds the wake-ups of one task. Endpoints look for places from time to time.
const maxWakeUps = 100

// publishWakeUps publishes one message for each place of the task to the queue that the
// endpoints of the type share. It wakes an endpoint with a free slot, which takes a place in
// the database, perhaps of another task: so it carries no payload.
func (a *attempt) publishWakeUps(ctx context.Context) error {
	if err := a.d.broker.Ready(); err != nil {
		return err
	}
	body, err := wire.Form{Version: wire.Version}.Encode(a.u.Task)
	if err != nil {
		return err
	}
	for range min(int(a.u.Deliver), maxWakeUps) {
		if _, err := a.publishTo(ctx, broker.ToAny(), 1, body); err != nil {
			return err
		}
	}
	return nil
}

// skip records the listed endpoints that are not registered. Nothing is published
// to them, as they have no queue; an endpoint that registers later finds the task
// in the database.
func (a *attempt) skip(known map[string]bool) {
	var unserved []string
	for _, name := range a.u.Targets() {
		if !known[name] {
			unserved = append(unserved, name)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unserved = unserved
}

// publishList publishes, slice by slice, to the listed endpoints in known, or to
// all of them if known is nil.
func (a *attempt) publishList(ctx context.Context, known map[string]bool, body []byte) error {
	most := max(1, min(sliceCopies, sliceBytes/max(1, len(body))))
	for rest := after(a.u.Targets(), a.u.SentTo); len(rest) > 0; {
		var slice []string
		n := 0
		for ; n < len(rest) && len(slice) < most; n++ {
			if known == nil || known[rest[n]] {
				slice = append(slice, rest[n])
			} else {
				a.u.Unserved = append(a.u.Unserved, rest[n])
			}
		}
		if len(slice) > 0 {
			receipt, err := a.publishTo(ctx, broker.To(slice...), len(slice), body)
			if err != nil {
				return err
			}
			a.u.Unserved = append(a.u.Unserved, receipt.Unserved...)
		}
		a.u.SentTo, rest = rest[n-1], rest[n:]
		if len(rest) > 0 {
			a.save(ctx)
		}
	}
	return nil
}

// after returns the names that sort after name.
func after(sorted []string, name string) []string {
	for i := range sorted {
		if sorted[i] > name {
			return sorted[i:]
		}
	}
	return nil
}

// publishTo publishes one message once there is room for its copies. Before the
// first message of the attempt it waits for a limited time only: until then
// another process may as well send the task.
func (a *attempt) publishTo(ctx context.Context, target broker.Target, copies int, body []byte) (broker.Receipt, error) {
	weight := min(maxLoad, max(int64(copies), int64(len(body)/loadBytes), leastLoad))
	if !a.acquire(ctx, weight) {
		return broker.Receipt{}, ErrBusy
	}
	defer a.d.load.Release(weight)
	a.started = true
	return a.d.broker.Publish(ctx, broker.Publication{
		TaskType: a.u.Type, Target: target, MessageID: wire.MessageID(a.u.ID), Body: body, Once: true, Apart: a.u.Refused,
		Transient: true, Copies: copies,
	})
}

func (a *attempt) acquire(ctx context.Context, weight int64) bool {
	if a.d.load.TryAcquire(weight) {
		return true
	}
	if !a.started {
		limited, cancel := context.WithTimeout(ctx, a.wait)
		defer cancel()
		ctx = limited
	}
	return a.d.load.Acquire(ctx, weight) == nil
}

// keep renews the claim on the task until stop is called. Most attempts end
// before the first renewal, so there is a timer and no goroutine.
func (a *attempt) keep(ctx context.Context) (stop func()) {
	var mu sync.Mutex // held during a renewal, which stop waits for
	var timer *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(Lease/3, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		a.renew(ctx)
		timer.Reset(Lease / 3)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

func (a *attempt) renew(ctx context.Context) {
	ctx, cancel := storing(ctx)
	defer cancel()
	if err := a.d.store.RenewUnsent(ctx, a.u.ID, a.u.Attempt, Lease); err != nil {
		a.d.log.DebugContext(ctx, "could not renew claim on task", "task_id", a.u.ID, "err", err)
	}
}

// save stores how far the list has been sent, for the next attempt.
func (a *attempt) save(ctx context.Context) {
	ctx, cancel := storing(ctx)
	defer cancel()
	if err := a.d.store.SaveSent(ctx, a.u, Lease); err != nil {
		a.d.log.DebugContext(ctx, "could not store sending progress", "task_id", a.u.ID, "err", err)
	}
}

// release schedules the next attempt and stores why this one failed. If that
// cannot be stored, the next attempt is made when the claim expires.
func (a *attempt) release(ctx context.Context, why error) {
	r := ledger.Release{TaskID: a.u.ID, Attempt: a.u.Attempt}
	switch {
	case errors.Is(why, broker.ErrNotConnected), errors.Is(why, broker.ErrBlocked), errors.Is(why, ErrBusy):
		r.Untried = true // not counted: the relay waits for the broker itself
	case errors.Is(why, broker.ErrRefused):
		r.After, r.Refusal = pause(refusedPause, a.u.Attempt), why.Error()
		a.d.log.WarnContext(ctx, "task refused by RabbitMQ", "task_id", a.u.ID, "type", a.u.Type,
			"identifier", a.u.Identifier, "attempt", a.u.Attempt, "pause", r.After, "err", why)
	default:
		r.After = pause(unconfirmedPause, a.u.Attempt)
		a.d.log.InfoContext(ctx, "task not confirmed", "task_id", a.u.ID, "type", a.u.Type,
			"identifier", a.u.Identifier, "attempt", a.u.Attempt, "pause", r.After, "err", why)
	}
	ctx, cancel := storing(ctx)
	defer cancel()
	if err := a.d.store.ReleaseTask(ctx, r); err != nil {
		a.d.log.DebugContext(ctx, "could not release task to the relay", "task_id", a.u.ID, "err", err)
	}
}

// pause returns the pause after an attempt, with jitter of up to a quarter, so that
// retries spread out.
func pause(first time.Duration, attempt int) time.Duration {
	d := first
	for range attempt - 1 {
		if d >= longestPause {
			break
		}
		d *= 2
	}
	d = min(d, longestPause)
	return d + rand.N(d/4)
}
