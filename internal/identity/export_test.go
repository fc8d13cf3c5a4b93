package identity

import "time"

// The times in which a change is noticed.
const (
	Fresh = fresh
	Stale = stale
)

// SetElapsed replaces the monotonic clock.
func (a *Authenticator) SetElapsed(elapsed func() time.Duration) { a.elapsed = elapsed }
