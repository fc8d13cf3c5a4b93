package manager

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// held is a handler that is closed when nobody uses it any more: neither the
// registry that the manager has, nor an executor for runs to come, nor a run.
type held struct {
	handlers.Handler
	all  *holdings
	log  *slog.Logger
	uses int // under the lock of all
}

// holdings are the handlers that are not closed.
type holdings struct {
	mu   sync.Mutex
	list []*held
}

// take holds a handler, or finds it where it is held already, and counts a
// user.
func (a *holdings) take(handler handlers.Handler, log *slog.Logger) *held {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := slices.IndexFunc(a.list, func(h *held) bool { return same(h.Handler, handler) })
	if at < 0 {
		at = len(a.list)
		a.list = append(a.list, &held{Handler: handler, all: a, log: log})
	}
	a.list[at].uses++
	return a.list[at]
}

// use counts a user, who calls drop when done. There is one already.
func (h *held) use() {
	h.all.mu.Lock()
	defer h.all.mu.Unlock()
	h.uses++
}

// drop takes a user away; with the last one the handler is closed.
func (h *held) drop() {
	h.all.mu.Lock()
	h.uses--
	last := h.uses == 0
	if last {
		h.all.list = slices.DeleteFunc(h.all.list, func(other *held) bool { return other == h })
	}
	h.all.mu.Unlock()
	if !last {
		return
	}
	if err := handlers.Close(h.Handler); err != nil {
		h.log.Warn("a handler could not be closed", "err", err)
	}
}

// same tells whether two handlers are one and the same. What cannot be
// compared, such as a function, is the same where it is one value in memory.
func same(a, b handlers.Handler) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	if reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() {
		return a == b
	}
	return pointer(a) == pointer(b)
}

// pointer gives where the value of a handler is. Copies of an interface share
// it, and reflect does not tell functions apart that have their code in common.
func pointer(h handlers.Handler) unsafe.Pointer {
	return (*struct{ _, value unsafe.Pointer })(unsafe.Pointer(&h)).value
}

// performer is how the tasks of a type are performed: what a reload replaces.
type performer struct {
	tasker.TaskType
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

// performers gives those of task types, and holds the handlers of the registry,
// which are then in use. One of them whose type is not performed now may be
// asked for later, and stays open, too.
func (m *Manager) performers(types []tasker.TaskType, registry *handlers.Registry) (list map[string]*performer, kept []*held) {
	found := map[string]*held{}
	for _, name := range registry.TaskTypes() {
		if h, ok := registry.Lookup(name); ok {
			found[name] = m.holdings.take(h, m.log.With("type", name))
			kept = append(kept, found[name])
		}
	}
	list = make(map[string]*performer, len(types))
	for _, t := range types {
		list[t.Name] = &performer{TaskType: t, handler: found[t.Name]}
	}
	return list, kept
}

// dropHandlers ends the use of the handlers when the manager has ended.
func (m *Manager) dropHandlers() {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	m.over = true
	for _, e := range m.all() {
		e.retire()
	}
	m.keep(nil)
}

// keep uses the handlers of another registry than until now. The caller holds
// the lock of reloads.
func (m *Manager) keep(kept []*held) {
	before := m.kept
	m.kept = kept
	for _, h := range before {
		h.drop()
	}
}

// prepare has the handlers do what they have to do before anything runs.
func (m *Manager) prepare(ctx context.Context) {
	for _, e := range m.all() {
		if how := e.performer(); how.handler != nil {
			if p, ok := handlers.Find[handlers.Preparer](how.handler.Handler); ok {
				p.Prepare(ctx, m.log)
			}
		}
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
