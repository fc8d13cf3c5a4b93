package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
)

// audienceMemory is for how long the registered endpoints of a type are
// believed to be the same.
const audienceMemory = 10 * time.Second

// audiences know which endpoints are registered for the task types.
type audiences struct {
	store Store
	mu    sync.Mutex
	known map[string]*audience // by task type
}

// audience are the registered endpoints of a task type.
type audience struct {
	names map[string]bool // not changed any more
	read  time.Time
}

// of returns how many copies of a task there will be, and which of the listed
// endpoints are registered: nil where it is for all, or nobody knows.
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
	// They may have registered a moment ago, and looked for their tasks before
	// this one was stored.
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

// all returns the registered endpoints of a type; nil where nobody knows them.
func (a *audiences) all(ctx context.Context, taskType string) map[string]bool {
	a.mu.Lock()
	known := a.known[taskType]
	a.mu.Unlock()
	if known != nil && time.Since(known.read) < audienceMemory {
		return known.names
	}
	names, err := a.store.RegisteredEndpoints(ctx, taskType, nil)
	if err != nil {
		if known != nil {
			return known.names
		}
		return nil
	}
	fresh := &audience{names: make(map[string]bool, len(names)), read: time.Now()}
	for _, name := range names {
		fresh.names[name] = true
	}
	a.mu.Lock()
	a.known[taskType] = fresh
	a.mu.Unlock()
	return fresh.names
}
