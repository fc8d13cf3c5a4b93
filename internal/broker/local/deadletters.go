package local

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker/internal/broker"
)

const (
	// maxDeadLetters is how many dead letters are kept; after that the oldest
	// are dropped, and logged.
	maxDeadLetters = 1000
	// deadPause is the pause before a dead letter is handled again after an
	// error.
	deadPause = 100 * time.Millisecond
)

// deadLetter is a dead letter that was not handled yet.
type deadLetter struct {
	letter broker.DeadLetter
	taken  bool // being handled
}

// DeadLetters returns the dead letters, oldest first.
func (b *Broker) DeadLetters() []broker.DeadLetter {
	b.mu.Lock()
	defer b.mu.Unlock()
	letters := make([]broker.DeadLetter, len(b.dead))
	for i, d := range b.dead {
		letters[i] = d.letter
	}
	return letters
}

// deadLetter adds a message to the dead letters; b.mu is held.
func (b *Broker) deadLetter(queue, reason string, m *message) {
	if len(b.dead) >= maxDeadLetters {
		b.log.Warn("too many dead letters: the oldest is dropped", "message_id", b.dead[0].letter.MessageID)
		b.dead = slices.Delete(b.dead, 0, len(b.dead)-maxDeadLetters+1)
	}
	b.dead = append(b.dead, &deadLetter{letter: broker.DeadLetter{
		ID: ulid.Make().String(), Body: m.body, MessageID: m.id, Queue: queue, Reason: reason,
		Time: time.Now().UTC().Truncate(time.Second),
	}})
	b.deadChanged()
}

// deadChanged wakes those waiting for a dead letter; b.mu is held.
func (b *Broker) deadChanged() {
	close(b.deadWake)
	b.deadWake = make(chan struct{})
}

// ConsumeDeadLetters implements [broker.Broker].
func (b *Broker) ConsumeDeadLetters(ctx context.Context, handle func(context.Context, broker.DeadLetter) error) error {
	closed := fmt.Errorf("consume the dead letters: %w", broker.ErrClosed)
	for ctx.Err() == nil {
		d, wake, err := b.takeDead()
		if err != nil {
			return closed
		}
		if d == nil {
			select {
			case <-wake:
			case <-ctx.Done():
			case <-b.closed:
			}
			continue
		}
		handled := handle(ctx, d.letter) == nil
		if !handled {
			timer := time.NewTimer(deadPause)
			select {
			case <-timer.C:
			case <-ctx.Done():
			case <-b.closed:
			}
			timer.Stop()
		}
		b.settleDead(d, handled)
	}
	return nil
}

// takeDead returns a letter to handle; if there is none, it returns nil and a
// channel that is closed when there may be one.
func (b *Broker) takeDead() (d *deadLetter, wake <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		return nil, nil, broker.ErrClosed
	}
	for _, d := range b.dead {
		if !d.taken {
			d.taken = true
			return d, nil, nil
		}
	}
	return nil, b.deadWake, nil
}

// settleDead removes a letter that was handled, or moves it behind the others.
func (b *Broker) settleDead(d *deadLetter, handled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.dead, d)
	if i < 0 {
		return // dropped meanwhile
	}
	b.dead = slices.Delete(b.dead, i, i+1)
	if !handled {
		d.taken, d.letter.Redelivered = false, true
		b.dead = append(b.dead, d)
		b.deadChanged()
	}
}
