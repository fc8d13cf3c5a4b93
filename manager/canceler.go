package manager

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// cancelPause is the minimum time between two looks for canceled results.
	cancelPause = 20 * time.Millisecond
	// maxCanceled bounds the results of one look at an endpoint: more than run there.
	maxCanceled = 10_000
)

// canceledBy is the cause of the end of a run that somebody canceled.
type canceledBy string

// Error says who canceled it, and why.
func (c canceledBy) Error() string { return string(c) }

// Is reports whether target is [handlers.ErrCanceled].
func (canceledBy) Is(target error) bool { return target == handlers.ErrCanceled }

// canceler stops runs that were canceled. The database says which: it looks there
// when a hint comes, and after a heartbeat if a task was canceled since the last look.
type canceler struct {
	endpoints []string
	store     Endpoints
	broker    Broker
	pools     *pools
	adopter   *adopter
	beat      signal.Signal // raised after each successful heartbeat
	hinted    signal.Signal // a hint has come
	log       *slog.Logger

	mu    sync.Mutex
	hints map[string]bool // the endpoints to look at
}

func newCanceler(c *canceler) *canceler {
	c.hinted, c.hints = signal.New(), map[string]bool{}
	return c
}

// run stops canceled runs until ctx ends.
func (c *canceler) run(ctx context.Context) {
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() {
		if err := c.broker.ListenControl(ctx, c.endpoints, func(body []byte) { c.hint(ctx, body) }); err != nil && ctx.Err() == nil {
			c.log.ErrorContext(ctx, "no hints any more: cancellations are found with the next heartbeat", "err", err)
		}
	})
	mark := ""
	for {
		select {
		case <-c.beat:
			mark = c.afterBeat(ctx, mark)
		case <-c.hinted:
			c.mu.Lock()
			endpoints := slices.Sorted(maps.Keys(c.hints))
			clear(c.hints)
			c.mu.Unlock()
			c.look(ctx, endpoints)
		case <-ctx.Done():
			return
		}
		_ = clock.Sleep(ctx, cancelPause)
	}
}

// afterBeat looks at all endpoints if a task was canceled since the last look, whose
// mark it takes, and returns the new mark.
func (c *canceler) afterBeat(ctx context.Context, mark string) string {
	var found string
	err := call(ctx, func(ctx context.Context) (err error) {
		found, err = c.store.CancelMark(ctx)
		return err
	})
	if err != nil {
		c.log.DebugContext(ctx, "could not look for new cancellations", "err", err)
		return mark
	}
	if found == mark || !c.look(ctx, c.endpoints) {
		return mark
	}
	return found
}

// hint handles a hint. It may be about anything: what the database says counts.
func (c *canceler) hint(ctx context.Context, body []byte) {
	hint, err := wire.DecodeControl(body)
	if err != nil {
		c.log.DebugContext(ctx, "invalid hint", "err", err)
		return
	}
	if hint.Command != wire.CommandCancel {
		return
	}
	for _, p := range c.pools.all() {
		if p.drop(hint.TaskID) {
			c.mu.Lock()
			c.hints[p.queue.Endpoint] = true
			c.mu.Unlock()
			c.hinted.Raise()
		}
	}
}

// look stops what was canceled at some endpoints, and reports whether it could look
// at all of them.
func (c *canceler) look(ctx context.Context, endpoints []string) bool {
	all := true
	for _, endpoint := range endpoints {
		if err := c.adopter.stopCanceled(ctx, endpoint); err != nil {
			all = false
			if ctx.Err() == nil {
				c.log.ErrorContext(ctx, "could not stop canceled tasks: retrying with the next heartbeat", "endpoint", endpoint, "err", err)
			}
		}
	}
	return all
}
