package manager

import (
	"context"
	"slices"
	"sync"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
)

// serving is a manager's taking of tasks, from its begin to its end.
type serving struct {
	ctx   context.Context
	group sync.WaitGroup
	// subscribed gets a value, each for its endpoint, when a consumer or new
	// task types are registered.
	subscribed map[string]chan struct{}
}

// take consumes, records and starts tasks until ctx ends.
func (m *Manager) take(ctx context.Context) {
	s := &serving{ctx: ctx, subscribed: map[string]chan struct{}{}}
	for _, endpoint := range m.cfg.Endpoints {
		subscribed := make(chan struct{}, 1)
		s.subscribed[endpoint] = subscribed
		s.group.Go(func() { m.tend(ctx, endpoint, subscribed) })
	}
	s.group.Go(func() { m.record(ctx) })
	s.group.Go(func() { m.registrations(ctx, s.subscribed) })
	m.mu.Lock()
	m.serving = s
	for _, t := range m.types {
		m.wakeUp(t.Name)
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.serving = nil // what is added from now on is not started
	m.mu.Unlock()
	s.group.Wait()
}

// wakeUp starts the executors of a type that do not run yet, or rest. The
// caller holds the lock, and tasks are being taken.
func (m *Manager) wakeUp(taskType string) {
	s := m.serving
	for _, endpoint := range m.cfg.Endpoints {
		e := m.executors[broker.Queue{TaskType: taskType, Endpoint: endpoint}]
		if e.end != nil {
			continue
		}
		ctx, end := context.WithCancel(s.ctx)
		e.end = end
		before := e.ended
		ended := make(chan struct{})
		e.ended = ended
		s.group.Go(func() {
			defer close(ended)
			defer end()
			if before != nil {
				<-before // what it did before it rested
			}
			e.rise()
			if before != nil {
				m.doubt(endpoint) // it has forgotten what is to go on after a reboot
			}
			var both sync.WaitGroup
			both.Go(func() { e.loop(ctx, s.ctx) })
			both.Go(func() { m.consume(ctx, e, s.subscribed[endpoint]) })
			both.Wait()
		})
	}
}

// registrations stores which types the endpoints perform, each time that these
// have changed. Until that is stored nothing is published to them for a new
// type, whether or not its queue is bound, so the tasks that were sent meanwhile
// are looked for then.
func (m *Manager) registrations(ctx context.Context, registered map[string]chan struct{}) {
	for {
		select {
		case <-m.register:
		case <-ctx.Done():
			return
		}
		for _, endpoint := range m.cfg.Endpoints {
			err := m.persist(ctx, "register the endpoint", func(ctx context.Context) error {
				holder, err := m.store.AcquireEndpoint(ctx, m.registration(endpoint), m.cfg.Lease)
				switch {
				case err != nil:
				case holder == nil:
					m.anew[endpoint].Store(true)
					select {
					case registered[endpoint] <- struct{}{}:
					default: // one is waiting already
					}
				default:
					m.log.WarnContext(ctx, "the endpoint's task types are not registered: another manager has it", "endpoint", endpoint, "holder", holder.Manager)
				}
				return err
			})
			if err != nil && ctx.Err() == nil {
				m.log.ErrorContext(ctx, "the endpoint's task types could not be registered", "endpoint", endpoint, "err", err)
			}
		}
	}
}

// Reload has the manager perform other task types, or the same ones in another
// way, while it runs. An error means that nothing has changed.
//
// What runs goes on as it began, with its handler and its limits; what starts
// from now on is performed as types and registry say. Handlers that are not in
// registry any more are closed when their last run has ended. Where there are
// fewer slots than before, they are given up as runs end. A type that is added
// is registered and consumed; one that is missing no longer, and what waits
// for it waits in the database until some manager performs the type again.
func (m *Manager) Reload(types []tasker.TaskType, registry *handlers.Registry) error {
	cfg := m.cfg
	cfg.TaskTypes = types
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	types, err := m.chosen(cfg)
	if err != nil {
		return err
	}
	m.reloading.Lock()
	defer m.reloading.Unlock()
	if m.over {
		return tasker.Errorf(tasker.Conflict, "the manager has ended")
	}
	performers, kept := m.performers(types, registry)
	for _, e := range m.all() {
		if how := performers[e.name]; how != nil {
			e.perform(how)
		} else {
			e.retire()
		}
	}
	m.replace(types, performers)
	m.keep(kept)
	m.check()
	return nil
}

// replace makes the executors of the types that are new, and has the others
// rest that are missing.
func (m *Manager) replace(types []tasker.TaskType, performers map[string]*performer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.executors {
		if performers[e.name] == nil && e.end != nil {
			e.end()
			e.end = nil
		}
	}
	if !slices.EqualFunc(m.types, types, func(a, b tasker.TaskType) bool { return a.Name == b.Name }) {
		select {
		case m.register <- struct{}{}:
		default: // what is registered next is what is now
		}
	}
	m.types = types
	for _, t := range types {
		for _, endpoint := range m.cfg.Endpoints {
			queue := broker.Queue{TaskType: t.Name, Endpoint: endpoint}
			if m.executors[queue] == nil {
				m.executors[queue] = newExecutor(m, endpoint, performers[t.Name])
			}
			if m.executors[queue].end == nil {
				m.anew[endpoint].Store(true)
			}
		}
		if m.serving != nil {
			m.wakeUp(t.Name)
		}
	}
}
