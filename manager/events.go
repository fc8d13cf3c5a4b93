package manager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// eventPause is the minimum time between two events.
	eventPause = 100 * time.Millisecond
	// maxChanges bounds the results in one event.
	maxChanges = 1000
)

// notifyFunc publishes a transient event; see [Broker].
type notifyFunc func(ctx context.Context, key string, body []byte) error

// liveEvents publishes what has changed, for live views. Several changes of a
// result between two events become one.
type liveEvents struct {
	notify notifyFunc
	log    *slog.Logger
	wake   signal.Signal

	mu      sync.Mutex
	list    []wire.LiveChange
	index   map[tasker.ResultKey]int // in list
	leftOut int
}

func newLiveEvents(notify notifyFunc, log *slog.Logger) *liveEvents {
	return &liveEvents{notify: notify, log: log, wake: signal.New(), index: map[tasker.ResultKey]int{}}
}

// changeOf returns a change of a result, to be completed and added.
func changeOf(task *tasker.Task, endpoint string, attempt int, state tasker.ResultState) wire.LiveChange {
	return wire.LiveChange{
		TaskID: task.ID, Type: task.Type, Identifier: task.Identifier, Endpoint: endpoint, Attempt: attempt, State: state,
	}
}

// add adds a change that is already stored.
func (e *liveEvents) add(change wire.LiveChange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := tasker.ResultKey{TaskID: change.TaskID, Endpoint: change.Endpoint}
	at, known := e.index[key]
	switch {
	case known:
		e.list[at] = merge(e.list[at], change)
		return
	case len(e.list) == maxChanges:
		e.leftOut++
		return
	}
	e.index[key] = len(e.list)
	e.list = append(e.list, change)
	e.wake.Raise()
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

// run publishes the changes until ctx ends, and then the last ones.
func (e *liveEvents) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-e.wake:
			e.publish(ctx)
			_ = clock.Sleep(ctx, eventPause)
		case <-ctx.Done():
		}
	}
	e.publish(context.WithoutCancel(ctx))
}

func (e *liveEvents) publish(ctx context.Context) {
	e.mu.Lock()
	event := wire.Live{Changes: e.list, LeftOut: e.leftOut}
	e.list, e.leftOut = nil, 0
	clear(e.index)
	e.mu.Unlock()
	if len(event.Changes) == 0 {
		return
	}
	body, err := wire.EncodeLive(event)
	if err == nil {
		err = e.notify(ctx, wire.KeyLive, body)
	}
	if err != nil {
		e.log.DebugContext(ctx, "could not publish a live event", "err", err)
	}
}
