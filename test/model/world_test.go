package model

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// The constants of the modelled system; those of production where it has a
// default.
const (
	taskType       = "worker"
	otherType      = "backup"
	leaseTime      = 8 * time.Second
	relayGrace     = 15 * time.Second // as in the store
	relayLease     = 30 * time.Second
	startDelay     = 9 * time.Second
	lostAfter      = 60 * time.Second
	waitForAll     = 20 * time.Second
	retryDelay     = 3 * time.Second
	seenWithin     = 30 * 24 * time.Hour
	maxAttempts    = 3
	maxIdentifiers = 5
	maxManagers    = 4
)

var endpoints = []string{"a", "b", "c"}

// chance decides: it returns a number from 0 to n-1. 0 is the normal case, so
// that a failure shrinks to a run with few faults.
type chance func(n int, what string) int

// calm is a chance without faults.
func calm(int, string) int { return 0 }

func (c chance) oneIn(n int, what string) bool { return c(n, what) == n-1 }

func pick[T any](c chance, list []T, what string) T { return list[c(len(list), what)] }

// clock is the local clock of all processes.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// run is one attempt at one endpoint's part of a task.
type run struct {
	tasker.ResultKey
	attempt int
}

// accepted is a stored task.
type accepted struct {
	tasker.Task
	asked     tasker.Task // as it was posted
	relayTime time.Time   // when a relay may claim it while it is CREATED, or it starts while it is SCHEDULED
	attempt   int         // the last attempt to publish it
}

// world has the store, its users, and what the model knows of what they did. mu
// is held except during a call of the store.
type world struct {
	mu    sync.Mutex
	ctx   context.Context
	store *store.Store
	clock *clock
	rows  *reader
	// alone means that calls do not overlap: then the model knows exactly what
	// each must answer.
	alone      bool
	violations []string
	logf       func(format string, args ...any)

	tasks       map[int64]*accepted
	identifiers map[string]*accepted
	queues      map[string]*queue
	managers    []*manager
	made        int // number of managers so far
	apis        []*api
	relays      []*relay
	starters    []*relay
	reconcilers []*reconciler
	hinted      []int64 // tasks named in events

	holder     map[string]string // by registered endpoint
	lastSeen   map[string]time.Time
	leaseUntil map[string]time.Time

	started  map[run]string                   // the managers of handlers that started
	returned map[run]ledger.End               // what the handlers returned
	taken    map[run]ledger.End               // the ends that the store said it stored
	ended    map[tasker.ResultKey]ledger.End  // final ends
	rejected map[tasker.ResultKey]bool        // recorded as REJECTED
	held     map[tasker.HoldSubject]time.Time // what is held, until when; the zero time is for ever
	earlier  map[tasker.ResultKey]int         // attempts of earlier rounds
	canceled map[tasker.ResultKey]bool        // somebody asked to cancel them
	stopped  map[tasker.ResultKey]bool        // a cancellation was answered so

	before    snapshot // before the last call
	unchecked bool     // if there was a call since the last check
}

func newWorld(ctx context.Context, s *store.Store, c *clock, rows *reader, logf func(string, ...any)) *world {
	w := &world{
		ctx: ctx, store: s, clock: c, rows: rows, logf: logf, alone: true,
		tasks: map[int64]*accepted{}, identifiers: map[string]*accepted{}, queues: map[string]*queue{},
		apis: []*api{{}, {}}, relays: []*relay{{}, {}}, starters: []*relay{{}, {}},
		reconcilers: []*reconciler{newReconciler(), newReconciler()},
		holder:      map[string]string{}, lastSeen: map[string]time.Time{}, leaseUntil: map[string]time.Time{},
		started: map[run]string{}, returned: map[run]ledger.End{}, taken: map[run]ledger.End{},
		ended: map[tasker.ResultKey]ledger.End{}, rejected: map[tasker.ResultKey]bool{}, held: map[tasker.HoldSubject]time.Time{},
		earlier: map[tasker.ResultKey]int{}, canceled: map[tasker.ResultKey]bool{}, stopped: map[tasker.ResultKey]bool{},
		before: snapshot{tasks: map[int64]taskRow{}, results: map[tasker.ResultKey]resultRow{}},
	}
	for _, name := range endpoints {
		w.queues[name] = &queue{}
	}
	return w
}

// violate records a broken promise.
func (w *world) violate(promise int, format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf("promise %d: ", promise)+fmt.Sprintf(format, args...))
}

// call calls the store, during which others may take steps. It checks the
// effect of the previous call first.
func (w *world) call(do func()) {
	if w.alone {
		w.check()
	}
	w.unchecked = true
	w.mu.Unlock()
	defer w.mu.Lock()
	do()
}

// failed reports whether a call must be repeated. With concurrent calls the
// database may refuse one temporarily; otherwise it must not.
func (w *world) failed(what string, err error) bool {
	if err != nil && (w.alone || tasker.CodeOf(err) != tasker.Unavailable) {
		w.violations = append(w.violations, fmt.Sprintf("%s failed: %v", what, err))
	}
	return err != nil
}

// registered returns all endpoints that were ever registered.
func (w *world) registered() []string { return slices.Sorted(maps.Keys(w.holder)) }

// live returns the managers that can take a step.
func (w *world) live() []*manager {
	var live []*manager
	for _, m := range w.managers {
		if !m.gone && !m.busy && !m.paused {
			live = append(live, m)
		}
	}
	return live
}

// start records that a handler starts.
func (w *world) start(m *manager, key tasker.ResultKey, attempt int) {
	r := run{key, attempt}
	if by, ok := w.started[r]; ok {
		w.violate(2, "attempt %d of task %d at %s starts in manager %s, but has started in %s", attempt, key.TaskID, key.Endpoint, m.id, by)
	}
	if attempt > maxAttempts+w.earlier[key] {
		w.violate(2, "attempt %d of task %d at %s is more than the policy allows", attempt, key.TaskID, key.Endpoint)
	}
	w.started[r] = m.id
	m.running[key] = attempt
	w.logf("  handler starts: task %d at %s, attempt %d, manager %s", key.TaskID, key.Endpoint, attempt, m.id)
}

func sortedKeys[V any](m map[tasker.ResultKey]V) []tasker.ResultKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b tasker.ResultKey) int {
		if a.TaskID != b.TaskID {
			return int(a.TaskID - b.TaskID)
		}
		return int(a.Endpoint[0]) - int(b.Endpoint[0])
	})
}
