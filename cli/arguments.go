package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/near"
)

// runArguments are the arguments of "tasker run".
type runArguments struct {
	taskType, identifier string
	pairs                []pair
}

// pair is an argument of a task: key=value, or key:=JSON.
type pair struct {
	key, value string
	json       bool
}

// parseRunArguments parses TYPE [ID] [key=value | key:=json]...
func parseRunArguments(args []string) (a runArguments, err error) {
	if len(args) == 0 {
		return a, usagef("missing task type: name one; tasker types lists them")
	}
	a.taskType = args[0]
	if err := tasker.ValidateTaskType(a.taskType); err != nil {
		return a, usagef("%v", err)
	}
	seen := map[string]bool{}
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			if a.identifier != "" || len(a.pairs) > 0 {
				return a, usagef("unexpected argument %q: must be key=value, or key:=JSON", arg)
			}
			if err := tasker.ValidateIdentifier(arg); err != nil {
				return a, usagef("%v", err)
			}
			a.identifier = arg
			continue
		}
		p := pair{value: value}
		p.key, p.json = strings.CutSuffix(key, ":")
		if p.key == "" {
			return a, usagef("invalid argument %q: must be key=value, or key:=JSON", arg)
		}
		if seen[p.key] {
			return a, usagef("duplicate argument %s", p.key)
		}
		seen[p.key] = true
		a.pairs = append(a.pairs, p)
	}
	return a, nil
}

// objectSchema is what matters of a schema for arguments.
type objectSchema struct {
	Properties map[string]json.RawMessage `json:"properties"`
	Additional json.RawMessage            `json:"additionalProperties"`
	Pattern    json.RawMessage            `json:"patternProperties"`
	Ref        json.RawMessage            `json:"$ref"`
	AllOf      json.RawMessage            `json:"allOf"`
	AnyOf      json.RawMessage            `json:"anyOf"`
	OneOf      json.RawMessage            `json:"oneOf"`
}

// closed reports whether the schema names all members of a payload. One that says
// nothing about others does, here: a mistyped argument must not be ignored.
func (s *objectSchema) closed() bool {
	if len(s.Properties) == 0 || s.Pattern != nil || s.Ref != nil || s.AllOf != nil || s.AnyOf != nil || s.OneOf != nil {
		return false
	}
	return s.Additional == nil || bytes.Equal(s.Additional, []byte("false"))
}

// payload returns the object of the arguments, with the types that the schema of the
// task type has for them. Without a schema a value is text, unless it is given as
// JSON.
func (a runArguments) payload(schema json.RawMessage) (json.RawMessage, error) {
	var s objectSchema
	if len(schema) > 0 && json.Unmarshal(schema, &s) != nil {
		s = objectSchema{} // a schema that is not an object
	}
	members := make(map[string]json.RawMessage, len(a.pairs))
	for _, p := range a.pairs {
		property, known := s.Properties[p.key]
		if !known && s.closed() {
			return nil, unknownArgument(p.key, a.taskType, slices.Sorted(maps.Keys(s.Properties)))
		}
		value, err := p.encode(property)
		if err != nil {
			return nil, err
		}
		members[p.key] = value
	}
	return encodeJSON(members)
}

func unknownArgument(key, taskType string, known []string) error {
	meant := ""
	if name := near.Name(key, known); name != "" {
		meant = "did you mean " + name + "? "
	}
	return usagef("unknown argument %q: %s%s takes %s", key, meant, taskType, strings.Join(known, ", "))
}

// encode returns the value as JSON, of the type that the schema has for it.
func (p pair) encode(property json.RawMessage) (json.RawMessage, error) {
	types := typesOf(property)
	if p.json || len(types) > 0 && !slices.Contains(types, "string") {
		if !json.Valid([]byte(p.value)) {
			if p.json {
				return nil, usagef("invalid %s: must be JSON after :=", p.key)
			}
			return nil, usagef("invalid %s %q: must be %s", p.key, p.value, strings.Join(types, " or "))
		}
		return json.RawMessage(p.value), nil
	}
	return encodeJSON(p.value)
}

// encodeJSON encodes a value without escapes for HTML.
func encodeJSON(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(b.Bytes()), err
}

// typesOf returns the types that a schema names, if it does.
func typesOf(schema json.RawMessage) []string {
	var one struct{ Type string }
	if len(schema) == 0 {
		return nil
	}
	if json.Unmarshal(schema, &one) == nil && one.Type != "" {
		return []string{one.Type}
	}
	var several struct{ Type []string }
	_ = json.Unmarshal(schema, &several) // a schema without types
	return several.Type
}
