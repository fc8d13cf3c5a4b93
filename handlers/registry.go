package handlers

import (
	"fmt"
	"maps"
	"slices"
)

// Registry maps task types to their handlers. Fill it before the manager starts:
// Register and Use are not safe for concurrent use.
type Registry struct {
	registered map[string]Handler
	middleware []Middleware
	handlers   map[string]Handler // the registered ones, wrapped
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{registered: map[string]Handler{}, handlers: map[string]Handler{}}
}

// Register sets the handler of a task type. A nil handler, and a second one for the
// same type, are errors.
func (r *Registry) Register(taskType string, h Handler) error {
	if h == nil {
		return fmt.Errorf("task type %q: the handler is nil", taskType)
	}
	if _, ok := r.registered[taskType]; ok {
		return fmt.Errorf("duplicate handler for task type %q", taskType)
	}
	r.registered[taskType] = h
	r.handlers[taskType] = Wrap(h, r.middleware...)
	return nil
}

// Use wraps the handlers of all types, including those that are registered later, in
// middleware, the first outermost. Each middleware is called once for every
// handler, and again when Use is called again.
func (r *Registry) Use(middleware ...Middleware) {
	r.middleware = append(r.middleware, middleware...)
	for taskType, h := range r.registered {
		r.handlers[taskType] = Wrap(h, r.middleware...)
	}
}

// Lookup returns the handler of a task type, with its middleware.
func (r *Registry) Lookup(taskType string) (Handler, bool) {
	h, ok := r.handlers[taskType]
	return h, ok
}

// TaskTypes returns the types that have a handler, sorted.
func (r *Registry) TaskTypes() []string { return slices.Sorted(maps.Keys(r.handlers)) }

// Close closes the handlers of all types, as [Close] does. None may be running. One
// that several types share is closed once.
func (r *Registry) Close() error {
	all := make([]Handler, 0, len(r.handlers))
	for _, taskType := range r.TaskTypes() {
		all = append(all, r.handlers[taskType])
	}
	return closeAll(all...)
}
