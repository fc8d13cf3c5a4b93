package handlers

import (
	"fmt"
	"maps"
	"slices"
)

// Registry maps task types to the handlers that perform them. Fill it before
// the manager starts; it is not safe for concurrent writing.
type Registry struct {
	handlers map[string]Handler
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{handlers: map[string]Handler{}} }

// Register gives a task type its handler. A second one for the same type, and
// a nil one, are errors.
func (r *Registry) Register(taskType string, h Handler) error {
	if h == nil {
		return fmt.Errorf("task type %q: the handler is nil", taskType)
	}
	if _, ok := r.handlers[taskType]; ok {
		return fmt.Errorf("task type %q has a handler already", taskType)
	}
	r.handlers[taskType] = h
	return nil
}

// Lookup finds the handler of a task type.
func (r *Registry) Lookup(taskType string) (Handler, bool) {
	h, ok := r.handlers[taskType]
	return h, ok
}

// TaskTypes gives the types that have a handler, sorted.
func (r *Registry) TaskTypes() []string { return slices.Sorted(maps.Keys(r.handlers)) }
