package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// deadLetterTimeout bounds one try to move a message to the dead letters.
	deadLetterTimeout = 5 * time.Second
	// requeuePause is the pause before a message goes back to its queue, which
	// delivers it again.
	requeuePause = 5 * time.Second
	// maxSettling bounds the messages that are being settled at once.
	maxSettling = 64
)

// deadLetters moves messages to the dead letters in the background, so that a
// broker that accepts no messages does not keep tasks from being recorded and
// run. It holds a bounded number, since each is an unsettled delivery of a queue.
// A message that the broker does not accept as a dead letter goes back to its
// queue after a pause: it must not take up the prefetch for long.
type deadLetters struct {
	log  *slog.Logger
	wake signal.Signal

	mu      sync.Mutex
	waiting []unsettled
}

// unsettled is a message to settle other than by an acknowledgement.
type unsettled struct {
	delivery broker.Delivery
	reason   string
	requeue  bool // back to its queue, not to the dead letters
}

func newDeadLetters(log *slog.Logger) *deadLetters {
	return &deadLetters{log: log, wake: signal.New()}
}

// add moves a message of a queue to the dead letters.
func (l *deadLetters) add(ctx context.Context, queue broker.Queue, d broker.Delivery, reason string) {
	l.log.WarnContext(ctx, "dead-lettering a message", "endpoint", queue.Endpoint, "queue", queue.Name(),
		"message_id", d.MessageID(), "reason", reason)
	l.push(unsettled{delivery: d, reason: reason})
}

// requeue returns a message to its queue after a pause.
func (l *deadLetters) requeue(d broker.Delivery) { l.push(unsettled{delivery: d, requeue: true}) }

func (l *deadLetters) push(u unsettled) {
	l.mu.Lock()
	l.waiting = append(l.waiting, u)
	l.mu.Unlock()
	l.wake.Raise()
}

// run settles messages until ctx ends. The queues keep those that are left.
func (l *deadLetters) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, maxSettling)
	for {
		u, ok := l.pop()
		if !ok {
			select {
			case <-l.wake:
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
			l.settle(ctx, u)
			<-slots
		})
	}
}

// pop returns the message that has waited longest.
func (l *deadLetters) pop() (u unsettled, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.waiting = nil
		return unsettled{}, false
	}
	u = l.waiting[0]
	l.waiting[0] = unsettled{}
	l.waiting = l.waiting[1:]
	return u, true
}

func (l *deadLetters) settle(ctx context.Context, u unsettled) {
	if !u.requeue && l.move(ctx, u) || clock.Sleep(ctx, requeuePause) != nil {
		return
	}
	if err := u.delivery.Requeue(); err != nil {
		l.log.DebugContext(ctx, "could not requeue a message: the broker delivers it again", "message_id",
			u.delivery.MessageID(), "err", err)
	}
}

// move reports whether a message has become a dead letter.
func (l *deadLetters) move(ctx context.Context, u unsettled) bool {
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	err := u.delivery.DeadLetter(ctx, u.reason)
	if err != nil {
		l.log.WarnContext(ctx, "could not dead-letter a message: it goes back to its queue", "message_id",
			u.delivery.MessageID(), "err", err)
	}
	return err == nil
}
