package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// deadTry is how long the broker may take to take a dead letter, and
	// deadPause how long after that the message goes back to its queue, where
	// it comes from again.
	deadTry, deadPause = 5 * time.Second, 5 * time.Second
	// deadAtOnce bounds the dead letters that are under way together.
	deadAtOnce = 64
)

// reaper moves messages to the dead letters, beside all else: a broker that
// takes no messages for now must not keep tasks from being recorded and run.
// What it holds is bounded, since each of them is an unsettled delivery of a
// queue. A message that the broker does not take as a dead letter goes back to
// its queue after a pause: it must not hold a place of the prefetch for long.
type reaper struct {
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	waiting []doomed
}

// doomed is a message that leaves the manager.
type doomed struct {
	delivery broker.Delivery
	reason   string
	back     bool // not to the dead letters, but back to its queue
}

func newReaper(log *slog.Logger) *reaper { return &reaper{log: log, wake: make(chan struct{}, 1)} }

// bury has a message moved to the dead letters.
func (r *reaper) bury(d broker.Delivery, reason string) { r.add(doomed{delivery: d, reason: reason}) }

// giveBack has a message go back to its queue, after a pause.
func (r *reaper) giveBack(d broker.Delivery) { r.add(doomed{delivery: d, back: true}) }

func (r *reaper) add(d doomed) {
	r.mu.Lock()
	r.waiting = append(r.waiting, d)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run settles messages until ctx ends. What is left then is not settled: the
// queues keep it.
func (r *reaper) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, deadAtOnce)
	for {
		d, ok := r.next()
		if !ok {
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		group.Go(func() {
			r.settle(ctx, d)
			<-slots
		})
	}
}

// next takes the message that has waited longest.
func (r *reaper) next() (d doomed, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		r.waiting = nil
		return doomed{}, false
	}
	d = r.waiting[0]
	r.waiting[0] = doomed{}
	r.waiting = r.waiting[1:]
	return d, true
}

func (r *reaper) settle(ctx context.Context, d doomed) {
	if !d.back && r.deadLetter(ctx, d) || clock.Sleep(ctx, deadPause) != nil {
		return
	}
	if err := d.delivery.Requeue(); err != nil {
		r.log.DebugContext(ctx, "a message did not go back to its queue: it comes again by itself", "message_id", d.delivery.MessageID(), "err", err)
	}
}

func (r *reaper) deadLetter(ctx context.Context, d doomed) bool {
	ctx, cancel := context.WithTimeout(ctx, deadTry)
	defer cancel()
	err := d.delivery.DeadLetter(ctx, d.reason)
	if err != nil {
		r.log.WarnContext(ctx, "a message could not be moved to the dead letters: it goes back to its queue", "message_id", d.delivery.MessageID(), "err", err)
	}
	return err == nil
}
