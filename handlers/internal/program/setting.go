package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

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
