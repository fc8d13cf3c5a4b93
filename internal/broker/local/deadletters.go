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
	// maxDeadLetters is how many dead letters are kept; the oldest go first, and the
	// log says so.
	maxDeadLetters = 1000
	// deadPause is how long a dead letter rests whose handling failed.
	deadPause = 100 * time.Millisecond
)

// deadLetter is one that is kept, until it was handled.
type deadLetter struct {
	letter broker.DeadLetter
	taken  bool // somebody handles it
}

// DeadLetters gives the dead letters that are kept, the oldest first.
func (b *Broker) DeadLetters() []broker.DeadLetter {
	b.mu.Lock()
	defer b.mu.Unlock()
	letters := make([]broker.DeadLetter, len(b.dead))
	for i, d := range b.dead {
		letters[i] = d.letter
	}
	return letters
}

// bury keeps a message as a dead letter; b.mu is held.
func (b *Broker) bury(queue, reason string, m *message) {
	if len(b.dead) >= maxDeadLetters {
		b.log.Warn("too many dead letters that nobody takes: the oldest is dropped", "message_id", b.dead[0].letter.MessageID)
		b.dead = slices.Delete(b.dead, 0, len(b.dead)-maxDeadLetters+1)
	}
	b.dead = append(b.dead, &deadLetter{letter: broker.DeadLetter{
		ID: ulid.Make().String(), Body: m.body, MessageID: m.id, Queue: queue, Reason: reason,
		Time: time.Now().UTC().Truncate(time.Second),
	}})
	b.deadChanged()
}

// deadChanged wakes those who wait for a dead letter; b.mu is held.
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

// takeDead gives a letter to handle; where there is none, nil and what is
// closed when there may be one.
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

// settleDead removes a letter that was handled, and puts another one behind
// the others.
func (b *Broker) settleDead(d *deadLetter, handled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.dead, d)
	if i < 0 {
		return // it was the oldest of too many
	}
	b.dead = slices.Delete(b.dead, i, i+1)
	if !handled {
		d.taken, d.letter.Redelivered = false, true
		b.dead = append(b.dead, d)
		b.deadChanged()
	}
}
