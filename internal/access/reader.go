package access

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker/internal/x/near"
	xtext "github.com/taskerhq/tasker/internal/x/text"
)

// reader reads the nodes of a YAML file strictly, and collects what is wrong.
type reader struct {
	file     string
	problems []string
}

func (r *reader) add(line int, format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf("%s:%d: %s", r.file, line, fmt.Sprintf(format, args...)))
}

// member is one of a mapping.
type member struct {
	key   string
	line  int
	value *yaml.Node
}

// entries returns the members of a mapping, each key once.
func (r *reader) entries(node *yaml.Node, what string) []member {
	if node.Kind != yaml.MappingNode {
		r.add(node.Line, "invalid %s: must be a mapping of keys to values, not %s", what, kindOf(node))
		return nil
	}
	var found []member
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" || key.ShortTag() == "!!null":
			r.add(key.Line, "invalid key in %s: must be text", what)
		case slices.ContainsFunc(found, func(m member) bool { return m.key == key.Value }):
			r.add(key.Line, "duplicate key %s in %s", shown(key.Value), what)
		default:
			found = append(found, member{key.Value, key.Line, value})
		}
	}
	return found
}

// members returns the values of a mapping with some known keys; nil if it is none. A
// member without a value is as if it were missing.
func (r *reader) members(node *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if node.Kind != yaml.MappingNode {
		r.add(node.Line, "invalid %s: must be a mapping with %s, not %s", what, strings.Join(known, ", "), kindOf(node))
		return nil
	}
	values := map[string]*yaml.Node{}
	for _, m := range r.entries(node, what) {
		switch {
		case !slices.Contains(known, m.key):
			r.add(m.line, "unknown key %s in %s%s: use %s", shown(m.key), what, meant(m.key, known), strings.Join(known, ", "))
		case m.value.ShortTag() != "!!null":
			values[m.key] = m.value
		}
	}
	return values
}

// list returns the elements of a list.
func (r *reader) list(node *yaml.Node, what string) []*yaml.Node {
	if node.Kind != yaml.SequenceNode {
		r.add(node.Line, "invalid %s: must be a list, such as [a, b], not %s", what, kindOf(node))
		return nil
	}
	return node.Content
}

// text returns a scalar as it is written.
func (r *reader) text(node *yaml.Node, what string) (string, bool) {
	if node.Kind != yaml.ScalarNode || node.ShortTag() == "!!null" {
		r.add(node.Line, "invalid %s: must be text, not %s", what, kindOf(node))
		return "", false
	}
	return node.Value, true
}

// kindOf returns what a node is, for messages.
func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Kind == yaml.AliasNode:
		return "an alias (*name): write it out, or put text that starts with * in quotes"
	case node.ShortTag() == "!!null":
		return "nothing"
	}
	return "text"
}

// maxShown bounds what a message quotes of the file, in bytes.
const maxShown = 64

// shown quotes a word of the file, for messages, unless it may be a token.
func shown(word string) string {
	if strings.Contains(word, "tasker_") {
		return "(not shown: it looks like a token)"
	}
	return strconv.Quote(xtext.Shorten(word, maxShown))
}

// meant proposes the known word nearest to a mistyped one.
func meant(word string, known []string) string {
	if best := near.Name(word, known); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}
