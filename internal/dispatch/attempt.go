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
)

const (
	// maxLoad bounds the copies of messages that wait for the broker's confirm,
	// those that a broadcast makes in the queues included: what is more makes a
	// busy broker busier, and is confirmed no sooner.
	maxLoad = 8192
	// leastLoad is that of a small message: so many of them wait at most.
	leastLoad = maxLoad / 512
	// loadBytes of a body count like one copy, which bounds the memory of all.
	loadBytes = 8 << 10
	// sliceCopies and sliceBytes bound what is published of one task to listed
	// endpoints, until others have their turn and the progress is stored.
	sliceCopies = 256
	sliceBytes  = 4 << 20
)

const (
	// markTries and markPause say how often, and after which growing pauses, a
	// confirmed task is marked as sent.
	markTries = 5
	markPause = 100 * time.Millisecond
)

// The pauses after an attempt: the first, doubled with each until the last.
const (
	unconfirmedPause = time.Second
	refusedPause     = 5 * time.Second
	longestPause     = 10 * time.Minute
)

// attempt is one attempt to send a task.
type attempt struct {
	d        *Dispatcher
	ctx      context.Context
	u        ledger.Unsent
	patience time.Duration // for the first place among those that wait for the broker

	started bool // something was published, or begins to be

	mu       sync.Mutex
	unserved []string // listed endpoints that nobody serves, as far as known

	// ended is closed at the end; task and err are how it went.
	ended chan struct{}
	task  tasker.Task
	err   error
}

// run publishes the task and marks it as sent. On an error it is released.
func (a *attempt) run() (tasker.Task, error) {
	defer a.keep()()
	if err := a.publish(); err != nil {
		a.release(err)
		task := a.u.Task
		task.Unserved = a.unserved
		return task, fmt.Errorf("publish task %d: %w", a.u.ID, err)
	}
	// A crash before this line leaves the task CREATED: the relay publishes it
	// again, and the endpoints recognize it.
	sent, err := a.mark()
	if err != nil {
		a.release(err)
	}
	return sent, err
}

// mark marks the task as sent. It tries again where the database cannot: what
// is confirmed need not be published once more.
func (a *attempt) mark() (tasker.Task, error) {
	for try := 1; ; try++ {
		ctx, cancel := a.storing()
		sent, err := a.d.store.MarkSent(ctx, a.u.Task, a.u.Unserved, a.d.cfg.SeenWithin)
		cancel()
		if err == nil || try == markTries || a.ctx.Err() != nil {
			return sent, err
		}
		select {
		case <-time.After(time.Duration(try) * markPause):
		case <-a.ctx.Done():
		}
	}
}

// storing returns a context for a call of the store, which is made although the
// dispatcher is being closed.
func (a *attempt) storing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(a.ctx), storeTimeout)
}

func (a *attempt) publish() error {
	copies, known := a.d.audiences.of(a.ctx, a.u.Task)
	if known != nil {
		a.skip(known)
	}
	if err := a.d.broker.Ready(); err != nil {
		return err
	}
	body, err := wire.EncodeTask(a.u.Task)
	if err != nil {
		return err
	}
	if a.u.Endpoints == nil {
		receipt, err := a.publishTo(broker.ToAll(), copies, body)
		if err == nil && receipt.Unrouted {
			a.d.log.WarnContext(a.ctx, "no queue took the task: no endpoint has subscribed to its type", "task_id", a.u.ID, "type", a.u.Type)
		}
		return err
	}
	return a.publishList(known, body)
}

// skip records the listed endpoints that are not registered: they have no
// queue, so nothing is published for them. One that registers from now on finds
// the task in the database.
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

// publishList publishes to the listed endpoints that are registered, all where
// known is nil, slice by slice.
func (a *attempt) publishList(known map[string]bool, body []byte) error {
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
			receipt, err := a.publishTo(broker.To(slice...), len(slice), body)
			if err != nil {
				return err
			}
			a.u.Unserved = append(a.u.Unserved, receipt.Unserved...)
		}
		a.u.SentTo, rest = rest[n-1], rest[n:]
		if len(rest) > 0 {
			a.save()
		}
	}
	return nil
}

// after returns the names behind one in a sorted list.
func after(sorted []string, name string) []string {
	for i := range sorted {
		if sorted[i] > name {
			return sorted[i:]
		}
	}
	return nil
}

// publishTo publishes one message once there is room for its copies. Room for
// the first one is waited for as long as a caller waits: until then the task
// can as well be released to somebody else.
func (a *attempt) publishTo(target broker.Target, copies int, body []byte) (broker.Receipt, error) {
	weight := min(maxLoad, max(int64(copies), int64(len(body)/loadBytes), leastLoad))
	if !a.acquire(weight) {
		return broker.Receipt{}, ErrBusy
	}
	defer a.d.load.Release(weight)
	a.started = true
	return a.d.broker.Publish(a.ctx, broker.Publication{
		TaskType: a.u.Type, Target: target, MessageID: wire.MessageID(a.u.ID), Body: body, Once: true, Apart: a.u.Refused,
	})
}

func (a *attempt) acquire(weight int64) bool {
	if a.d.load.TryAcquire(weight) {
		return true
	}
	ctx := a.ctx
	if !a.started {
		limited, cancel := context.WithTimeout(ctx, a.patience)
		defer cancel()
		ctx = limited
	}
	return a.d.load.Acquire(ctx, weight) == nil
}

// keep renews the claim on the task until stop is called.
func (a *attempt) keep() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			ctx, cancel := a.storing()
			if err := a.d.store.RenewUnsent(ctx, a.u.ID, a.u.Attempt, Lease); err != nil {
				a.d.log.DebugContext(ctx, "the claim on a task was not renewed", "task_id", a.u.ID, "err", err)
			}
			cancel()
		}
	}()
	return func() { close(done); <-stopped }
}

// save stores what is sent already, so that the next attempt goes on there.
func (a *attempt) save() {
	ctx, cancel := a.storing()
	defer cancel()
	if err := a.d.store.SaveSent(ctx, a.u, Lease); err != nil {
		a.d.log.DebugContext(ctx, "the progress of a task was not stored", "task_id", a.u.ID, "err", err)
	}
}

// release lets the task rest until the next attempt, and says why. Where that
// cannot be stored, the task rests until its claim has passed.
func (a *attempt) release(why error) {
	r := ledger.Release{TaskID: a.u.ID, Attempt: a.u.Attempt}
	switch {
	case errors.Is(why, broker.ErrNotConnected), errors.Is(why, broker.ErrBlocked), errors.Is(why, ErrBusy):
		r.Untried = true // the relay waits for the broker itself
	case errors.Is(why, broker.ErrRefused):
		r.After, r.Refusal = pause(refusedPause, a.u.Attempt), why.Error()
		a.d.log.WarnContext(a.ctx, "RabbitMQ refused the task: it is tried again after a pause", "task_id", a.u.ID, "type", a.u.Type,
			"identifier", a.u.Identifier, "attempt", a.u.Attempt, "pause", r.After, "err", why)
	default:
		r.After = pause(unconfirmedPause, a.u.Attempt)
		a.d.log.InfoContext(a.ctx, "a task was not confirmed: it is tried again after a pause", "task_id", a.u.ID, "type", a.u.Type,
			"identifier", a.u.Identifier, "attempt", a.u.Attempt, "pause", r.After, "err", why)
	}
	ctx, cancel := a.storing()
	defer cancel()
	if err := a.d.store.ReleaseTask(ctx, r); err != nil {
		a.d.log.DebugContext(ctx, "the task was not released to the relay", "task_id", a.u.ID, "err", err)
	}
}

// pause returns the pause after an attempt, with up to a quarter more, so that
// many tasks do not come at once.
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
