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

// binding is a task type bound to its handler. A reload replaces it.
type binding struct {
	tasker.TaskType
	handler *sharedHandler // nil if there is none: the tasks are rejected
}

// use keeps the handler open until release has been called as often.
func (b *binding) use() {
	if b.handler != nil {
		b.handler.use()
	}
}

func (b *binding) release() {
	if b.handler != nil {
		b.handler.release()
	}
}

// sharedHandler is a handler with a use count: the registry, the pools and the
// runs that use it. It is closed when nobody uses it any more.
type sharedHandler struct {
	handlers.Handler
	set  *handlerSet
	log  *slog.Logger
	uses int // under the lock of set
}

// handlerSet holds the open handlers.
type handlerSet struct {
	mu   sync.Mutex
	list []*sharedHandler
}

// add adds a handler, or finds it in the set, and counts a use.
func (s *handlerSet) add(handler handlers.Handler, log *slog.Logger) *sharedHandler {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.list, func(h *sharedHandler) bool { return same(h.Handler, handler) })
	if at < 0 {
		at = len(s.list)
		s.list = append(s.list, &sharedHandler{Handler: handler, set: s, log: log})
	}
	s.list[at].uses++
	return s.list[at]
}

// bind returns the bindings of task types to the handlers of a registry, and all
// of these handlers, each with a use counted. Those of types that are not bound
// now may be wanted later, and stay open as well.
func (s *handlerSet) bind(
	types []tasker.TaskType, registry *handlers.Registry, log *slog.Logger,
) (bindings map[string]*binding, all []*sharedHandler) {
	found := map[string]*sharedHandler{}
	for _, name := range registry.TaskTypes() {
		if h, ok := registry.Lookup(name); ok {
			found[name] = s.add(h, log.With("type", name))
			all = append(all, found[name])
		}
	}
	bindings = make(map[string]*binding, len(types))
	for _, t := range types {
		bindings[t.Name] = &binding{TaskType: t, handler: found[t.Name]}
	}
	return bindings, all
}

// use counts another use by a user of the handler. Each use ends with release.
func (h *sharedHandler) use() {
	h.set.mu.Lock()
	defer h.set.mu.Unlock()
	h.uses++
}

// release ends a use. The last one closes the handler.
func (h *sharedHandler) release() {
	h.set.mu.Lock()
	h.uses--
	last := h.uses == 0
	if last {
		h.set.list = slices.DeleteFunc(h.set.list, func(other *sharedHandler) bool { return other == h })
	}
	h.set.mu.Unlock()
	if !last {
		return
	}
	if err := handlers.Close(h.Handler); err != nil {
		h.log.Warn("could not close a handler", "err", err)
	}
}

// same reports whether two handlers are identical. Handlers that cannot be
// compared, such as functions, are if they are one value in memory.
func same(a, b handlers.Handler) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	if reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() {
		return a == b
	}
	return pointer(a) == pointer(b)
}

// pointer returns the address of a handler's value, which copies of the interface
// share. reflect cannot tell apart two functions with the same code.
func pointer(h handlers.Handler) unsafe.Pointer {
	return (*struct{ _, value unsafe.Pointer })(unsafe.Pointer(&h)).value
}

// prepareHandlers calls Prepare on every bound handler that implements
// [handlers.Preparer].
func prepareHandlers(ctx context.Context, pools *pools, log *slog.Logger) {
	for _, m := range pools.all() {
		if b := m.bound(); b.handler != nil {
			if p, ok := handlers.Find[handlers.Preparer](b.handler.Handler); ok {
				p.Prepare(ctx, log)
			}
		}
	}
}

// checkHandlers logs which handlers report that they cannot work on this machine.
// That may change, so their tasks are run all the same.
func checkHandlers(pools *pools, log *slog.Logger) {
	checked := map[string]bool{}
	for _, m := range pools.all() {
		b := m.bound()
		if b.handler == nil || checked[b.Name] {
			continue
		}
		checked[b.Name] = true
		checker, ok := handlers.Find[handlers.Checker](b.handler.Handler)
		if !ok {
			continue
		}
		if err := checker.Check(); err != nil {
			log.Error("handler cannot work on this machine: its tasks will fail", "type", b.Name, "err", err)
		}
	}
}
