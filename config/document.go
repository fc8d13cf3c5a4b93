package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	xtext "github.com/taskerhq/tasker/internal/x/text"
)

// document is what a configuration file sets, with the lines that set it.
type document struct {
	name      string
	values    map[string]any // by path; null counts as not set
	lines     map[string]int
	taskTypes *yaml.Node // nil where the key is not set
	unread    bool       // it is not YAML
}

func (f *document) at(line int) source { return source{file: f.name, line: line} }

// parseDocument reads the YAML of a file. It reports what it cannot use, with
// the line, and leaves it out.
func parseDocument(name string, content []byte, p *problems) *document {
	f := &document{name: name, values: map[string]any{}, lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file sets nothing
			p.add(source{}, "%s: invalid YAML: %s", name, yamlError(err))
			f.unread = true
		}
		return f
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.add(source{}, "%s: must be a single YAML document", name)
		f.unread = true
		return f
	}
	f.section("", root.Content[0], paths(), p)
	return f
}

// section reads the mapping at a path: its keys are sections again, or keys of
// the table.
func (f *document) section(path string, node *yaml.Node, known []string, p *problems) {
	entries, ok := mapping(node)
	if !ok {
		if node.ShortTag() != "!!null" {
			p.add(f.at(node.Line), "invalid %s: must be a mapping of keys to values", or(path, "file"))
		}
		return
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := join(path, strings.ToLower(e.key.Value))
		at := f.at(e.key.Line)
		if seen[name] {
			p.add(at, "duplicate key %q", name)
			continue
		}
		seen[name] = true
		switch {
		case name == taskTypesKey:
			if e.value.ShortTag() != "!!null" {
				f.taskTypes = e.value
			}
		case slices.Contains(known, name):
			var value any
			if err := e.value.Decode(&value); err != nil { // finds aliases without an end
				p.add(at, "invalid %s: cannot be read: %s", name, yamlError(err))
				continue
			}
			value, err := plainValue(e.value)
			if err != nil {
				p.add(at, "invalid %s: %v", name, err)
				continue
			}
			if name == labelsKey {
				if _, isText := value.(string); !isText && value != nil {
					value = unfolded{value}
				}
			}
			if value != nil {
				f.values[name], f.lines[name] = value, e.key.Line
			}
		case slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name+".") }):
			f.section(name, e.value, known, p)
		default:
			p.add(at, "unknown key %q%s", clip(name), unknownKey(name, append(sections(known), known...)))
		}
	}
}

// sections returns the paths that contain keys: manager and manager.db for
// manager.db.uri.
func sections(known []string) []string {
	var all []string
	for _, k := range known {
		for i, c := range k {
			if c == '.' && !slices.Contains(all, k[:i]) {
				all = append(all, k[:i])
			}
		}
	}
	return all
}

type entry struct{ key, value *yaml.Node }

// mapping returns the entries of a mapping in their order.
func mapping(node *yaml.Node) ([]entry, bool) {
	node = resolve(node)
	if node.Kind != yaml.MappingNode {
		return nil, false
	}
	entries := make([]entry, 0, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		entries = append(entries, entry{resolve(node.Content[i]), resolve(node.Content[i+1])})
	}
	return entries, true
}

// resolve follows an alias to what it stands for.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

var quotedContent = regexp.MustCompile("`[^`]*`")

// yamlError returns the text of a YAML error without what it quotes of the
// file, which may be a secret.
func yamlError(err error) string {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(message, "anchor") {
		return "an alias (*name) has no anchor, or is inside it: put a value that starts with * in quotes"
	}
	message = quotedContent.ReplaceAllString(message, "a value")
	return strings.Join(strings.Fields(message), " ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// clip makes a name that somebody else chose fit into a message.
func clip(s string) string {
	s = xtext.Shorten(s, 80)
	if strconv.Quote(s) != `"`+s+`"` || s == "" {
		return strconv.Quote(s)
	}
	return s
}
