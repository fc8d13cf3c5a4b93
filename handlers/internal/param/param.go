// Package param declares the members of a payload that a program takes as
// parameters, checks their values, and puts them into arguments and variables.
package param

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/x/jsonx"
	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// defaultMaxLength bounds a text parameter, in characters.
	defaultMaxLength = 4096
	// maxShown bounds what an error shows of a value, in bytes.
	maxShown = 100
)

var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// parameter is the declaration of a parameter.
type parameter struct {
	Type        string `json:"type"`    // string, integer, number or boolean
	Pattern     string `json:"pattern"` // a Go regular expression that the whole text must match
	Enum        []any  `json:"enum"`
	Required    bool   `json:"required"`
	Default     any    `json:"default"`
	MaxLength   int    `json:"max_length"` // in characters
	AllowDash   bool   `json:"allow_dash"` // may begin an argument with "-"
	Description string `json:"description"`

	pattern  *regexp.Regexp
	enum     []string
	fallback *string
	begins   bool // an argument, which a "-" would make an option
}

// Set is the declared parameters, by name.
type Set map[string]*parameter

// Names returns the names of the parameters, sorted.
func (s Set) Names() []string { return slices.Sorted(maps.Keys(s)) }

// Read reads declarations. It also returns the invalid ones, so that what refers
// to them is not reported as well.
func Read(settings map[string]handlers.Settings) (Set, error) {
	var mistakes []error
	declared := Set{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		p := &parameter{Type: "string", MaxLength: defaultMaxLength}
		declared[name] = p
		err := settings[name].Decode(p)
		if err == nil {
			err = p.prepare()
		}
		if !validName.MatchString(name) {
			err = errors.New("invalid name: must be letters, digits and _, and not begin with a digit")
		}
		for _, mistake := range handlers.Mistakes(err) {
			mistakes = append(mistakes, fmt.Errorf(`setting "parameters": %q: %w`, name, mistake))
		}
	}
	return declared, errors.Join(mistakes...)
}

func (p *parameter) prepare() (err error) {
	if !slices.Contains([]string{"string", "integer", "number", "boolean"}, p.Type) {
		return fmt.Errorf("type must be string, integer, number or boolean, got %q", p.Type)
	}
	if p.Type != "string" && p.Pattern != "" {
		return errors.New("only a string can have a pattern")
	}
	if p.MaxLength < 1 {
		return errors.New("max_length must be at least 1")
	}
	if p.Pattern != "" {
		// By itself first: "a)|(.*" is invalid, but would match anything once it
		// is in parentheses.
		if _, err = regexp.Compile(p.Pattern); err != nil {
			return fmt.Errorf("invalid pattern: %w", err)
		}
		if p.pattern, err = regexp.Compile(anchored(p.Pattern)); err != nil {
			return fmt.Errorf("invalid pattern: %w", err)
		}
	}
	var enum []string
	for _, item := range p.Enum {
		text, err := p.configured(item)
		if err != nil {
			return fmt.Errorf("invalid enum: %w", err)
		}
		enum = append(enum, text)
	}
	p.enum = enum // only now: its own values are not compared with it
	if p.Default == nil {
		return nil
	}
	if p.Required {
		return errors.New("a required parameter cannot have a default")
	}
	text, err := p.configured(p.Default)
	if err != nil {
		return fmt.Errorf("invalid default: %w", err)
	}
	p.fallback = &text
	return nil
}

// What a text must match as well: no argument can contain NUL, and one that a
// parameter begins must not look like an option.
const (
	argumentPattern = `^[^\x00]*$`
	leadingPattern  = `^(?:[^\x00-][^\x00]*)?$`
)

func anchored(pattern string) string { return "^(?:" + pattern + ")$" }

// configured returns the text of a value in the configuration.
func (p *parameter) configured(value any) (string, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	return p.text(raw)
}

// text returns a JSON value in the form that the program receives.
func (p *parameter) text(raw json.RawMessage) (string, error) {
	text := string(raw)
	switch p.Type {
	case "string":
		if raw[0] != '"' {
			return "", fmt.Errorf("must be a string, got %s", shorten(text))
		}
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
		if err := p.checkText(text); err != nil {
			return "", err
		}
	case "integer", "number":
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return "", fmt.Errorf("must be a number, got %s", shorten(text))
		}
		number := numberText
		if p.Type == "integer" {
			number = integerText
		}
		var err error
		if text, err = number(text); err != nil {
			return "", err
		}
	case "boolean":
		if text != "true" && text != "false" {
			return "", fmt.Errorf("must be true or false, got %s", shorten(text))
		}
	}
	if p.enum != nil {
		i := slices.IndexFunc(p.enum, func(item string) bool { return item == text || p.Type == "number" && sameNumber(item, text) })
		if i < 0 {
			return "", fmt.Errorf("must be one of %s, got %s", strings.Join(p.enum, ", "), shorten(text))
		}
		text = p.enum[i]
	}
	if p.begins && strings.HasPrefix(text, "-") {
		return "", errDash
	}
	return text, nil
}

// sameNumber reports whether JSON Schema takes two numbers for the same: 0.5 and
// 5e-1.
func sameNumber(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

func (p *parameter) checkText(text string) error {
	switch {
	case strings.ContainsRune(text, 0):
		return errors.New("contains NUL, which an argument cannot")
	case utf8.RuneCountInString(text) > p.MaxLength:
		return fmt.Errorf("must have at most %d characters, got %d", p.MaxLength, utf8.RuneCountInString(text))
	case p.pattern != nil && !p.pattern.MatchString(text):
		return fmt.Errorf("%s does not match %s", strconv.Quote(shorten(text)), p.Pattern)
	}
	return nil
}

func shorten(s string) string { return text.Shorten(s, maxShown) }

// Values returns the values in a payload, which must not have other members
// than parameters. Without parameters any payload is valid.
func (s Set) Values(payload json.RawMessage) (map[string]string, error) {
	if len(s) == 0 {
		return nil, nil
	}
	given, err := objectMembers(payload)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		declared, ok := s[name]
		if !ok {
			return nil, fmt.Errorf("unknown parameter %q: the parameters are %s", shorten(name), strings.Join(s.Names(), ", "))
		}
		if values[name], err = declared.text(given[name]); err != nil {
			return nil, fmt.Errorf("parameter %q: %w", name, err)
		}
	}
	for _, name := range s.Names() {
		_, ok := values[name]
		switch declared := s[name]; {
		case ok:
		case declared.Required:
			return nil, fmt.Errorf("missing parameter %q", name)
		case declared.fallback != nil:
			values[name] = *declared.fallback
		}
	}
	return values, nil
}

// objectMembers returns the members of a JSON object, and none of null. It
// refuses a duplicate, of which the program, reading the payload itself, might
// take the other value.
func objectMembers(payload json.RawMessage) (map[string]json.RawMessage, error) {
	if string(bytes.TrimSpace(payload)) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("invalid payload: must be an object of parameters")
	}
	found := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("invalid payload: %w", err)
		}
		name, _ := key.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("invalid payload: %w", err)
		}
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("duplicate parameter %q", shorten(name))
		}
		found[name] = value
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, fmt.Errorf("invalid payload: %w", err)
	}
	return found, nil
}

// Schema returns the JSON Schema of a payload. It refuses what [Set.Values]
// refuses, so that a task which would fail at each endpoint is refused when it
// is posted.
func (s Set) Schema() json.RawMessage {
	properties, required := object{}, []string{}
	for _, name := range s.Names() {
		properties[name] = s[name].schema()
		if s[name].Required {
			required = append(required, name)
		}
	}
	schema := object{"properties": properties, "additionalProperties": false, "type": "object"}
	if len(required) > 0 {
		schema["required"] = required
	} else {
		schema["type"] = []string{"object", "null"}
	}
	return jsonx.MustEncode(schema)
}

type object = map[string]any

func (p *parameter) schema() object {
	property := object{"type": p.Type}
	switch p.Type {
	case "string":
		property["maxLength"], property["pattern"] = p.MaxLength, argumentPattern
		if p.begins {
			property["pattern"] = leadingPattern
		}
	case "integer":
		property["minimum"], property["maximum"] = json.Number(minInteger), json.Number(maxInteger)
	case "number":
		property["minimum"], property["maximum"] = json.Number("-"+maxNumber), json.Number(maxNumber)
	}
	if p.begins && (p.Type == "integer" || p.Type == "number") {
		property["minimum"] = 0
	}
	if p.Pattern != "" {
		property["allOf"] = []object{{"pattern": anchored(p.Pattern)}}
	}
	if p.Enum != nil {
		property["enum"] = p.Enum
	}
	if p.Default != nil {
		property["default"] = p.Default
	}
	if p.Description != "" {
		property["description"] = p.Description
	}
	return property
}

// Example returns a payload with a value for each parameter.
func (s Set) Example() json.RawMessage {
	values := object{}
	for name, declared := range s {
		switch {
		case declared.Default != nil:
			values[name] = declared.Default
		case len(declared.Enum) > 0:
			values[name] = declared.Enum[0]
		case declared.Type == "string":
			values[name] = name
		case declared.Type == "boolean":
			values[name] = false
		default:
			values[name] = 1
		}
	}
	return jsonx.MustEncode(values)
}
