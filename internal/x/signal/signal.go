// Package signal wakes a goroutine that waits for something to change.
package signal

import (
	"context"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

// Signal tells one receiver that something has changed since it last looked.
// Several calls of Raise before the receiver looks count as one. It is safe for
// concurrent use. Make one with [New].
type Signal chan struct{}

// New returns a signal that is not raised.
func New() Signal { return make(Signal, 1) }

// Raise wakes the receiver, now or when it next receives from the channel. It
// never blocks.
func (s Signal) Raise() {
	select {
	case s <- struct{}{}:
	default: // raised already
	}
}

// Each calls do whenever the signal is raised, with a pause after each call, until
// ctx ends, and then once more, with a context that has not ended.
func (s Signal) Each(ctx context.Context, pause time.Duration, do func(ctx context.Context)) {
	for ctx.Err() == nil {
		select {
		case <-s:
			do(ctx)
			_ = clock.Sleep(ctx, pause)
		case <-ctx.Done():
		}
	}
	do(context.WithoutCancel(ctx))
}
