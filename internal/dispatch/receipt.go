package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// A task for all is sent once the broker has its message. The confirm says so, but
// comes only when the message is in every queue, which takes seconds for thousands.
// An endpoint that has received the task says so as well: the broker has the whole
// message, and the rows are the truth in any case.

const (
	// firstLook and longestLook are the first and the longest pause between two
	// looks for an endpoint that has received an unconfirmed task.
	firstLook   = 400 * time.Millisecond
	longestLook = 5 * time.Second
	// lateTries is how often a message is published again whose confirm did not
	// come although an endpoint had received the task: that one may have found it
	// in the database.
	lateTries = 5
)

// watchReceipt marks a task for all as sent, and answers its caller, if an endpoint
// receives it before the broker confirms it. stop ends that, and reports whether
// the task was marked. There is a timer and no goroutine, as for claims.
func (a *attempt) watchReceipt(ctx context.Context) (stop func() (marked bool)) {
	if a.u.Endpoints != nil || a.u.Deliver > 0 { // each listed endpoint has a message of its own
		return func() bool { return false }
	}
	var mu sync.Mutex // held during a look, which stop waits for
	var timer *time.Timer
	stopped, marked, pause := false, false, firstLook
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(pause, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		if marked = a.markReceived(ctx); !marked {
			pause = min(2*pause, longestLook)
			timer.Reset(pause)
		}
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
		return marked
	}
}

// markReceived marks the task as sent if an endpoint has received it.
func (a *attempt) markReceived(ctx context.Context) bool {
	call, cancel := storing(ctx)
	defer cancel()
	received, err := a.d.store.Received(call, a.u.ID)
	if err != nil || !received {
		return false
	}
	sent, err := a.d.store.MarkSent(call, a.u.Task, nil)
	if err != nil {
		return false
	}
	a.finish(sent, nil)
	return true
}

// publishLate publishes a task again that is marked as sent, and whose confirm did
// not come.
func (a *attempt) publishLate(ctx context.Context, err error) {
	for try := 1; err != nil && try <= lateTries; try++ {
		after := pause(unconfirmedPause, try)
		a.d.log.InfoContext(ctx, "sent task not confirmed", "task_id", a.u.ID, "type", a.u.Type,
			"identifier", a.u.Identifier, "attempt", try, "pause", after, "err", err)
		if clock.Sleep(ctx, after) != nil {
			return
		}
		err = a.publish(ctx)
	}
}

// finish sets the outcome of the attempt for its caller, once.
func (a *attempt) finish(task tasker.Task, err error) {
	a.finished.Do(func() {
		a.task, a.err = task, err
		close(a.ended)
	})
}
