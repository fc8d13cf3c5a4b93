// Package placeholder fills the places in a configuration's texts and JSON
// values that stand for what a request brings: "${payload.name}". "$${" is a
// "${" that is meant as it stands.
package placeholder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Values gives the value of a name. Its error says, for people, why there is
// none.
type Values func(name string) (json.RawMessage, error)

// Text is a text with places in it.
type Text struct {
	literals []string // one more than names
	names    []string
}

// Parse reads a text. A "${" without its "}" and a place without a name are
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
			return Text{}, fmt.Errorf(`%q has no end: write ${name}, or $${ for a "${" as it stands`, "${"+after)
		case name == "" || strings.ContainsAny(name, "${ \t\r\n"):
			return Text{}, fmt.Errorf(`%q holds no name: write ${name}, or $${ for a "${" as it stands`, "${"+name+"}")
		}
		literal.WriteString(before)
		t.literals, t.names = append(t.literals, literal.String()), append(t.names, name)
		literal.Reset()
		s = rest
	}
}

// Names gives the names of all places, in their order.
func (t Text) Names() []string { return t.names }

// Whole gives the name of the place that is the whole text.
func (t Text) Whole() (name string, ok bool) {
	if len(t.names) == 1 && t.literals[0] == "" && t.literals[1] == "" {
		return t.names[0], true
	}
	return "", false
}

// Literal gives what stands before the first place.
func (t Text) Literal() string { return t.literals[0] }

// Fill writes the text with all its places filled. What a value becomes,
// escape says, which sees the text before it; nil leaves it as it is.
func (t Text) Fill(values Values, escape func(before, value string) (string, error)) (string, error) {
	var b strings.Builder
	b.WriteString(t.literals[0])
	for i, name := range t.names {
		raw, err := values(name)
		if err != nil {
			return "", err
		}
		value, err := asText(raw)
		if err == nil && escape != nil {
			value, err = escape(b.String(), value)
		}
		if err != nil {
			return "", fmt.Errorf("${%s} %w", name, err)
		}
		b.WriteString(value)
		b.WriteString(t.literals[i+1])
	}
	return b.String(), nil
}

var errNull = errors.New("is null, and has no place in a text")

// asText gives a value as it stands in a text: a string without its quotes,
// anything else as JSON.
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
		return "", fmt.Errorf("is no JSON: %w", err)
	}
	return b.String(), nil
}

// Member finds a member of a JSON value by its path: names of members, and
// numbers of elements, from 0. ok is false where there is none.
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
