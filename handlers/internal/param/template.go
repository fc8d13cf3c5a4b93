package param

import (
	"errors"
	"fmt"
	"strings"

	"github.com/taskerhq/tasker/handlers/internal/placeholder"
)

// Template is text with parameters, written ${name}.
type Template struct {
	text     placeholder.Text
	declared Set // nil if a value may begin with "-"
}

// Text parses the text of a variable.
func (s Set) Text(source string) (Template, error) {
	text, err := placeholder.Parse(source)
	if err != nil {
		return Template{}, err
	}
	for _, name := range text.Names() {
		if s[name] == nil {
			return Template{}, s.unknown(name)
		}
	}
	return Template{text: text}, nil
}

// Argument parses an argument of a program. Unless allow_dash says otherwise, no
// parameter can make an option of it: neither its default nor a value may
// begin the argument with "-".
func (s Set) Argument(source string) (Template, error) {
	t, err := s.Text(source)
	if err != nil {
		return t, err
	}
	t.declared = s
	var mistakes []error
	for _, name := range t.text.Leading() {
		if p := s[name]; !p.AllowDash {
			p.begins = true
			if p.fallback != nil && strings.HasPrefix(*p.fallback, "-") {
				mistakes = append(mistakes, fmt.Errorf("the default of parameter %q %w", name, errDash))
			}
		}
	}
	return t, errors.Join(mistakes...)
}

func (s Set) unknown(name string) error {
	hint := "declare it under parameters"
	if len(s) > 0 {
		hint = "the parameters are " + strings.Join(s.Names(), ", ")
	}
	return fmt.Errorf(`unknown parameter ${%s}: %s (write $${ for a literal "${")`, name, hint)
}

var (
	errDash    = errors.New(`begins with "-", so the program would read it as an option; set allow_dash to allow it`)
	errMissing = errors.New("missing value")
)

// HasParameters reports whether the template has a parameter.
func (t Template) HasParameters() bool { return len(t.text.Names()) > 0 }

// Expand puts the values in. It reports false if one is missing: the whole
// argument is then left out.
func (t Template) Expand(values map[string]string) (text string, ok bool, err error) {
	text, err = t.text.Expand(func(before, name string) (string, error) {
		value, ok := values[name]
		switch {
		case !ok:
			return "", errMissing
		case t.declared != nil && before == "" && strings.HasPrefix(value, "-") && !t.declared[name].AllowDash:
			return "", fmt.Errorf("parameter %q %w", name, errDash)
		}
		return value, nil
	})
	if errors.Is(err, errMissing) {
		return "", false, nil
	}
	return text, err == nil, err
}
