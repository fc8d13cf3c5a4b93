package rabbit

import (
	"context"
	"time"

	"github.com/taskerhq/tasker/internal/x/backoff"
	"github.com/taskerhq/tasker/internal/x/clock"
)

// stable is how long something must have worked for the backoff to start over.
// Otherwise, a broker that accepts and drops connections would be dialled in a
// tight loop.
const stable = 5 * time.Second

// retry spaces the attempts of a loop, from less than 100 ms to 10 s.
type retry struct{ backoff.Backoff }

func newRetry() retry {
	return retry{backoff.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}}
}

// worked starts over if things have worked since a time long enough ago.
func (r *retry) worked(since time.Time) {
	if time.Since(since) >= stable {
		r.Reset()
	}
}

// wait pauses, or returns early when ctx ends.
func (r *retry) wait(ctx context.Context) { _ = clock.Sleep(ctx, r.Next()) }
