package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxJSON bounds what a YAML value may become as JSON, in bytes: aliases
	// make much of little.
	maxJSON = miB
	// maxDepth bounds how deep it may be.
	maxDepth = 100
)

var errTooLarge = errors.New("must be at most 1 MiB as JSON, and 100 levels deep")

// toJSON writes a YAML value as JSON: members in their order, numbers with all
// their digits, and as text what only YAML reads as something else, such as a
// date. The node must be one that YAML's Decode accepts.
func toJSON(node *yaml.Node) (json.RawMessage, error) {
	var out bytes.Buffer
	if err := writeJSON(&out, node, 0); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writeJSON(out *bytes.Buffer, node *yaml.Node, depth int) error {
	if node = resolve(node); depth > maxDepth || out.Len() > maxJSON {
		return errTooLarge
	}
	switch node.Kind {
	case yaml.MappingNode:
		out.WriteByte('{')
		for i := 0; i+1 < len(node.Content); i += 2 {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeMember(out, resolve(node.Content[i]), node.Content[i+1], depth); err != nil {
				return err
			}
		}
		out.WriteByte('}')
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range node.Content {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeJSON(out, item, depth+1); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	default:
		text, err := scalarJSON(node)
		if err != nil {
			return err
		}
		out.Write(text)
	}
	return nil
}

func writeMember(out *bytes.Buffer, key, value *yaml.Node, depth int) error {
	switch {
	case key.ShortTag() == "!!merge":
		return errors.New("merge key (<<) in a JSON value: write out what it stands for")
	case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
		return fmt.Errorf("line %d: key is not text: put it in quotes", key.Line)
	}
	name, err := marshal(key.Value)
	if err != nil {
		return err
	}
	out.Write(name)
	out.WriteByte(':')
	return writeJSON(out, value, depth+1)
}

// scalarJSON returns a YAML scalar as JSON.
func scalarJSON(node *yaml.Node) ([]byte, error) {
	var value any
	switch node.ShortTag() {
	case "!!null":
		return []byte("null"), nil
	case "!!int", "!!float":
		if literal := []byte(node.Value); json.Valid(literal) {
			return literal, nil
		}
		if leadingZero.MatchString(node.Value) {
			return nil, fmt.Errorf("line %d: %w", node.Line, errLeadingZero(node.Value))
		}
		if n, ok := new(big.Int).SetString(strings.TrimPrefix(node.Value, "+"), 0); ok {
			return []byte(n.String()), nil
		}
		var f float64
		if err := node.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, fmt.Errorf("number %s does not exist in JSON", quote(node.Value))
		}
		value = f
	case "!!bool":
		var b bool
		if err := node.Decode(&b); err != nil {
			return nil, fmt.Errorf("cannot be read: %s", yamlError(err))
		}
		value = b
	default:
		value = node.Value
	}
	return marshal(value)
}

// marshal is json.Marshal without the escaping for HTML.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// shownJSON is a JSON value that YAML shows as such, with its members in their
// order.
type shownJSON json.RawMessage

// MarshalJSON returns the value itself.
func (j shownJSON) MarshalJSON() ([]byte, error) { return j, nil }

// MarshalYAML returns the value as YAML, of which JSON is a subset.
func (j shownJSON) MarshalYAML() (any, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(j, &root); err != nil {
		var value any // YAML has no surrogate pairs
		if err := json.Unmarshal(j, &value); err != nil {
			return nil, err
		}
		return value, nil
	}
	plainStyle(root.Content[0])
	return root.Content[0], nil
}

// plainStyle removes the braces and quotes of JSON that YAML does not need.
func plainStyle(node *yaml.Node) {
	node.Style &^= yaml.FlowStyle
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
		node.Style = 0 // the encoder quotes again what would be read as something else
	}
	for _, child := range node.Content {
		plainStyle(child)
	}
}
