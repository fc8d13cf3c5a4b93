// Package schema validates payloads against the JSON Schema of their task type.
// A schema is one text: it may refer to its own parts and to the published drafts
// of JSON Schema, and to nothing else.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// MaxText bounds a schema, in bytes: the time to compile it grows faster than its
// length.
const MaxText = 64 << 10

// base is the address of a schema without $id, to which its references are
// relative.
const base = "schema:///"

// Schema is a compiled schema. It is safe for concurrent use. A nil Schema accepts
// every payload.
type Schema struct {
	document any
	pool     *pool
}

// Compile compiles a schema of draft 2020-12, unless its $schema names another
// one. Formats are asserted.
func Compile(text []byte) (*Schema, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("schema too large: %d bytes, the limit is %d", len(text), MaxText)
	}
	document, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("invalid schema: %w", err)
	}
	switch document.(type) {
	case map[string]any, bool:
	default:
		return nil, errors.New("invalid schema: must be a JSON object")
	}
	if err := checkKeywords(nil, document); err != nil {
		return nil, err
	}
	pool, err := newPool(document)
	if err != nil {
		return nil, err
	}
	return &Schema{document: document, pool: pool}, nil
}

// compile compiles a document without changing it.
func compile(document any) (*jsonschema.Schema, error) {
	const name = base + "payload"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(closed{})
	if err := compiler.AddResource(name, document); err != nil {
		return nil, fmt.Errorf("invalid schema: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return nil, explain(err, document)
	}
	return compiled, nil
}

// closed is a loader that refuses references to anything outside the schema.
type closed struct{}

var errOutside = errors.New("must not lead outside the schema: put its target under $defs")

// Load implements [jsonschema.URLLoader].
func (closed) Load(string) (any, error) { return nil, errOutside }

// explain returns the compiler's error in one line.
func explain(err error, document any) error {
	if load, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		if object, ok := document.(map[string]any); ok && object["$schema"] == load.URL {
			return fmt.Errorf("unknown $schema %q: remove it, or use https://json-schema.org/draft/2020-12/schema", clip(load.URL))
		}
		return fmt.Errorf("invalid reference %q: %w", clip(strings.TrimPrefix(load.URL, base)), errOutside)
	}
	if invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if cause, ok := errors.AsType[*jsonschema.ValidationError](invalid.Err); ok {
			return fmt.Errorf("invalid schema: %w", broken(cause))
		}
	}
	return fmt.Errorf("invalid schema: %s", clip(strings.ReplaceAll(err.Error(), base, "")))
}

// Validate validates a payload. It returns an [*Error] that lists the rules that
// the payload breaks. Numbers are compared exactly.
func (s *Schema) Validate(payload json.RawMessage) error {
	if s == nil {
		return nil
	}
	value, err := decode(payload)
	if err != nil {
		if invalid, ok := errors.AsType[*Error](err); ok {
			return invalid
		}
		return oneError("", "json", clip(err.Error()))
	}
	if err := s.pool.validate(value, len(payload)); err != nil {
		if costly, ok := errors.AsType[*Error](err); ok {
			return costly
		}
		invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
		if !ok {
			return fmt.Errorf("validate a payload: %w", err)
		}
		return broken(invalid)
	}
	return nil
}
