package placeholder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// Value is a JSON value with placeholders in its strings. A string that is a single
// placeholder becomes its value, of whatever type; in other strings placeholders
// become text. Names of members have no placeholders.
type Value struct {
	root  any // of nil, bool, json.Number, Text, []any and map[string]any
	names []string
}

// ParseValue parses a JSON value.
func ParseValue(raw json.RawMessage) (*Value, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v Value
	if err := dec.Decode(&v.root); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	var err error
	v.root, err = v.parse(v.root)
	return &v, err
}

func (v *Value) parse(node any) (any, error) {
	var err error
	switch node := node.(type) {
	case string:
		t, err := Parse(node)
		v.names = append(v.names, t.names...)
		return t, err
	case []any:
		for i := range node {
			if node[i], err = v.parse(node[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			if node[name], err = v.parse(node[name]); err != nil {
				return nil, err
			}
		}
	}
	return node, nil
}

// Names returns the names of all placeholders.
func (v *Value) Names() []string { return v.names }

// Fill returns the value with its placeholders replaced.
func (v *Value) Fill(values Values) (json.RawMessage, error) {
	filled, err := fill(v.root, values)
	if err != nil {
		return nil, err
	}
	return jsonx.Encode(filled)
}

func fill(node any, values Values) (any, error) {
	switch node := node.(type) {
	case Text:
		if name, ok := node.Whole(); ok {
			return values(name)
		}
		return node.Fill(values, nil)
	case []any:
		out := make([]any, len(node))
		for i := range node {
			var err error
			if out[i], err = fill(node[i], values); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(node))
		for name := range node {
			var err error
			if out[name], err = fill(node[name], values); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return node, nil
}
