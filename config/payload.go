package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/schema"
)

func (e *entryReader) readExample(t *tasker.TaskType, node *yaml.Node) (err error) {
	t.Example, err = toJSON(node)
	return err
}

// readSchema reads a schema, or the path of a file that holds one.
func (e *entryReader) readSchema(t *tasker.TaskType, node *yaml.Node) (err error) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str" {
		return e.schemaFile(t, node)
	}
	if t.Schema, err = toJSON(node); err != nil {
		return err
	}
	return compile(t, "")
}

// schemaFile reads the schema of a task type from the file that is named, JSON
// or YAML.
func (e *entryReader) schemaFile(t *tasker.TaskType, node *yaml.Node) error {
	path := node.Value
	if path == "" {
		return errors.New("is empty: give a schema, or the path of a file that holds one")
	}
	if e.at(node).file != "" && !filepath.IsAbs(path) {
		path = filepath.Join(e.dir, path)
	}
	content, err := e.files.read(path, schema.MaxText)
	if err != nil {
		return fmt.Errorf("names %s, %w", path, err)
	}
	var root yaml.Node
	var value any
	if err = yaml.Unmarshal(content, &root); err == nil {
		err = root.Decode(&value) // finds what would not end
	}
	if err != nil {
		return fmt.Errorf("names %s, which is neither JSON nor YAML: %s", path, yamlError(err))
	}
	if len(root.Content) == 0 {
		return fmt.Errorf("names %s, which is empty", path)
	}
	if t.Schema, err = toJSON(root.Content[0]); err != nil {
		return fmt.Errorf("names %s, which %w", path, err)
	}
	return compile(t, path)
}

// compile checks the schema of a task type, which was in the file of that
// path, or in the configuration itself.
func compile(t *tasker.TaskType, path string) error {
	compiled, err := schema.Compile(t.Schema)
	switch {
	case err != nil && path != "":
		return fmt.Errorf("names %s: %w", path, err)
	case err != nil:
		return fmt.Errorf("holds no schema: %w", err)
	}
	t.Payloads = compiled
	return nil
}

// describe fills in what the configuration does not say of a task type and its
// handler does, and holds the example against the schema.
func (e *entryReader) describe(item *yaml.Node, t *tasker.TaskType, h handlers.Handler) {
	configured := t.Example != nil
	var d handlers.Description
	if describer, ok := handlers.Find[handlers.Describer](h); ok {
		d = describer.Describe()
	}
	t.Description, t.Usage = or(t.Description, d.Description), or(t.Usage, d.Usage)
	if t.Schema == nil && len(d.Schema) > 0 {
		t.Schema = d.Schema
		if err := compile(t, ""); err != nil {
			e.wrong(item, "%s: task type %s: its handler %q describes a schema that is none: %v", e.path, t.Name, t.Handler, err)
		}
	}
	if !configured && len(d.Example) > 0 {
		t.Example = d.Example
	}
	if t.Example == nil || t.Payloads == nil || e.bad {
		return
	}
	switch err := t.Payloads.Validate(t.Example); {
	case err == nil:
	case configured:
		e.wrong(e.place("example", item), "%s.example breaks the schema of the task type: %s", e.path, oneLine(err))
	default:
		t.Example = nil // the configuration's schema is narrower than the handler's
	}
}

// oneLine gives an error that may have several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
