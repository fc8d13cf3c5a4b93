package handlers

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
)

// defaultMaxLength bounds a text parameter, in characters.
const defaultMaxLength = 4096

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// parameter is a member of the payload that a program takes.
type parameter struct {
	Type        string `json:"type"`    // string, integer, number or boolean
	Pattern     string `json:"pattern"` // of the whole text, as Go's regexp reads it
	Enum        []any  `json:"enum"`
	Required    bool   `json:"required"`
	Default     any    `json:"default"`
	MaxLength   int    `json:"max_length"` // in characters
	AllowDash   bool   `json:"allow_dash"` // may begin an argument with "-"
	Description string `json:"description"`

	pattern  *regexp.Regexp
	enum     []string
	fallback *string
	begins   bool // an argument, so that a "-" would make it an option
}

type parameters map[string]*parameter

func (p parameters) names() []string { return slices.Sorted(maps.Keys(p)) }

// readParameters gives the declared parameters, also those with mistakes, so
// that what names them is none.
func readParameters(settings map[string]Settings) (parameters, error) {
	var mistakes []error
	declared := parameters{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		p := &parameter{Type: "string", MaxLength: defaultMaxLength}
		declared[name] = p
		err := settings[name].Decode(p)
		if err == nil {
			err = p.prepare()
		}
		if !parameterName.MatchString(name) {
			err = errors.New("a name has letters, digits and _ only, and begins with no digit")
		}
		for _, mistake := range Mistakes(err) {
			mistakes = append(mistakes, fmt.Errorf(`setting "parameters": %q: %w`, name, mistake))
		}
	}
	return declared, errors.Join(mistakes...)
}

func (p *parameter) prepare() (err error) {
	switch p.Type {
	case "string", "integer", "number", "boolean":
	default:
		return fmt.Errorf("the type %q is none of string, integer, number and boolean", p.Type)
	}
	if p.Type != "string" && p.Pattern != "" {
		return errors.New("a pattern is for a string only")
	}
	if p.MaxLength < 1 {
		return errors.New("max_length is less than 1")
	}
	if p.Pattern != "" {
		// By itself first: "a)|(.*" is none, and would match anything once it is
		// in parentheses.
		if _, err = regexp.Compile(p.Pattern); err != nil {
			return fmt.Errorf("the pattern: %w", err)
		}
		if p.pattern, err = regexp.Compile(anchored(p.Pattern)); err != nil {
			return fmt.Errorf("the pattern: %w", err)
		}
	}
	var enum []string
	for _, item := range p.Enum {
		text, err := p.setting(item)
		if err != nil {
			return fmt.Errorf("the enum: %w", err)
		}
		enum = append(enum, text)
	}
	p.enum = enum // now, for the values of the enum are not held against it
	if p.Default != nil {
		if p.Required {
			return errors.New("it has a default, so it cannot be required")
		}
		text, err := p.setting(p.Default)
		if err != nil {
			return fmt.Errorf("the default: %w", err)
		}
		p.fallback = &text
	}
	return nil
}

// What a text has to match besides: no argument can hold a NUL, and one that a
// parameter begins must not be taken for an option.
const (
	argumentPattern = `^[^\x00]*$`
	leadingPattern  = `^(?:[^\x00-][^\x00]*)?$`
)

func anchored(pattern string) string { return "^(?:" + pattern + ")$" }

// setting reads a value that the configuration gives.
func (p *parameter) setting(value any) (string, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	return p.text(raw)
}

// text gives a JSON value as the program gets it.
func (p *parameter) text(raw json.RawMessage) (string, error) {
	text := string(raw)
	switch p.Type {
	case "string":
		if raw[0] != '"' {
			return "", fmt.Errorf("it is %s: give text", clipped(text))
		}
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
		if err := p.checkText(text); err != nil {
			return "", err
		}
	case "integer", "number":
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return "", fmt.Errorf("it is %s: give a number", clipped(text))
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
			return "", fmt.Errorf("it is %s: give true or false", clipped(text))
		}
	}
	if p.enum != nil {
		i := slices.IndexFunc(p.enum, func(item string) bool { return item == text || p.Type == "number" && sameNumber(item, text) })
		if i < 0 {
			return "", fmt.Errorf("it is %s: give one of %s", clipped(text), strings.Join(p.enum, ", "))
		}
		text = p.enum[i]
	}
	if p.begins && strings.HasPrefix(text, "-") {
		return "", fmt.Errorf("it %w", errDash)
	}
	return text, nil
}

// sameNumber compares what JSON Schema takes for the same: 0.5 and 5e-1.
func sameNumber(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

func (p *parameter) checkText(text string) error {
	switch {
	case strings.ContainsRune(text, 0):
		return errors.New("it holds a NUL, which no argument can")
	case utf8.RuneCountInString(text) > p.MaxLength:
		return fmt.Errorf("it has %d characters: give at most %d", utf8.RuneCountInString(text), p.MaxLength)
	case p.pattern != nil && !p.pattern.MatchString(text):
		return fmt.Errorf("it is %s, which does not match %s", strconv.Quote(clipped(text)), p.Pattern)
	}
	return nil
}

func clipped(s string) string {
	const limit = 100
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

// values reads the payload, which must have no members but the parameters where
// there are any.
func (p parameters) values(payload json.RawMessage) (map[string]string, error) {
	if len(p) == 0 {
		return nil, nil
	}
	given, err := objectMembers(payload)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		declared, ok := p[name]
		if !ok {
			return nil, fmt.Errorf("the payload has %q, which is no parameter: there are %s", clipped(name), strings.Join(p.names(), ", "))
		}
		if values[name], err = declared.text(given[name]); err != nil {
			return nil, fmt.Errorf("the parameter %q: %w", name, err)
		}
	}
	for _, name := range p.names() {
		_, ok := values[name]
		switch declared := p[name]; {
		case ok:
		case declared.Required:
			return nil, fmt.Errorf("the payload lacks the parameter %q", name)
		case declared.fallback != nil:
			values[name] = *declared.fallback
		}
	}
	return values, nil
}

// objectMembers gives those of a JSON object, or none of null. The same one twice is
// an error: the program, which reads the payload too, might take the other one.
func objectMembers(payload json.RawMessage) (map[string]json.RawMessage, error) {
	if string(bytes.TrimSpace(payload)) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("the payload is not an object of parameters")
	}
	found := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("the payload: %w", err)
		}
		name, _ := key.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("the payload: %w", err)
		}
		if _, twice := found[name]; twice {
			return nil, fmt.Errorf("the payload has %q twice", clipped(name))
		}
		found[name] = value
	}
	if _, err := dec.Token(); err != nil { // the brace
		return nil, fmt.Errorf("the payload: %w", err)
	}
	return found, nil
}

// schema is the JSON Schema of a payload: it refuses what the handler refuses, so
// that a task which would fail at each endpoint is refused when it is posted.
func (p parameters) schema() json.RawMessage {
	type object = map[string]any
	properties, required := object{}, []string{}
	for _, name := range p.names() {
		declared := p[name]
		property := object{"type": declared.Type}
		switch declared.Type {
		case "string":
			property["maxLength"] = declared.MaxLength
			property["pattern"] = argumentPattern
			if declared.begins {
				property["pattern"] = leadingPattern
			}
		case "integer":
			property["minimum"], property["maximum"] = json.Number(minInteger), json.Number(maxInteger)
		case "number":
			property["minimum"], property["maximum"] = json.Number("-"+maxNumber), json.Number(maxNumber)
		}
		if declared.begins && (declared.Type == "integer" || declared.Type == "number") {
			property["minimum"] = 0
		}
		if declared.Pattern != "" {
			property["allOf"] = []object{{"pattern": anchored(declared.Pattern)}}
		}
		if declared.Enum != nil {
			property["enum"] = declared.Enum
		}
		if declared.Default != nil {
			property["default"] = declared.Default
		}
		if declared.Description != "" {
			property["description"] = declared.Description
		}
		properties[name] = property
		if declared.Required {
			required = append(required, name)
		}
	}
	schema := object{"properties": properties, "additionalProperties": false, "type": "object"}
	if len(required) > 0 {
		schema["required"] = required
	} else {
		schema["type"] = []string{"object", "null"}
	}
	return encode(schema)
}

// example is a payload with a value for each parameter.
func (p parameters) example() json.RawMessage {
	values := map[string]any{}
	for name, declared := range p {
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
	return encode(values)
}

// encode writes a value that can be written, with "<" as it is.
func encode(value any) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return json.RawMessage("null")
	}
	return bytes.TrimRight(buf.Bytes(), "\n")
}
