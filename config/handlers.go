package config

import (
	"fmt"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// CheckHandlers checks whether the handlers of all task types can work on this
// machine, as this user. It returns everything that keeps them from it, such as
// missing programs, in an [*Error]. A machine that runs only the API need not
// pass.
func (c Config) CheckHandlers() error {
	p := &problems{}
	for _, t := range c.TaskTypes {
		entry := c.entries[t.Name]
		h, err := c.catalog.Make(t.Handler, t.Settings)
		if err == nil {
			if checker, ok := handlers.Find[handlers.Checker](h); ok {
				err = checker.Check()
			}
		}
		for _, mistake := range handlers.Mistakes(err) {
			p.add(entry.from, "%s: task type %s: %v", entry.path, t.Name, mistake)
		}
	}
	return p.err()
}

// HandlerNotes returns what the handlers of the task types say about their
// settings that is not a mistake.
func (c Config) HandlerNotes() []string {
	var notes []string
	for _, t := range c.TaskTypes {
		h, err := c.catalog.Make(t.Handler, t.Settings)
		if err != nil {
			continue // CheckHandlers reports it
		}
		if noter, ok := handlers.Find[handlers.Noter](h); ok {
			for _, note := range noter.Notes() {
				notes = append(notes, fmt.Sprintf("task type %s: %s", t.Name, note))
			}
		}
	}
	return notes
}

// Handlers returns the handlers of the task types with those names; no names
// means all. The errors are those of [Config.Choose].
func (c Config) Handlers(names []string) (*handlers.Registry, error) {
	chosen, err := c.Choose(names)
	if err != nil {
		return nil, err
	}
	return c.register(chosen, func(tasker.TaskType) (handlers.Handler, bool) { return nil, false })
}

// register returns a registry with the handlers of the types; kept returns one
// that a type has already.
func (c Config) register(chosen []tasker.TaskType, kept func(tasker.TaskType) (h handlers.Handler, ok bool)) (*handlers.Registry, error) {
	registry := handlers.NewRegistry()
	for _, t := range chosen {
		h, ok := kept(t)
		if !ok {
			var err error
			if h, err = c.catalog.Make(t.Handler, t.Settings); err != nil {
				return nil, fmt.Errorf("task type %q: %w", t.Name, err)
			}
		}
		if err := registry.Register(t.Name, h); err != nil {
			return nil, err
		}
	}
	return registry, nil
}
