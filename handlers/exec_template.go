package handlers

import (
	"errors"
	"fmt"
	"strings"
)

// template is an argument, or the value of a variable: text and parameters.
// "$${" in it is a "${" that is none.
type template []templatePart

type templatePart struct {
	text      string
	name      string // of the parameter; empty for text
	allowDash bool
}

func parseTemplate(source string, declared parameters) (template, error) {
	var t template
	var text strings.Builder
	for source != "" {
		before, rest, found := strings.Cut(source, "${")
		if !found {
			text.WriteString(source)
			break
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			text.WriteString(escaped + "${")
			source = rest
			continue
		}
		text.WriteString(before)
		name, after, closed := strings.Cut(rest, "}")
		p, known := declared[name]
		switch {
		case !closed:
			return nil, fmt.Errorf("%q has ${ without }: write $${ where no parameter is meant", source)
		case !known && len(declared) == 0:
			return nil, fmt.Errorf("${%s} is no parameter, there are none: declare it, or write $${ where none is meant", name)
		case !known:
			return nil, fmt.Errorf("${%s} is no parameter, there are %s: declare it, or write $${ where none is meant",
				name, strings.Join(declared.names(), ", "))
		}
		t = append(t, templatePart{text: text.String()}, templatePart{name: name, allowDash: p.AllowDash})
		text.Reset()
		source = after
	}
	return append(t, templatePart{text: text.String()}), nil
}

// variable tells whether it holds a parameter.
func (t template) variable() bool { return len(t) > 1 }

// errDash keeps a value from being taken for an option.
var errDash = errors.New(`begins with "-", so that the program would take it for an option (allow_dash lets it)`)

// leading returns the parameters that may begin the text, since there is nothing
// but parameters before them.
func (t template) leading() []string {
	var names []string
	for _, part := range t {
		if part.name != "" {
			names = append(names, part.name)
		} else if part.text != "" {
			break
		}
	}
	return names
}

// anywhere lets values begin with "-": it is no argument.
func (t template) anywhere() template {
	for i := range t {
		t[i].allowDash = true
	}
	return t
}

// expand puts the values in. given is false where one of them is missing: then
// the whole argument is left out.
func (t template) expand(values map[string]string) (text string, given bool, err error) {
	var b strings.Builder
	for _, part := range t {
		value := part.text
		if part.name != "" {
			var ok bool
			if value, ok = values[part.name]; !ok {
				return "", false, nil
			}
			if b.Len() == 0 && strings.HasPrefix(value, "-") && !part.allowDash {
				return "", false, fmt.Errorf("the parameter %q %w", part.name, errDash)
			}
		}
		b.WriteString(value)
	}
	return b.String(), true, nil
}
