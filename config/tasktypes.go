package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
)

// taskTypes reads task_types: a list of names, of entries, or of both.
//
// It works on YAML nodes and not through viper, which folds the case of keys:
// those of settings belong to the handlers.
func (c *checker) taskTypes(doc *document, overridden overrides) {
	node, at := doc.taskTypes, func(n *yaml.Node) source { return doc.at(n.Line) }
	if o, ok := overridden[taskTypesKey]; ok {
		at = func(*yaml.Node) source { return o.from }
		var err error
		if node, err = taskTypesNode(o.value); err != nil {
			c.add(o.from, "invalid %s: %v", taskTypesKey, err)
			return
		}
	}
	if node == nil {
		c.add(source{}, "missing %s: name at least one task type, such as worker", taskTypesKey)
		return
	}
	c.sources[taskTypesKey] = at(node)
	node = resolve(node)
	if node.Kind != yaml.SequenceNode {
		c.add(at(node), "invalid %s: must be a list of names, or of entries with a name", taskTypesKey)
		return
	}
	if len(node.Content) == 0 {
		c.add(at(node), "invalid %s: must name at least one task type, such as worker", taskTypesKey)
	}
	for i, item := range node.Content {
		item = resolve(item)
		e := entryReader{checker: c, at: at, path: fmt.Sprintf("%s[%d]", taskTypesKey, i)}
		t, ok := e.read(item)
		if !ok {
			continue
		}
		if _, twice := c.entries[t.Name]; twice {
			c.add(at(item), "duplicate task type %q in %s", t.Name, e.path)
			continue
		}
		c.TaskTypes = append(c.TaskTypes, t)
		c.entries[t.Name] = typeEntry{path: e.path, from: at(item)}
	}
}

// taskTypesNode reads the environment's form: names with commas between, or a
// YAML (or JSON) list.
func taskTypesNode(value string) (*yaml.Node, error) {
	if strings.HasPrefix(strings.TrimSpace(value), "[") {
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(value), &root); err != nil {
			return nil, fmt.Errorf("starts with [ but is not a YAML or JSON list: %s", yamlError(err))
		}
		return root.Content[0], nil
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for name := range strings.SplitSeq(value, ",") {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(name)})
	}
	return list, nil
}

// typeEntry is where an entry of task_types was read.
type typeEntry struct {
	path string // task_types[0]
	from source
}

// entryReader reads one entry of task_types.
type entryReader struct {
	*checker
	at   func(*yaml.Node) source
	path string
	bad  bool
	keys map[string]*yaml.Node // those that were read, by name
}

// place returns where a key was set, or else the entry.
func (e *entryReader) place(name string, item *yaml.Node) *yaml.Node {
	if node, ok := e.keys[name]; ok {
		return node
	}
	return item
}

// wrong reports a problem with the entry.
func (e *entryReader) wrong(n *yaml.Node, format string, args ...any) {
	e.bad = true
	e.add(e.at(n), format, args...)
}

func (e *entryReader) read(item *yaml.Node) (t tasker.TaskType, ok bool) {
	if item.Kind == yaml.ScalarNode && item.ShortTag() != "!!null" {
		t.Name = item.Value
	} else if !e.readKeys(item, &t) {
		return t, false
	}
	if t.Name == "" {
		e.wrong(item, "missing %s.name", e.path)
		return t, false
	}
	if err := tasker.ValidateTaskType(t.Name); err != nil {
		e.wrong(item, "%s: %v", e.path, err)
		return t, false
	}
	t = t.WithDefaults()
	if !e.bad && t.MaxPayload > e.API.MaxBody && !e.checker.bad["api.max_body"] {
		e.wrong(e.place("max_payload", item), "invalid %s.max_payload: must not be more than api.max_body (%d)", e.path, e.API.MaxBody)
	}
	h, err := e.catalog.Make(t.Handler, t.Settings)
	if err != nil {
		for _, mistake := range handlers.Mistakes(err) {
			e.wrong(item, "%s: task type %s: %v", e.path, t.Name, mistake)
		}
		return t, false
	}
	e.checkResultLimit(item, &t, h)
	e.describe(item, &t, h)
	return t, !e.bad
}

// checkResultLimit refuses a handler's limit above that of the manager.
func (e *entryReader) checkResultLimit(item *yaml.Node, t *tasker.TaskType, h handlers.Handler) {
	limiter, ok := handlers.Find[handlers.Limiter](h)
	if !ok || e.checker.bad["manager.max_result"] {
		return
	}
	name, limit := limiter.ResultLimit()
	if _, set := t.Settings[name]; set && limit > int64(e.Manager.MaxResult) {
		at := e.place("settings", item)
		e.wrong(at, "invalid %s.settings.%s: must not be more than manager.max_result (%d)", e.path, name, e.Manager.MaxResult)
	}
}

func (e *entryReader) readKeys(item *yaml.Node, t *tasker.TaskType) bool {
	entries, ok := mapping(item)
	if !ok {
		e.wrong(item, "invalid %s: must be a name, or a mapping with a name", e.path)
		return false
	}
	fields := e.fields(t)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	e.keys = map[string]*yaml.Node{}
	for _, entry := range entries {
		name := entry.key.Value
		path := e.path + "." + clip(name)
		i := slices.Index(names, name)
		switch {
		case e.keys[name] != nil:
			e.wrong(entry.key, "duplicate key %q", path)
			continue
		case i < 0:
			e.wrong(entry.key, "unknown key %q%s", path, suggestion("", name, names))
		default:
			for _, err := range handlers.Mistakes(readField(fields[i], entry.value)) {
				e.wrong(entry.key, "invalid %s: %v", path, err)
			}
		}
		e.keys[name] = entry.key
	}
	return !e.bad
}
