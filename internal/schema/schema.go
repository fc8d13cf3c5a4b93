// Package schema holds payloads against the JSON Schema of their task type. A
// schema is one text: it may refer to its own parts and to the drafts that the
// JSON Schema organization publishes, and to nothing else.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// MaxText is the greatest length of a schema, in bytes: a schema is compiled in
// a time that grows faster than its length.
const MaxText = 64 << 10

// base is the address of a schema that has no $id: relative references begin
// with it.
const base = "schema:///"

// Schema is a compiled schema. It is safe for concurrent use, and a nil one
// takes every payload.
type Schema struct {
	text     json.RawMessage
	document any
	pool     *pool
}

// Compile compiles a schema, which is of draft 2020-12 where its $schema does
// not name another one. Formats are asserted. An error says what is wrong with
// the text.
func Compile(text []byte) (*Schema, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("the schema has %d bytes, and may have %d", len(text), MaxText)
	}
	document, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("the schema is not usable: %w", err)
	}
	switch document.(type) {
	case map[string]any, bool:
	default:
		return nil, errors.New("the schema is no JSON object")
	}
	if err := checkKeywords(nil, document); err != nil {
		return nil, err
	}
	pool, err := newPool(document)
	if err != nil {
		return nil, err
	}
	return &Schema{text: append(json.RawMessage(nil), text...), document: document, pool: pool}, nil
}

// compile compiles a document, which it does not change.
func compile(document any) (*jsonschema.Schema, error) {
	const name = base + "payload"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(closed{})
	if err := compiler.AddResource(name, document); err != nil {
		return nil, fmt.Errorf("the schema is not usable: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return nil, explain(err, document)
	}
	return compiled, nil
}

// closed refuses every reference that leads out of the schema.
type closed struct{}

var errOutside = errors.New("the schema refers to something outside itself, which is not loaded: put it under $defs")

// Load implements [jsonschema.URLLoader].
func (closed) Load(string) (any, error) { return nil, errOutside }

// explain says what the compiler objects to, in one line.
func explain(err error, document any) error {
	if load, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		if object, ok := document.(map[string]any); ok && object["$schema"] == load.URL {
			return fmt.Errorf("$schema is %q, which tasker does not know: leave it out, or give https://json-schema.org/draft/2020-12/schema", clip(load.URL))
		}
		return fmt.Errorf("reference %q: %w", clip(strings.TrimPrefix(load.URL, base)), errOutside)
	}
	if invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if cause, ok := errors.AsType[*jsonschema.ValidationError](invalid.Err); ok {
			return fmt.Errorf("the schema breaks the rules for schemas: %w", broken(cause))
		}
	}
	return fmt.Errorf("the schema is not usable: %s", clip(strings.ReplaceAll(err.Error(), base, "")))
}

// Text gives the schema as it was written; nil of a nil Schema.
func (s *Schema) Text() json.RawMessage {
	if s == nil {
		return nil
	}
	return append(json.RawMessage(nil), s.text...)
}

// Validate holds a payload against the schema. The error is an [*Error] that
// lists the rules that the payload breaks. Numbers are compared exactly.
func (s *Schema) Validate(payload json.RawMessage) error {
	if s == nil {
		return nil
	}
	value, err := decode(payload)
	if err != nil {
		if invalid, ok := errors.AsType[*Error](err); ok {
			return invalid
		}
		return &Error{Violations: []Violation{{Rule: "json", Message: clip(err.Error())}}}
	}
	if err := s.pool.validate(value, len(payload)); err != nil {
		if costly, ok := errors.AsType[*Error](err); ok {
			return costly
		}
		invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
		if !ok {
			return fmt.Errorf("hold a payload against its schema: %w", err)
		}
		return broken(invalid)
	}
	return nil
}
