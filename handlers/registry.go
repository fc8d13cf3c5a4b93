package handlers

import (
	"fmt"
	"maps"
	"slices"
)

// Registry maps task types to the handlers that perform them. Fill it before
// the manager starts; it is not safe for concurrent writing.
type Registry struct {
	registered map[string]Handler
	middleware []Middleware
	handlers   map[string]Handler // the registered ones, wrapped
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry {
	return &Registry{registered: map[string]Handler{}, handlers: map[string]Handler{}}
}

// Register gives a task type its handler. A second one for the same type, and
// a nil one, are errors.
func (r *Registry) Register(taskType string, h Handler) error {
	if h == nil {
		return fmt.Errorf("task type %q: the handler is nil", taskType)
	}
	if _, ok := r.registered[taskType]; ok {
		return fmt.Errorf("task type %q has a handler already", taskType)
	}
	r.registered[taskType] = h
	r.handlers[taskType] = Wrap(h, r.middleware...)
	return nil
}

// Use puts middleware around the handlers of all types, around those that are
// registered later as well. What was given first is the outermost. Each is
// called once for every handler, and again when Use is called again.
func (r *Registry) Use(middleware ...Middleware) {
	r.middleware = append(r.middleware, middleware...)
	for taskType, h := range r.registered {
		r.handlers[taskType] = Wrap(h, r.middleware...)
	}
}

// Lookup finds the handler of a task type, with its middleware.
func (r *Registry) Lookup(taskType string) (Handler, bool) {
	h, ok := r.handlers[taskType]
	return h, ok
}

// TaskTypes gives the types that have a handler, sorted.
func (r *Registry) TaskTypes() []string { return slices.Sorted(maps.Keys(r.handlers)) }

// Close closes the handlers of all types, as [Close] does, when none of them
// runs any more. One that several types share is closed once.
func (r *Registry) Close() error {
	all := make([]Handler, 0, len(r.handlers))
	for _, taskType := range r.TaskTypes() {
		all = append(all, r.handlers[taskType])
	}
	return closeAll(all...)
}
