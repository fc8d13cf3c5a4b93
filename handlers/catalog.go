package handlers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Factory makes a handler from the settings of a task type. It checks the
// settings, all of them, and nothing else; see [Checker]. Several mistakes are
// joined (errors.Join).
type Factory func(Settings) (Handler, error)

// Catalog is the handlers that a configuration can name. It is not safe for
// concurrent writing.
type Catalog struct {
	factories  map[string]Factory
	middleware []Middleware
}

// NewCatalog returns an empty catalog.
func NewCatalog() *Catalog { return &Catalog{factories: map[string]Factory{}} }

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

// Mistakes gives the errors that were joined in err, such as that of
// [Catalog.Make], one by one; of another error itself, of nil none.
func Mistakes(err error) (mistakes []error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // not in what is wrapped, whose text would be lost
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

// Make makes a handler from its settings. An unknown name, unknown settings and
// bad values are errors that name what was wrong and what there is: one for
// each, joined; see [Mistakes].
func (c *Catalog) Make(name string, settings Settings) (Handler, error) {
	factory, ok := c.factories[name]
	if !ok {
		return nil, fmt.Errorf("there is no handler %q; there are %s", name, strings.Join(c.Names(), ", "))
	}
	h, err := factory(settings)
	if mistakes := Mistakes(err); len(mistakes) > 0 {
		for i, mistake := range mistakes {
			mistakes[i] = fmt.Errorf("handler %q: %w", name, mistake)
		}
		return nil, errors.Join(mistakes...)
	}
	if h == nil {
		return nil, fmt.Errorf("handler %q: its factory made none", name)
	}
	return Wrap(h, c.middleware...), nil
}
