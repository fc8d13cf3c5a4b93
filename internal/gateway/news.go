package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const (
	// endedPause is the minimum time between two events about ended results.
	endedPause = 20 * time.Millisecond
	// maxEnded bounds the tasks in one of them.
	maxEnded = 1000
	// maxUnnamed bounds the results whose tasks' names are not known.
	maxUnnamed = 1000
	// maxNames bounds the names of tasks that are remembered, twice.
	maxNames = 4096
)

// news publishes what was stored: which tasks had results end, for the
// aggregation, and the changes of results, for live views. Endpoints publish
// nothing, and so cannot lie.
type news struct {
	feed   *livefeed.Feed
	live   Live
	notify livefeed.NotifyFunc
	log    *slog.Logger
	wake   signal.Signal

	mu      sync.Mutex
	ended   map[int64]bool
	unnamed map[tasker.ResultKey]bool
	// names are those of the tasks that were received or read of late, and older
	// those before.
	names, older map[int64]taskName
}

type taskName struct{ taskType, identifier string }

func newNews(live Live, notifier Notifier, log *slog.Logger) *news {
	return &news{
		feed: livefeed.New(notifier.Notify, log), live: live, notify: notifier.Notify, log: log, wake: signal.New(),
		ended: map[int64]bool{}, unnamed: map[tasker.ResultKey]bool{}, names: map[int64]taskName{},
	}
}

// recorded tells of a result that was recorded.
func (n *news) recorded(in *ledger.Incoming, task *tasker.Task) {
	n.mu.Lock()
	n.remember(task.ID, taskName{task.Type, task.Identifier})
	n.mu.Unlock()
	attempt := 0
	if in.State == tasker.Running {
		attempt = 1
	}
	change := livefeed.ChangeOf(task, in.Endpoint, attempt, in.State)
	change.Errnr = in.Errnr
	n.feed.Add(change)
}

// finished tells of an end that was stored.
func (n *news) finished(end *ledger.End) {
	n.changed(wire.LiveChange{
		TaskID: end.TaskID, Endpoint: end.Endpoint, Attempt: end.Attempt, State: end.State, Errnr: end.Errnr,
	})
	if !end.State.Finished() {
		return
	}
	n.mu.Lock()
	n.ended[end.TaskID] = true
	n.mu.Unlock()
	n.wake.Raise()
}

// reported tells of an update that was stored.
func (n *news) reported(u *ledger.LiveUpdate) {
	n.changed(wire.LiveChange{
		TaskID: u.TaskID, Endpoint: u.Endpoint, Attempt: u.Attempt, Progress: u.Progress,
		Log: len(u.Lines) > 0 || u.Totals.Complete && u.Totals.Lines > 0,
	})
}

// changed tells of a change, as soon as the name of its task is known.
func (n *news) changed(change wire.LiveChange) {
	n.mu.Lock()
	name, ok := n.names[change.TaskID]
	if !ok {
		if name, ok = n.older[change.TaskID]; ok {
			n.remember(change.TaskID, name)
		}
	}
	if !ok && len(n.unnamed) < maxUnnamed {
		n.unnamed[tasker.ResultKey{TaskID: change.TaskID, Endpoint: change.Endpoint}] = true
	}
	n.mu.Unlock()
	if !ok {
		n.wake.Raise()
		return
	}
	change.Type, change.Identifier = name.taskType, name.identifier
	n.feed.Add(change)
}

// remember remembers the name of a task. The caller holds the lock.
func (n *news) remember(id int64, name taskName) {
	if len(n.names) == maxNames {
		n.names, n.older = make(map[int64]taskName, maxNames), n.names
	}
	n.names[id] = name
}

// run publishes until ctx ends, and then the last news.
func (n *news) run(ctx context.Context) {
	done := make(chan struct{})
	defer func() { <-done }()
	go func() { defer close(done); n.feed.Run(ctx) }()
	n.wake.Each(ctx, endedPause, n.publish)
}

func (n *news) publish(ctx context.Context) {
	n.mu.Lock()
	ended, unnamed := n.ended, n.unnamed
	n.ended, n.unnamed = map[int64]bool{}, map[tasker.ResultKey]bool{}
	n.mu.Unlock()
	n.publishEnded(ctx, ended)
	n.lookUp(ctx, unnamed)
}

func (n *news) publishEnded(ctx context.Context, ended map[int64]bool) {
	var ids []int64
	flush := func() {
		if len(ids) == 0 {
			return
		}
		body, err := wire.EncodeResultsEnded(ids)
		if err == nil {
			err = n.notify(ctx, wire.KeyResultsEnded, body)
		}
		if err != nil {
			n.log.DebugContext(ctx, "could not notify the aggregation", "err", err)
		}
		ids = nil
	}
	for id := range ended {
		if ids = append(ids, id); len(ids) == maxEnded {
			flush()
		}
	}
	flush()
}

// lookUp tells of results by their present states.
func (n *news) lookUp(ctx context.Context, unnamed map[tasker.ResultKey]bool) {
	if len(unnamed) == 0 {
		return
	}
	keys := make([]tasker.ResultKey, 0, len(unnamed))
	for key := range unnamed {
		keys = append(keys, key)
	}
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	found, err := n.live.ResultNews(limited, keys)
	if err != nil {
		n.log.DebugContext(ctx, "could not read results for a live event", "err", err)
		return
	}
	for _, r := range found {
		n.mu.Lock()
		n.remember(r.TaskID, taskName{r.Type, r.Identifier})
		n.mu.Unlock()
		n.feed.Add(wire.LiveChange{
			TaskID: r.TaskID, Type: r.Type, Identifier: r.Identifier, Endpoint: r.Endpoint, Attempt: r.Attempt, State: r.State,
			Errnr: r.Errnr, Progress: r.Progress, Log: true,
		})
	}
}
