package handlers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Factory makes a handler from the settings of a task type. It checks the
// settings, all of them, and nothing else; see [Checker].
type Factory func(Settings) (Handler, error)

// Catalog is the handlers that a configuration can name. It is not safe for
// concurrent writing.
type Catalog struct {
	factories  map[string]Factory
	middleware []Middleware
}

// Builtin makes a catalog of the built-in handlers.
func Builtin() *Catalog {
	return &Catalog{factories: map[string]Factory{
		"worker":   NewWorker,
		"backup":   NewBackup,
		"sleep":    NewSleep,
		"copyfile": NewCopyfile,
		"ifconfig": NewIfconfig,
		"http":     NewHTTP,
		"service":  NewService,
		"exec":     NewExec,
		"script":   NewScript,
	}}
}

// Add puts a handler into the catalog. A name that is taken is an error.
func (c *Catalog) Add(name string, factory Factory) error {
	switch {
	case name == "":
		return fmt.Errorf("a handler needs a name")
	case factory == nil:
		return fmt.Errorf("handler %q: the factory is nil", name)
	case c.factories[name] != nil:
		return fmt.Errorf("there is a handler %q already", name)
	}
	c.factories[name] = factory
	return nil
}

// Use puts middleware around all handlers that the catalog makes. What was
// given first is the outermost.
func (c *Catalog) Use(middleware ...Middleware) { c.middleware = append(c.middleware, middleware...) }

// Names gives the names of all handlers, sorted.
func (c *Catalog) Names() []string { return slices.Sorted(maps.Keys(c.factories)) }

// Make makes a handler from its settings. An unknown name, an unknown setting
// and a bad value are errors that name what was wrong and what there is.
func (c *Catalog) Make(name string, settings Settings) (Handler, error) {
	factory, ok := c.factories[name]
	if !ok {
		return nil, fmt.Errorf("there is no handler %q; there are %s", name, strings.Join(c.Names(), ", "))
	}
	h, err := factory(settings)
	if err != nil {
		return nil, fmt.Errorf("handler %q: %w", name, err)
	}
	if h == nil {
		return nil, fmt.Errorf("handler %q: its factory made none", name)
	}
	return Wrap(h, c.middleware...), nil
}
