package manager

import (
	"log/slog"
	"reflect"
	"sync"

	"github.com/taskerhq/tasker/handlers"
)

// held is a handler that is closed when nobody uses it any more: neither an
// executor for runs to come, nor a run.
type held struct {
	handlers.Handler
	log  *slog.Logger
	mu   sync.Mutex
	uses int
}

// use counts a user, who calls drop when done.
func (h *held) use() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uses++
}

// drop takes a user away; with the last one the handler is closed.
func (h *held) drop() {
	h.mu.Lock()
	h.uses--
	last := h.uses == 0
	h.mu.Unlock()
	if !last {
		return
	}
	if err := handlers.Close(h.Handler); err != nil {
		h.log.Warn("a handler could not be closed", "err", err)
	}
}

// same tells whether two handlers are one and the same.
func same(a, b handlers.Handler) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// performer is how the tasks of a type are performed: what a reload replaces.
type performer struct {
	TaskType
	handler *held // nil where there is none: its tasks are rejected
}

// use keeps the handler open until drop is called as often.
func (p *performer) use() {
	if p.handler != nil {
		p.handler.use()
	}
}

func (p *performer) drop() {
	if p.handler != nil {
		p.handler.drop()
	}
}

// performers gives those of task types. A handler that is held already, as it
// is the same, stays so.
func (m *Manager) performers(types []TaskType, registry *handlers.Registry) map[string]*performer {
	var present []*held
	for _, e := range m.all() {
		if h := e.performer().handler; h != nil {
			present = append(present, h)
		}
	}
	list := make(map[string]*performer, len(types))
	for _, t := range types {
		p := &performer{TaskType: t}
		if h, ok := registry.Lookup(t.Name); ok {
			for _, other := range present {
				if same(other.Handler, h) {
					p.handler = other
				}
			}
			if p.handler == nil {
				p.handler = &held{Handler: h, log: m.log.With("type", t.Name)}
				present = append(present, p.handler)
			}
		}
		list[t.Name] = p
	}
	return list
}

// dropHandlers ends the use of the handlers when the manager has ended.
func (m *Manager) dropHandlers() {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	m.over = true
	for _, e := range m.all() {
		e.retire()
	}
}

// check logs which handlers say that they cannot work on this machine. They
// may be right for a while only, so their tasks are taken all the same.
func (m *Manager) check() {
	checked := map[string]bool{}
	for _, e := range m.all() {
		how := e.performer()
		if how.handler == nil || checked[e.name] {
			continue
		}
		checked[e.name] = true
		checker, ok := handlers.Find[handlers.Checker](how.handler.Handler)
		if !ok {
			continue
		}
		if err := checker.Check(); err != nil {
			m.log.Error("a handler cannot work here: its tasks will fail", "type", e.name, "err", err)
		}
	}
}
