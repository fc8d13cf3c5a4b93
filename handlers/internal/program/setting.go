package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Checks collects the mistakes in settings.
type Checks struct{ mistakes []error }

// Want adds a mistake in a setting unless ok.
func (c *Checks) Want(ok bool, setting, format string, args ...any) {
	if !ok {
		c.mistakes = append(c.mistakes, fmt.Errorf("setting %q: %w", setting, fmt.Errorf(format, args...)))
	}
}

// OneOf adds a mistake unless a setting has one of at least two values.
func (c *Checks) OneOf(setting, value string, allowed ...string) {
	last := len(allowed) - 1
	c.Want(slices.Contains(allowed, value), setting, "must be %s or %s, got %q", strings.Join(allowed[:last], ", "), allowed[last], value)
}

// Err returns the mistakes, joined.
func (c *Checks) Err() error { return errors.Join(c.mistakes...) }

// Command is a setting: a list of a program and its arguments, or a text that is
// the program alone.
type Command []string

// UnmarshalJSON reads either form.
func (c *Command) UnmarshalJSON(raw []byte) error {
	var alone string
	if json.Unmarshal(raw, &alone) == nil {
		*c = Command{alone}
		return nil
	}
	var words []string
	if json.Unmarshal(raw, &words) != nil {
		return errors.New("must be a program, or a list of strings: the program and its arguments (numbers in quotes)")
	}
	for _, word := range words {
		if strings.ContainsRune(word, 0) {
			return fmt.Errorf("%q contains NUL, which an argument cannot", word)
		}
	}
	*c = words
	return nil
}

// Check checks the name of the program.
func (c Command) Check() error {
	switch name := c[0]; {
	case name == "" || strings.ContainsRune(name, 0):
		return fmt.Errorf("invalid program %q", name)
	case strings.Contains(name, "${"):
		return fmt.Errorf("invalid program %q: must not contain a parameter", name)
	case !filepath.IsAbs(name) && filepath.Base(name) != name:
		return fmt.Errorf("invalid program %q: must be an absolute path, or a name to be found in PATH", name)
	}
	return nil
}
