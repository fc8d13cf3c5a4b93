package manager

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
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

// canceler stops runs that were canceled, and has tasks found that were retried. The
// database says which: it looks there when a hint comes, and after a heartbeat if there
// was a command since the last look.
type canceler struct {
	endpoints []string
	store     Endpoints
	broker    Broker
	pools     *pools
	prompts   prompts
	adopter   *adopter
	holder    *holder
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

// run follows commands until ctx ends.
func (c *canceler) run(ctx context.Context) {
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() {
		if err := c.broker.ListenControl(ctx, c.endpoints, func(body []byte) { c.hint(ctx, body) }); err != nil && ctx.Err() == nil {
			c.log.ErrorContext(ctx, "no hints any more: commands are found with the next heartbeat", "err", err)
		}
	})
	mark := ""
	for {
		select {
		case <-c.beat:
			mark = c.afterBeat(ctx, mark)
			c.holder.afterBeat()
		case <-c.hinted:
			c.mu.Lock()
			endpoints := slices.Sorted(maps.Keys(c.hints))
			clear(c.hints)
			c.mu.Unlock()
			c.each(ctx, endpoints, c.adopter.stopCanceled)
		case <-ctx.Done():
			return
		}
		_ = clock.Sleep(ctx, cancelPause)
	}
}

// afterBeat looks at all endpoints if there was a command since the last look, whose
// mark it takes, and returns the new mark.
func (c *canceler) afterBeat(ctx context.Context, mark string) string {
	var found string
	err := call(ctx, func(ctx context.Context) (err error) {
		found, err = c.store.CommandMark(ctx)
		return err
	})
	if err != nil {
		c.log.DebugContext(ctx, "could not look for new commands", "err", err)
		return mark
	}
	if found == mark || !c.each(ctx, c.endpoints, c.look) {
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
	switch hint.Command {
	case wire.CommandCancel:
		c.hintCanceled(hint.TaskID)
	case wire.CommandRetry:
		c.later(hint, func() { c.rescan(hint.Type) })
	case wire.CommandReceive:
		c.later(hint, func() {
			for _, prompt := range c.prompts {
				prompt.retried.Raise()
			}
		})
	case wire.CommandHold:
		c.holder.refused(c.endpoints...)
	}
}

func (c *canceler) hintCanceled(taskID int64) {
	for _, p := range c.pools.all() {
		if p.drop(taskID) {
			c.mu.Lock()
			c.hints[p.queue.Endpoint] = true
			c.mu.Unlock()
			c.hinted.Raise()
		}
	}
}

// maxSpread bounds the time within which managers look after a hint for very many.
const maxSpread = 10 * time.Second

// later calls fn, after a while if the hint is for very many.
func (*canceler) later(hint wire.Control, fn func()) {
	if hint.SpreadMS <= 0 {
		fn()
		return
	}
	time.AfterFunc(rand.N(min(time.Duration(hint.SpreadMS)*time.Millisecond, maxSpread)), fn)
}

// rescan has the pools of a type read what waits.
func (c *canceler) rescan(taskType string) {
	for _, p := range c.pools.all() {
		if p.queue.TaskType == taskType {
			p.rescan()
		}
	}
}

// look stops what was canceled at an endpoint, and has its pools read what waits: it
// may have been retried.
func (c *canceler) look(ctx context.Context, endpoint string) error {
	unfinished, err := c.adopter.unfinished(ctx, endpoint)
	if err == nil && unfinished.Canceled {
		err = c.adopter.stopCanceled(ctx, endpoint)
	}
	if unfinished.Waiting {
		for _, p := range c.pools.at(endpoint) {
			p.rescan()
		}
	}
	return err
}

// each calls look for each of some endpoints, and reports whether all could be looked
// at.
func (c *canceler) each(ctx context.Context, endpoints []string, look func(ctx context.Context, endpoint string) error) bool {
	all := true
	for _, endpoint := range endpoints {
		if err := look(ctx, endpoint); err != nil {
			all = false
			if ctx.Err() == nil {
				c.log.ErrorContext(ctx, "could not look for commands: retrying with the next heartbeat", "endpoint", endpoint, "err", err)
			}
		}
	}
	return all
}
