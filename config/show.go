package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker"
)

// setting is the value of a key, and where it was set.
type setting struct {
	path  string
	value any // with its secret masked
	plain any
	from  source
}

func newSetting(k key, from source) setting {
	s := setting{path: k.path, value: k.get(), plain: k.get(), from: from}
	if k.mask != nil {
		s.value = k.mask(s.plain)
	}
	return s
}

// YAML returns the effective configuration as a file that [Load] would read,
// with secrets masked. A comment at each value that is not a default names the
// file, variable or flag that set it.
func (c Config) YAML() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, HeadComment: fmt.Sprintf("mode %s, %s", c.Mode, c.File)}
	types := &yaml.Node{Kind: yaml.SequenceNode}
	for _, t := range c.TaskTypes {
		entry := &yaml.Node{Kind: yaml.MappingNode}
		for name, value := range shownFields(t) {
			node := &yaml.Node{}
			if err := node.Encode(value); err != nil {
				return nil, fmt.Errorf("show %s: %w", name, err)
			}
			if node.Kind == yaml.SequenceNode {
				node.Style = yaml.FlowStyle
			}
			entry.Content = append(entry.Content, scalar(name), node)
		}
		types.Content = append(types.Content, entry)
	}
	root.Content = append(root.Content, scalar(taskTypesKey), types)
	for _, s := range c.settings {
		parent, name := root, s.path
		for {
			section, rest, deeper := strings.Cut(name, ".")
			if !deeper {
				break
			}
			parent, name = child(parent, section), rest
		}
		value := &yaml.Node{}
		if err := value.Encode(s.value); err != nil {
			return nil, fmt.Errorf("show %s: %w", s.path, err)
		}
		label := scalar(name)
		if !s.from.isDefault() {
			if value.Kind == yaml.ScalarNode {
				value.LineComment = s.from.String()
			} else {
				label.HeadComment = s.from.String()
			}
		}
		parent.Content = append(parent.Content, label, value)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("show the configuration: %w", err)
	}
	return out.Bytes(), nil
}

// MarshalJSON returns what [Config.YAML] returns, as JSON without comments.
func (c Config) MarshalJSON() ([]byte, error) {
	types := make([]map[string]any, 0, len(c.TaskTypes))
	for _, t := range c.TaskTypes {
		types = append(types, maps.Collect(shownFields(t)))
	}
	root := map[string]any{taskTypesKey: types}
	for _, s := range c.settings {
		parent, name := root, s.path
		for {
			section, rest, deeper := strings.Cut(name, ".")
			if !deeper {
				break
			}
			next, ok := parent[section].(map[string]any)
			if !ok {
				next = map[string]any{}
				parent[section] = next
			}
			parent, name = next, rest
		}
		parent[name] = s.value
	}
	return json.Marshal(root)
}

// String names the configuration, and shows nothing of its content.
func (c Config) String() string { return fmt.Sprintf("configuration %s (mode %s)", c.File, c.Mode) }

// Format keeps every verb of fmt from printing the fields, which contain
// secrets.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue keeps the fields out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// shownFields returns the keys of a task type and their values, as a file would
// have them.
func shownFields(t tasker.TaskType) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, f := range (&entryReader{}).fields(&t) {
			if value := f.shown(); value != nil && !yield(f.name, value) {
				return
			}
		}
	}
}

// maskSettings hides the values of a handler's settings that have the name of a
// secret, variables and headers that may be secret, and the secrets of URIs.
func maskSettings(value any) any {
	switch v := value.(type) {
	case map[string]any:
		masked := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			_, is := v[name].(bool)
			switch {
			case secretName(name) && !is:
				masked[name] = Masked
			case strings.HasSuffix(strings.ToLower(name), "_file"):
				masked[name] = v[name] // paths
			case secretValues(name):
				masked[name] = maskMembers(v[name])
			default:
				masked[name] = maskSettings(v[name])
			}
		}
		return masked
	case []any:
		masked := make([]any, 0, len(v))
		for _, item := range v {
			masked = append(masked, maskSettings(item))
		}
		return masked
	case string:
		if strings.Contains(v, "://") {
			return maskURI(v)
		}
	case time.Duration:
		return short(v)
	case json.Number:
		return shownNumber(v)
	}
	return value
}

// secretValues reports whether any member of a setting may be a secret, whatever
// its name.
func secretValues(name string) bool {
	return slices.Contains([]string{"environment", "env", "headers", "header"}, strings.ToLower(name))
}

// maskMembers hides the values of a mapping, except placeholders that a task
// fills in. It hides anything else as a whole.
func maskMembers(value any) any {
	members, ok := value.(map[string]any)
	if !ok {
		return Masked
	}
	masked := make(map[string]any, len(members))
	for name, member := range members {
		if text, ok := member.(string); ok && (text == "" || isPlace(text)) {
			masked[name] = text
			continue
		}
		masked[name] = Masked
	}
	return masked
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// child finds or makes the section of that name.
func child(parent *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value == name {
			return parent.Content[i+1]
		}
	}
	section := &yaml.Node{Kind: yaml.MappingNode}
	parent.Content = append(parent.Content, scalar(name), section)
	return section
}
