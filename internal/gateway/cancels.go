package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// cancelPeriod is the time between two looks for new cancellations.
	cancelPeriod = time.Second
	// cancelWindow is how long after one the endpoints that heartbeat are told. It
	// exceeds the time between two heartbeats.
	cancelWindow = 3 * maxHeartbeat
)

// cancelWatch looks for new cancellations, once for all endpoints: only if there are
// some does a heartbeat cost one more read, of many endpoints together.
type cancelWatch struct {
	endpoints Endpoints
	log       *slog.Logger
	mark      string
	latest    atomic.Pointer[time.Time] // when one was seen
}

// run looks for new cancellations until ctx ends.
func (w *cancelWatch) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.look(ctx)
		_ = clock.Sleep(ctx, clock.Around(cancelPeriod))
	}
}

func (w *cancelWatch) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	mark, err := w.endpoints.CancelMark(limited)
	if err != nil {
		w.log.DebugContext(ctx, "could not look for new cancellations", "err", err)
		return
	}
	if mark != w.mark { // the first time, too: it may be from just before
		w.mark = mark
		w.latest.Store(new(time.Now()))
	}
}

// recent reports whether a heartbeat has to look for canceled results.
func (w *cancelWatch) recent() bool {
	latest := w.latest.Load()
	return latest != nil && time.Since(*latest) < cancelWindow
}
