// Package livefeed publishes what has changed, for live views: the manager's
// changes or, where endpoints work over the gateway, those of all endpoints.
package livefeed

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// eventPause is the minimum time between two events.
	eventPause = 100 * time.Millisecond
	// maxChanges bounds the results in one event.
	maxChanges = 1000
)

// NotifyFunc publishes a transient event.
type NotifyFunc func(ctx context.Context, key string, body []byte) error

// Feed publishes changes of results. Several of a result between two events become
// one. Make one with [New].
type Feed struct {
	notify NotifyFunc
	log    *slog.Logger
	wake   signal.Signal

	mu      sync.Mutex
	list    []wire.LiveChange
	index   map[tasker.ResultKey]int // in list
	leftOut int
}

// New returns a feed that publishes with notify.
func New(notify NotifyFunc, log *slog.Logger) *Feed {
	return &Feed{notify: notify, log: log, wake: signal.New(), index: map[tasker.ResultKey]int{}}
}

// ChangeOf returns a change of a result, to be completed and added.
func ChangeOf(task *tasker.Task, endpoint string, attempt int, state tasker.ResultState) wire.LiveChange {
	return wire.LiveChange{
		TaskID: task.ID, Type: task.Type, Identifier: task.Identifier, Endpoint: endpoint, Attempt: attempt, State: state,
	}
}

// Add adds a change that is already stored.
func (f *Feed) Add(change wire.LiveChange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := tasker.ResultKey{TaskID: change.TaskID, Endpoint: change.Endpoint}
	at, known := f.index[key]
	switch {
	case known:
		f.list[at] = merge(f.list[at], change)
		return
	case len(f.list) == maxChanges:
		f.leftOut++
		return
	}
	f.index[key] = len(f.list)
	f.list = append(f.list, change)
	f.wake.Raise()
}

// merge returns the sum of two changes of one result.
func merge(first, second wire.LiveChange) wire.LiveChange {
	if second.Attempt < first.Attempt { // a late report of an earlier attempt
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

// Run publishes the changes until ctx ends, and then the last ones.
func (f *Feed) Run(ctx context.Context) { f.wake.Each(ctx, eventPause, f.publish) }

func (f *Feed) publish(ctx context.Context) {
	f.mu.Lock()
	event := wire.Live{Changes: f.list, LeftOut: f.leftOut}
	f.list, f.leftOut = nil, 0
	clear(f.index)
	f.mu.Unlock()
	if len(event.Changes) == 0 {
		return
	}
	body, err := wire.EncodeLive(event)
	if err == nil {
		err = f.notify(ctx, wire.KeyLive, body)
	}
	if err != nil {
		f.log.DebugContext(ctx, "could not publish a live event", "err", err)
	}
}
