package handlers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Factory makes a handler from the settings of a task type. It checks all of the
// settings, and nothing else; see [Checker]. Several mistakes are joined with
// errors.Join.
type Factory func(Settings) (Handler, error)

// Catalog has the handlers that a configuration can name. Add and Use are not safe for
// concurrent use.
type Catalog struct {
	factories  map[string]Factory
	middleware []Middleware
}

// NewCatalog returns an empty catalog.
func NewCatalog() *Catalog { return &Catalog{factories: map[string]Factory{}} }

// Add adds a handler. A duplicate name is an error.
func (c *Catalog) Add(name string, factory Factory) error {
	switch {
	case name == "":
		return errors.New("missing name of a handler")
	case factory == nil:
		return fmt.Errorf("handler %q: the factory is nil", name)
	case c.factories[name] != nil:
		return fmt.Errorf("duplicate handler %q", name)
	}
	c.factories[name] = factory
	return nil
}

// Use wraps all handlers that the catalog makes in middleware, the first outermost.
func (c *Catalog) Use(middleware ...Middleware) { c.middleware = append(c.middleware, middleware...) }

// Names returns the names of all handlers, sorted.
func (c *Catalog) Names() []string { return slices.Sorted(maps.Keys(c.factories)) }

// Mistakes returns the errors that are joined in err, such as one of [Catalog.Make]. It
// returns any other error as it is, and nothing for nil.
func Mistakes(err error) (mistakes []error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // not in a wrapped error, whose message would be lost
		for _, e := range joined.Unwrap() {
			mistakes = append(mistakes, Mistakes(e)...)
		}
		return mistakes
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// Make makes a handler from its settings. Its error joins one for each mistake, such as
// an unknown setting; see [Mistakes].
func (c *Catalog) Make(name string, settings Settings) (Handler, error) {
	factory, ok := c.factories[name]
	if !ok {
		return nil, fmt.Errorf("unknown handler %q: the handlers are %s", name, strings.Join(c.Names(), ", "))
	}
	h, err := factory(settings)
	if mistakes := Mistakes(err); len(mistakes) > 0 {
		for i, mistake := range mistakes {
			mistakes[i] = fmt.Errorf("handler %q: %w", name, mistake)
		}
		return nil, errors.Join(mistakes...)
	}
	if h == nil {
		return nil, fmt.Errorf("handler %q: the factory returned nil", name)
	}
	return Wrap(h, c.middleware...), nil
}
