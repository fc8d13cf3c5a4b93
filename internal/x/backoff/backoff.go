// Package backoff spaces the attempts at something that fails.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff returns exponential pauses with full jitter: the first is shorter
// than First, and the limit doubles with each until it is Most. It is not safe
// for concurrent use.
type Backoff struct {
	First, Most time.Duration // both positive
	tries       int
}

// Next returns the next pause, in [0, First), [0, 2*First), up to [0, Most).
func (b *Backoff) Next() time.Duration {
	limit := b.First << b.tries
	if limit >= b.Most || limit <= 0 {
		return rand.N(b.Most)
	}
	b.tries++
	return rand.N(limit)
}

// Reset makes the next pause a first one again.
func (b *Backoff) Reset() { b.tries = 0 }
