package rabbit

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	// stable is how long something must have worked for the next pause to be
	// a first one again; without it, a broker that accepts and drops would be
	// dialled in a hot loop.
	stable = 5 * time.Second
)

// backoff gives exponential pauses with full jitter. Its zero value is ready.
type backoff struct{ tries int }

// next is the length of the next pause, in [0, 100 ms), [0, 200 ms), up to
// [0, 10 s).
func (b *backoff) next() time.Duration {
	limit := backoffFirst << b.tries
	if limit >= backoffMost {
		return rand.N(backoffMost)
	}
	b.tries++
	return rand.N(limit)
}

// worked tells b since when things worked until now.
func (b *backoff) worked(since time.Time) {
	if time.Since(since) >= stable {
		b.tries = 0
	}
}

// wait pauses, or returns early when ctx ends.
func (b *backoff) wait(ctx context.Context) {
	timer := time.NewTimer(b.next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
