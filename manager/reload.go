package manager

import (
	"context"
	"log/slog"
	"sync"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// reloader changes which task types are performed, and how, while the manager runs.
type reloader struct {
	cfg      Config
	pools    *pools
	handlers handlerSet
	changed  signal.Signal // the names of the types have changed
	log      *slog.Logger

	mu         sync.Mutex       // held during a reload
	registered []*sharedHandler // the handlers of the registry
	closed     bool
}

// reload implements [Manager.Reload].
func (r *reloader) reload(types []tasker.TaskType, registry *handlers.Registry) error {
	cfg := r.cfg
	cfg.TaskTypes = types
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	types, err := cfg.performed(r.log)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return tasker.Errorf(tasker.Conflict, "the manager has stopped")
	}
	bindings, registered := r.handlers.bind(types, registry, r.log)
	if r.pools.replace(types, bindings) {
		r.changed.Raise()
	}
	r.setRegistered(registered)
	checkHandlers(r.pools, r.log)
	return nil
}

// close ends the use of all handlers.
func (r *reloader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, m := range r.pools.all() {
		m.bind(nil)
	}
	r.setRegistered(nil)
}

// setRegistered replaces the handlers of the registry. The caller holds the lock.
func (r *reloader) setRegistered(registered []*sharedHandler) {
	before := r.registered
	r.registered = registered
	for _, h := range before {
		h.release()
	}
}

// registrar stores which types the endpoints perform each time that these change.
// Until then nothing is published to them for a new type, even if its queue is
// bound. So tasks that were sent meanwhile are looked for afterwards.
type registrar struct {
	lease   *lease
	prompts prompts
	changed signal.Signal
	log     *slog.Logger
}

func (r *registrar) run(ctx context.Context) {
	for {
		select {
		case <-r.changed:
		case <-ctx.Done():
			return
		}
		for _, endpoint := range r.lease.endpoints {
			holder, err := r.lease.register(ctx, endpoint)
			switch {
			case err != nil && ctx.Err() == nil:
				r.log.ErrorContext(ctx, "could not register the endpoint's task types", "endpoint", endpoint, "err", err)
			case err != nil:
			case holder != nil:
				r.log.WarnContext(ctx, "task types not registered: another manager has the endpoint", "endpoint",
					endpoint, "holder", holder.Manager)
			default:
				r.prompts[endpoint].fullScan.Store(true)
				r.prompts[endpoint].subscribed.Raise()
			}
		}
	}
}
