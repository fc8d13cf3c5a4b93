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

// readSchema reads a schema, or the path of a file that contains one.
func (e *entryReader) readSchema(t *tasker.TaskType, node *yaml.Node) (err error) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str" {
		return e.readSchemaFile(t, node)
	}
	if t.Schema, err = toJSON(node); err != nil {
		return err
	}
	return compile(t)
}

// readSchemaFile reads the JSON or YAML file that a schema's node names.
func (e *entryReader) readSchemaFile(t *tasker.TaskType, node *yaml.Node) error {
	path := node.Value
	if path == "" {
		return errors.New("must be a schema, or the path of a file with one")
	}
	if e.at(node).file != "" && !filepath.IsAbs(path) {
		path = filepath.Join(e.dir, path)
	}
	content, err := e.files.read(path, schema.MaxText)
	if err != nil {
		return err
	}
	var root yaml.Node
	var value any
	if err = yaml.Unmarshal(content, &root); err == nil {
		err = root.Decode(&value) // finds aliases without an end
	}
	if err != nil {
		return fmt.Errorf("%s is neither JSON nor YAML: %s", path, yamlError(err))
	}
	if len(root.Content) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	if t.Schema, err = toJSON(root.Content[0]); err == nil {
		err = compile(t)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func compile(t *tasker.TaskType) error {
	compiled, err := schema.Compile(t.Schema)
	if err != nil {
		return err
	}
	t.Payloads = compiled
	return nil
}

// describe fills in from the handler what the configuration does not say of a
// task type, and checks the example against the schema.
func (e *entryReader) describe(item *yaml.Node, t *tasker.TaskType, h handlers.Handler) {
	configured := t.Example != nil
	var d handlers.Description
	if describer, ok := handlers.Find[handlers.Describer](h); ok {
		d = describer.Describe()
	}
	t.Description, t.Usage = or(t.Description, d.Description), or(t.Usage, d.Usage)
	if t.Schema == nil && len(d.Schema) > 0 {
		t.Schema = d.Schema
		if err := compile(t); err != nil {
			e.wrong(item, "%s: task type %s: invalid schema of its handler %q: %v", e.path, t.Name, t.Handler, err)
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
		e.wrong(e.place("example", item), "invalid %s.example: %s", e.path, oneLine(err))
	default:
		t.Example = nil // the configuration's schema is narrower than the handler's
	}
}

// oneLine returns the text of an error that may have several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
