package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// literal is a number as written. The file's numbers are read by the same code
// as those of variables and flags, so that they mean the same.
type literal string

// leadingZero matches what YAML 1.1 reads as octal and YAML 1.2 as decimal.
var leadingZero = regexp.MustCompile(`^[+-]?0[0-9_]+$`)

func errLeadingZero(number string) error {
	return fmt.Errorf("ambiguous number %s, octal or decimal: remove the leading 0, or put text in quotes", number)
}

// scalarValue returns a scalar as its writer meant it: text, true or false,
// nil, or a [literal]. What only YAML reads as something else, such as a date,
// is the text as written.
func scalarValue(node *yaml.Node) (any, error) {
	switch node.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		err := node.Decode(&b)
		return b, err
	case "!!int", "!!float":
		return literal(node.Value), nil
	}
	return node.Value, nil
}

// plainValue returns the value of one of tasker's own keys.
func plainValue(node *yaml.Node) (any, error) { return valueOf(node, scalarValue) }

// settingValue returns the value of a handler's setting, with numbers as Go
// has them: int and float64, and a [json.Number] where these would lose digits.
func settingValue(node *yaml.Node) (any, error) {
	return valueOf(node, func(node *yaml.Node) (any, error) {
		value, err := scalarValue(node)
		if number, ok := value.(literal); ok {
			return goNumber(node, string(number))
		}
		return value, err
	})
}

// valueOf returns maps and lists of what scalar returns for scalars. The node
// must be one that YAML's Decode accepts, so that its aliases end.
func valueOf(node *yaml.Node, scalar func(*yaml.Node) (any, error)) (any, error) {
	node = resolve(node)
	switch node.Kind {
	case yaml.MappingNode:
		values := make(map[string]any, len(node.Content)/2)
		return values, putMembers(values, node, scalar)
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for _, item := range node.Content {
			value, err := valueOf(item, scalar)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	}
	return scalar(node)
}

// putMembers puts the members of a mapping into values, and merged ones (<<) if
// their name is not there yet.
func putMembers(values map[string]any, node *yaml.Node, scalar func(*yaml.Node) (any, error)) error {
	var merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, member := resolve(node.Content[i]), resolve(node.Content[i+1])
		switch {
		case key.ShortTag() == "!!merge" && member.Kind == yaml.SequenceNode:
			merged = append(merged, member.Content...)
			continue
		case key.ShortTag() == "!!merge":
			merged = append(merged, member)
			continue
		case key.Kind != yaml.ScalarNode:
			return fmt.Errorf("line %d: key is not text", key.Line)
		}
		if _, ok := values[key.Value]; ok {
			continue // of the mapping that this one is merged into
		}
		value, err := valueOf(member, scalar)
		if err != nil {
			return err
		}
		values[key.Value] = value
	}
	for _, from := range merged {
		if from = resolve(from); from.Kind != yaml.MappingNode {
			return errors.New("merge key (<<) without a mapping")
		}
		if err := putMembers(values, from, scalar); err != nil {
			return err
		}
	}
	return nil
}

// exactDigits is how many decimal digits every float64 keeps.
const exactDigits = 15

func goNumber(node *yaml.Node, text string) (any, error) {
	if leadingZero.MatchString(text) {
		return nil, fmt.Errorf("line %d: %w", node.Line, errLeadingZero(text))
	}
	if n, ok := new(big.Int).SetString(strings.TrimPrefix(text, "+"), 0); ok && node.ShortTag() == "!!int" {
		if n.IsInt64() && n.Int64() <= math.MaxInt && n.Int64() >= math.MinInt {
			return int(n.Int64()), nil
		}
		return json.Number(n.String()), nil
	}
	var f float64
	if err := node.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, fmt.Errorf("number %s does not exist in JSON", quote(text))
	}
	if json.Valid([]byte(text)) && !keepsDigits(text, f) {
		return json.Number(text), nil
	}
	return f, nil
}

// keepsDigits reports whether a float64 is the number that was written.
func keepsDigits(text string, f float64) bool {
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	if len(strings.TrimLeft(strings.NewReplacer("-", "", ".", "").Replace(mantissa), "0")) <= exactDigits {
		return true
	}
	written, ok := new(big.Rat).SetString(text)
	kept, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'f', -1, 64))
	return ok && written.Cmp(kept) == 0
}

// shownNumber is a number that is shown with all its digits.
type shownNumber string

// MarshalJSON returns the number itself.
func (n shownNumber) MarshalJSON() ([]byte, error) { return []byte(n), nil }

// MarshalYAML returns the number itself.
func (n shownNumber) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: string(n)}, nil
}
