// Package check collects the mistakes in the settings of a handler.
package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Settings collects the mistakes in settings.
type Settings struct{ mistakes []error }

// Want adds a mistake in a setting unless ok.
func (c *Settings) Want(ok bool, setting, format string, args ...any) {
	if !ok {
		c.mistakes = append(c.mistakes, fmt.Errorf("setting %q: %w", setting, fmt.Errorf(format, args...)))
	}
}

// OneOf adds a mistake unless a setting has one of at least two values.
func (c *Settings) OneOf(setting, value string, allowed ...string) {
	last := len(allowed) - 1
	c.Want(slices.Contains(allowed, value), setting, "must be %s or %s, got %q", strings.Join(allowed[:last], ", "), allowed[last], value)
}

// Err returns the mistakes, joined.
func (c *Settings) Err() error { return errors.Join(c.mistakes...) }
