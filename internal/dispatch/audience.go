package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/wire"
)

// audienceMaxAge is how long the registered endpoints of a type are cached.
const audienceMaxAge = 10 * time.Second

// audiences caches which endpoints are registered for each task type, and which
// version of messages all of them read.
type audiences struct {
	store      Store
	seenWithin time.Duration
	mu         sync.Mutex
	known      map[string]*audience // by task type
}

// audience is the set of endpoints registered for a task type.
type audience struct {
	names    map[string]bool // read-only
	protocol int             // the newest version of messages that all read; 0 if there are none
	read     time.Time
}

// of returns how many copies of the task will be published, and which of its listed
// endpoints are registered; registered is nil if the task is for all endpoints, or
// if the registrations are unknown.
func (a *audiences) of(ctx context.Context, task tasker.Task) (copies int, registered map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	listed := task.Targets()
	all := a.all(ctx, task.Type)
	if listed == nil {
		return len(all), nil
	}
	if all == nil {
		return len(listed), nil
	}
	var missing []string
	for _, name := range listed {
		if !all[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return len(listed), all
	}
	// They may have registered after the cache was filled, and looked for their
	// tasks before this one was stored.
	late, err := a.store.RegisteredEndpoints(ctx, task.Type, missing)
	if err != nil {
		return len(listed), nil
	}
	registered = make(map[string]bool, len(listed))
	for _, name := range listed {
		registered[name] = all[name]
	}
	for _, name := range late {
		registered[name] = true
	}
	return len(listed) - len(missing) + len(late), registered
}

// all returns the registered endpoints of a type, or nil if they are unknown.
func (a *audiences) all(ctx context.Context, taskType string) map[string]bool {
	if known := a.get(ctx, taskType); known != nil {
		return known.names
	}
	return nil
}

// version returns the version of messages to publish to a type: the newest one that
// all of its endpoints read, and the oldest one if that is unknown.
func (a *audiences) version(ctx context.Context, taskType string) int {
	switch known := a.get(ctx, taskType); {
	case known == nil:
		return wire.Version1
	case known.protocol == 0 || known.protocol > wire.Version:
		return wire.Version
	default:
		return known.protocol
	}
}

// get returns the audience of a type, or nil if it is unknown.
func (a *audiences) get(ctx context.Context, taskType string) *audience {
	a.mu.Lock()
	known := a.known[taskType]
	a.mu.Unlock()
	if known != nil && time.Since(known.read) < audienceMaxAge {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	names, err := a.store.RegisteredEndpoints(ctx, taskType, nil)
	if err != nil {
		return known
	}
	protocol, err := a.store.OldestProtocol(ctx, taskType, a.seenWithin)
	if err != nil {
		return known
	}
	fresh := &audience{names: make(map[string]bool, len(names)), protocol: protocol, read: time.Now()}
	for _, name := range names {
		fresh.names[name] = true
	}
	a.mu.Lock()
	a.known[taskType] = fresh
	a.mu.Unlock()
	return fresh
}
