package manager

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// pools are the pools of a manager, one for each type and endpoint. A pool stays
// when its type is removed, and rests.
type pools struct {
	endpoints []string
	prompts   prompts
	// create returns a new member for a queue.
	create func(queue broker.Queue, b *binding) *member

	mu    sync.RWMutex
	types []tasker.TaskType
	list  map[broker.Queue]*member
	start func(m *member) // nil while no tasks are taken
}

// member is a pool with what fills it.
type member struct {
	*pool
	// fill consumes and feeds until ctx ends; see [jobRunner] about taking.
	fill func(ctx, taking context.Context)
	// end ends fill; nil while the pool rests. ended is closed when it has ended.
	// Both are guarded by the lock of the pools.
	end   context.CancelFunc
	ended <-chan struct{}
}

func (p *pools) get(queue broker.Queue) *pool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if m := p.list[queue]; m != nil {
		return m.pool
	}
	return nil
}

// all returns all pools, including those that rest.
func (p *pools) all() []*member {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.list))
}

// at returns the pools of an endpoint.
func (p *pools) at(endpoint string) []*member {
	return slices.DeleteFunc(p.all(), func(m *member) bool { return m.queue.Endpoint != endpoint })
}

func (p *pools) typeNames() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	names := make([]string, len(p.types))
	for i, t := range p.types {
		names[i] = t.Name
	}
	return names
}

// serve fills the pools, including those that a reload adds, until ctx ends.
func (p *pools) serve(ctx context.Context) {
	var group sync.WaitGroup
	p.mu.Lock()
	p.start = func(m *member) { group.Go(p.fill(ctx, m)) }
	p.startTypes()
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.start = nil // what is added from now on is not started
	p.mu.Unlock()
	group.Wait()
}

// fill returns a function that fills a pool until taking ends or its type is
// removed. The caller holds the lock.
func (p *pools) fill(taking context.Context, m *member) func() {
	ctx, end := context.WithCancel(taking)
	before, ended := m.ended, make(chan struct{})
	m.end, m.ended = end, ended
	return func() {
		defer close(ended)
		defer end()
		if before != nil {
			<-before // its end before it rested
		}
		m.restore()
		if before != nil {
			m.suspect() // it has forgotten which attempts continue after a reboot
		}
		m.fill(ctx, taking)
	}
}

// startTypes starts the pools of the present types that are not running. The caller
// holds the lock, and tasks are being taken.
func (p *pools) startTypes() {
	for _, t := range p.types {
		for _, endpoint := range p.endpoints {
			if m := p.list[broker.Queue{TaskType: t.Name, Endpoint: endpoint}]; m.end == nil {
				p.start(m)
			}
		}
	}
}

// replace makes types the present ones: it binds their pools and creates missing
// ones, and lets the pools of other types rest. It reports whether the names of the
// types have changed.
func (p *pools) replace(types []tasker.TaskType, bindings map[string]*binding) (changed bool) {
	for _, m := range p.all() {
		m.bind(bindings[m.queue.TaskType])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.list {
		if bindings[m.queue.TaskType] == nil && m.end != nil {
			m.end()
			m.end = nil
		}
	}
	changed = !slices.EqualFunc(p.types, types, func(a, b tasker.TaskType) bool { return a.Name == b.Name })
	p.types = types
	for _, t := range types {
		for _, endpoint := range p.endpoints {
			queue := broker.Queue{TaskType: t.Name, Endpoint: endpoint}
			if p.list[queue] == nil {
				p.list[queue] = p.create(queue, bindings[t.Name])
			}
			if p.list[queue].end == nil {
				p.prompts[endpoint].fullScan.Store(true)
			}
		}
	}
	if p.start != nil {
		p.startTypes()
	}
	return changed
}
