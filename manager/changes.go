package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// changesPause lies between two events of changes.
	changesPause = 100 * time.Millisecond
	// maxChanges bounds the results that one event tells of.
	maxChanges = 1000
)

// changes gathers what changed, for live views. Of a result that changes
// several times between two events it keeps where that led.
type changes struct {
	notify func(ctx context.Context, key string, body []byte) error
	log    *slog.Logger
	wake   chan struct{}

	mu      sync.Mutex
	list    []wire.LiveChange
	index   map[tasker.ResultKey]int // in list
	leftOut int
}

func newChanges(notify func(ctx context.Context, key string, body []byte) error, log *slog.Logger) *changes {
	return &changes{notify: notify, log: log, wake: make(chan struct{}, 1), index: map[tasker.ResultKey]int{}}
}

// changed makes the change of a result, to be completed and added.
func changed(task *tasker.Task, endpoint string, attempt int, state tasker.ResultState) wire.LiveChange {
	return wire.LiveChange{
		TaskID: task.ID, Type: task.Type, Identifier: task.Identifier, Endpoint: endpoint, Attempt: attempt, State: state,
	}
}

// add takes a change that is stored already.
func (c *changes) add(change wire.LiveChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := tasker.ResultKey{TaskID: change.TaskID, Endpoint: change.Endpoint}
	at, known := c.index[key]
	switch {
	case known:
		c.list[at] = merge(c.list[at], change)
		return
	case len(c.list) == maxChanges:
		c.leftOut++
		return
	}
	c.index[key] = len(c.list)
	c.list = append(c.list, change)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// merge gives where two changes of one result lead.
func merge(first, second wire.LiveChange) wire.LiveChange {
	if second.Attempt < first.Attempt { // what an attempt told before its end
		first.Log = first.Log || second.Log
		return first
	}
	second.Log = first.Log || second.Log
	if second.State == "" {
		second.State, second.Errnr = first.State, first.Errnr
	}
	if second.Progress == nil && second.Attempt == first.Attempt {
		second.Progress = first.Progress
	}
	return second
}

// run tells of the changes until ctx ends, and then of the last ones.
func (c *changes) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-c.wake:
			c.tell(ctx)
			_ = clock.Sleep(ctx, changesPause)
		case <-ctx.Done():
		}
	}
	c.tell(context.WithoutCancel(ctx))
}

func (c *changes) tell(ctx context.Context) {
	c.mu.Lock()
	event := wire.Live{Changes: c.list, LeftOut: c.leftOut}
	c.list, c.leftOut = nil, 0
	clear(c.index)
	c.mu.Unlock()
	if len(event.Changes) == 0 {
		return
	}
	body, err := wire.EncodeLive(event)
	if err == nil {
		err = c.notify(ctx, wire.KeyLive, body)
	}
	if err != nil {
		c.log.DebugContext(ctx, "live views were not told", "err", err)
	}
}
