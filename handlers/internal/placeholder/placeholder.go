// Package placeholder fills placeholders such as ${payload.name} in texts and
// JSON values of a configuration. "$${" stands for a literal "${".
package placeholder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Values returns the value of a placeholder. Its error tells the user why there
// is none.
type Values func(name string) (json.RawMessage, error)

// Text is a text with placeholders.
type Text struct {
	literals []string // one more than names
	names    []string
}

// Parse parses a text. A "${" without "}" and a placeholder without a name are
// errors.
func Parse(s string) (Text, error) {
	var t Text
	var literal strings.Builder
	for {
		before, after, found := strings.Cut(s, "${")
		if !found {
			literal.WriteString(s)
			t.literals = append(t.literals, literal.String())
			return t, nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			literal.WriteString(escaped + "${")
			s = after
			continue
		}
		name, rest, found := strings.Cut(after, "}")
		switch {
		case !found:
			return Text{}, fmt.Errorf(`missing } after %q: write ${name}, or $${ for a literal "${"`, "${"+after)
		case name == "" || strings.ContainsAny(name, "${ \t\r\n"):
			return Text{}, fmt.Errorf(`invalid placeholder %q: write ${name}, or $${ for a literal "${"`, "${"+name+"}")
		}
		literal.WriteString(before)
		t.literals, t.names = append(t.literals, literal.String()), append(t.names, name)
		literal.Reset()
		s = rest
	}
}

// Names returns the names of the placeholders, in order.
func (t Text) Names() []string { return t.names }

// Leading returns the names of the placeholders that may begin the text: only
// placeholders precede them.
func (t Text) Leading() []string {
	for i := range t.names {
		if t.literals[i] != "" {
			return t.names[:i]
		}
	}
	return t.names
}

// Whole returns the name of the placeholder that is the whole text.
func (t Text) Whole() (name string, ok bool) {
	if len(t.names) == 1 && t.literals[0] == "" && t.literals[1] == "" {
		return t.names[0], true
	}
	return "", false
}

// Literal returns the text before the first placeholder.
func (t Text) Literal() string { return t.literals[0] }

// Expand returns the text with each placeholder replaced by what value returns
// for its name; before is the text that precedes it.
func (t Text) Expand(value func(before, name string) (string, error)) (string, error) {
	var b strings.Builder
	b.WriteString(t.literals[0])
	for i, name := range t.names {
		text, err := value(b.String(), name)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
		b.WriteString(t.literals[i+1])
	}
	return b.String(), nil
}

// Fill expands the text with JSON values: a string without its quotes, any other
// value as JSON. escape, if not nil, returns the form that a value needs after
// the text before it.
func (t Text) Fill(values Values, escape func(before, value string) (string, error)) (string, error) {
	return t.Expand(func(before, name string) (string, error) {
		raw, err := values(name)
		if err != nil {
			return "", err
		}
		value, err := asText(raw)
		if err == nil && escape != nil {
			value, err = escape(before, value)
		}
		if err != nil {
			return "", fmt.Errorf("${%s} %w", name, err)
		}
		return value, nil
	})
}

var errNull = errors.New("is null, which has no text form")

func asText(raw json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err == nil {
		if s == nil {
			return "", errNull
		}
		return *s, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return "", fmt.Errorf("is not JSON: %w", err)
	}
	return b.String(), nil
}

// Member returns the member of a JSON value at a path: names of members, and
// indexes of elements, from 0.
func Member(value json.RawMessage, path []string) (member json.RawMessage, ok bool) {
	for _, name := range path {
		switch value = bytes.TrimLeft(value, " \t\r\n"); {
		case bytes.HasPrefix(value, []byte("{")):
			var object map[string]json.RawMessage
			if json.Unmarshal(value, &object) != nil {
				return nil, false
			}
			if value, ok = object[name]; !ok {
				return nil, false
			}
		case bytes.HasPrefix(value, []byte("[")):
			var list []json.RawMessage
			i, err := strconv.ParseUint(name, 10, 31)
			if err != nil || json.Unmarshal(value, &list) != nil || i >= uint64(len(list)) {
				return nil, false
			}
			value = list[i]
		default:
			return nil, false
		}
	}
	return value, true
}
