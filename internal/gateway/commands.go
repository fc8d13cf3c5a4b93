package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// commandPeriod is the time between two looks for new commands.
	commandPeriod = time.Second
	// commandWindow is how long after one the endpoints that heartbeat are told. It
	// exceeds the time between two heartbeats.
	commandWindow = 3 * maxHeartbeat
)

// commandWatch looks for tasks that were canceled or retried, once for all endpoints:
// only if there are some does a heartbeat cost another read, of many endpoints
// together.
type commandWatch struct {
	endpoints Endpoints
	log       *slog.Logger
	mark      string
	latest    atomic.Pointer[time.Time] // when one was seen
}

// run looks for new commands until ctx ends.
func (w *commandWatch) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.look(ctx)
		_ = clock.Sleep(ctx, clock.Around(commandPeriod))
	}
}

func (w *commandWatch) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	mark, err := w.endpoints.CommandMark(limited)
	if err != nil {
		w.log.DebugContext(ctx, "could not look for new commands", "err", err)
		return
	}
	if mark != w.mark { // the first time, too: it may be from just before
		w.mark = mark
		w.latest.Store(new(time.Now()))
	}
}

// recent reports whether a heartbeat has to look for what was asked.
func (w *commandWatch) recent() bool {
	latest := w.latest.Load()
	return latest != nil && time.Since(*latest) < commandWindow
}
