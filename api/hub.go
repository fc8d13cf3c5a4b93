package api

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// Broker is what the API needs of the message broker.
type Broker interface {
	// Ready returns why nothing could be published now, or nil.
	Ready() error
	// Listen calls handle for each event whose key matches the pattern until ctx
	// ends; then it returns nil. Events may be lost.
	Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error
}

const (
	// maxHints bounds the pending hints of one stream of all tasks.
	maxHints = 1000
	// listenAgain is the pause before the hub subscribes again after an error.
	listenAgain = 2 * time.Second
)

// hub passes the managers' events to the streams, as hints: the results that it
// reports are read from the database. It subscribes to the broker once, however
// many streams there are, and not at all if there is none.
type hub struct {
	broker Broker
	store  LiveStore
	log    *slog.Logger
	hinted signal.Signal // raised when something is pending

	mu      sync.Mutex
	pending pendingHints
	tasks   map[taskKey]map[*taskHints]bool
	all     map[*allHints]bool
	stop    context.CancelFunc // of the subscription; nil without streams
}

// taskKey identifies a task.
type taskKey struct{ taskType, identifier string }

func newHub(broker Broker, store LiveStore, log *slog.Logger) *hub {
	return &hub{
		broker: broker, store: store, log: log, hinted: signal.New(), tasks: map[taskKey]map[*taskHints]bool{},
		all: map[*allHints]bool{},
	}
}

// taskHints signals that a task may have changed. For a stream that does not read
// all results, it collects whose results have.
type taskHints struct {
	wake signal.Signal
	most int // results to collect; 0 for a stream that reads all of them

	mu        sync.Mutex
	endpoints map[string]bool
	leftOut   int
}

// add merges a change with the pending ones, and reports whether it concerns the
// stream.
func (t *taskHints) add(c wire.LiveChange) bool {
	if t.most == 0 {
		return true
	}
	if c.State == "" || tasker.ValidateEndpoint(c.Endpoint) != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.endpoints) < t.most || t.endpoints[c.Endpoint] {
		t.endpoints[c.Endpoint] = true
	} else {
		t.leftOut = min(t.leftOut+1, maxLeftOut)
	}
	return true
}

// take returns whose results have changed since the last call, sorted, and how many
// changes were dropped.
func (t *taskHints) take() (endpoints []string, leftOut int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	endpoints, leftOut = slices.Sorted(maps.Keys(t.endpoints)), t.leftOut
	clear(t.endpoints)
	t.leftOut = 0
	return endpoints, leftOut
}

// drop counts changes that were taken but could not be sent.
func (t *taskHints) drop(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leftOut = min(t.leftOut+n, maxLeftOut)
}

// followTask returns the hints for one task until leave is called. They collect
// the endpoints of at most that many changed results.
func (h *hub) followTask(key taskKey, most int) (hints *taskHints, leave func()) {
	hints = &taskHints{wake: signal.New(), most: most, endpoints: map[string]bool{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks[key] == nil {
		h.tasks[key] = map[*taskHints]bool{}
	}
	h.tasks[key][hints] = true
	h.listen()
	return hints, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.tasks[key], hints)
		if len(h.tasks[key]) == 0 {
			delete(h.tasks, key)
		}
		h.left()
	}
}

// allHints are the changes that one stream of all tasks has not sent yet: the
// latest of each result.
type allHints struct {
	wake  signal.Signal
	wants func(wire.LiveChange) bool

	mu      sync.Mutex
	changes map[tasker.ResultKey]wire.LiveChange
	order   []tasker.ResultKey
	leftOut int
}

// followAll returns the hints that wants accepts until leave is called.
func (h *hub) followAll(wants func(wire.LiveChange) bool) (hints *allHints, leave func()) {
	hints = &allHints{wake: signal.New(), wants: wants, changes: map[tasker.ResultKey]wire.LiveChange{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[hints] = true
	h.listen()
	return hints, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, hints)
		h.left()
	}
}

// take returns the changes since the last call, in the order in which they began,
// and how many were dropped.
func (a *allHints) take() (changes []wire.LiveChange, leftOut int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range a.order {
		changes = append(changes, a.changes[key])
	}
	leftOut = a.leftOut
	clear(a.changes)
	a.order, a.leftOut = a.order[:0], 0
	return changes, leftOut
}

// add merges a change with the pending one of the same result.
func (a *allHints) add(c wire.LiveChange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := tasker.ResultKey{TaskID: c.TaskID, Endpoint: c.Endpoint}
	old, ok := a.changes[key]
	switch {
	case !ok && len(a.order) == maxHints:
		a.leftOut++
		return
	case !ok:
		a.order = append(a.order, key)
	case c.Attempt == old.Attempt:
		if c.State == "" {
			c.State, c.Errnr = old.State, old.Errnr
		}
		if c.Progress == nil {
			c.Progress = old.Progress
		}
	case c.Attempt < old.Attempt:
		return
	}
	a.changes[key] = c
}

func (a *allHints) addLeftOut(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leftOut = min(a.leftOut+n, maxLeftOut)
}

// listen subscribes to the broker, with h.mu held.
func (h *hub) listen() {
	if h.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	go h.run(ctx)
	go h.verify(ctx)
}

// left ends the subscription if no stream remains, with h.mu held.
func (h *hub) left() {
	if h.stop != nil && len(h.tasks) == 0 && len(h.all) == 0 {
		h.stop()
		h.stop = nil
	}
}

// run stays subscribed until ctx ends. Without the broker the streams still poll
// the database.
func (h *hub) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := h.broker.Listen(ctx, wire.KeyLive, func(_ string, body []byte) { h.notify(ctx, body) }); err != nil {
			h.log.DebugContext(ctx, "subscribe to events failed", "err", err)
		}
		_ = clock.Sleep(ctx, listenAgain) // the loop ends with ctx
	}
}

// notify passes an event to the streams that it concerns. It never blocks.
func (h *hub) notify(ctx context.Context, body []byte) {
	event, err := wire.DecodeLive(body)
	if err != nil {
		h.log.DebugContext(ctx, "decode event failed", "err", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	concerned := map[*taskHints]bool{}
	for _, change := range event.Changes {
		for hints := range h.tasks[taskKey{change.Type, change.Identifier}] {
			if hints.add(change) {
				concerned[hints] = true
			}
		}
		if len(h.all) > 0 {
			h.pending.add(change)
		}
	}
	for hints := range concerned { // not before all changes are added: one look for all
		hints.wake.Raise()
	}
	if len(h.pending.keys) > 0 {
		h.hinted.Raise()
	}
	if event.LeftOut <= 0 {
		return
	}
	for _, followers := range h.tasks {
		for hints := range followers {
			hints.wake.Raise()
		}
	}
	for hints := range h.all {
		hints.addLeftOut(min(event.LeftOut, maxLeftOut))
		hints.wake.Raise()
	}
}
