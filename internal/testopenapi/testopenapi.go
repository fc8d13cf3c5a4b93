// Package testopenapi compares Go types with the schemas of an OpenAPI document,
// for tests.
package testopenapi

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// Comparison is what to compare.
type Comparison struct {
	Schemas openapi3.Schemas
	// Types are by the names of their schemas.
	Types map[string]reflect.Type
	// Forms has types whose tags describe the JSON of others that encode themselves.
	Forms map[reflect.Type]reflect.Type
}

// Run compares in both directions: every object schema has a type, every property
// a field, and the other way round.
func (c Comparison) Run(t *testing.T) {
	t.Helper()
	for name, s := range c.Schemas {
		if s.Value.Type.Is("object") && c.Types[name] == nil {
			t.Errorf("schema %s has no type", name)
		}
	}
	for name, typ := range c.Types {
		if c.Schemas[name] == nil {
			t.Errorf("type %s has no schema", name)
			continue
		}
		c.compareObject(t, name, typ, c.Schemas[name].Value)
	}
}

// Fields returns the names of the members of a type's JSON, sorted.
func (c Comparison) Fields(typ reflect.Type) []string {
	return slices.Sorted(maps.Keys(c.fieldsOf(typ)))
}

// field is a member of a JSON object.
type field struct {
	typ      reflect.Type
	optional bool
}

func (c Comparison) fieldsOf(typ reflect.Type) map[string]field {
	fields := make(map[string]field)
	if form, ok := c.Forms[typ]; ok {
		typ = form
	}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			maps.Copy(fields, c.fieldsOf(f.Type))
		case name != "" && name != "-":
			fields[name] = field{f.Type, strings.Contains(options, "omit")} // empty or zero
		}
	}
	return fields
}

func (c Comparison) compareObject(t *testing.T, path string, typ reflect.Type, s *openapi3.Schema) {
	t.Helper()
	fields := c.fieldsOf(typ)
	for name := range fields {
		if s.Properties[name] == nil {
			t.Errorf("%s: field %s of %v is not in the document", path, name, typ)
		}
	}
	for name, property := range s.Properties {
		f, ok := fields[name]
		if !ok {
			t.Errorf("%s: %v has no field for the property %s", path, typ, name)
			continue
		}
		if f.optional == slices.Contains(s.Required, name) {
			t.Errorf("%s/%s: optional is %v in %v, and not in the document", path, name, f.optional, typ)
		}
		c.compareValue(t, path+"/"+name, f.typ, property.Value)
	}
}

func (c Comparison) compareValue(t *testing.T, path string, typ reflect.Type, s *openapi3.Schema) {
	t.Helper()
	if form, ok := c.Forms[typ]; ok && form.Kind() != reflect.Struct {
		typ = form
	}
	switch {
	case len(s.AllOf) == 1:
		c.compareValue(t, path, typ, s.AllOf[0].Value)
		return
	case len(s.AnyOf) > 0:
		c.compareValue(t, path, typ, s.AnyOf[0].Value) // of a page of tasks: the views
		return
	}
	nullable := []reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.String}
	if s.Nullable && !slices.Contains(nullable, typ.Kind()) {
		t.Errorf("%s: may be null, but %v cannot", path, typ)
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ == reflect.TypeFor[time.Time]():
		wantType(t, path, s, "string")
		if s.Format != "date-time" {
			t.Errorf("%s: a time has the format %q", path, s.Format)
		}
	case typ == reflect.TypeFor[[]byte]():
		wantType(t, path, s, "string")
	case typ == reflect.TypeFor[json.RawMessage](), typ.Kind() == reflect.Interface:
		if s.Type != nil && !s.Type.Is("object") {
			t.Errorf("%s: any value in Go, %v in the document", path, s.Type)
		}
	case typ.Kind() == reflect.Struct:
		wantType(t, path, s, "object")
		c.compareObject(t, path, typ, s)
	case typ.Kind() == reflect.Slice:
		if wantType(t, path, s, "array") {
			c.compareValue(t, path+"/0", typ.Elem(), s.Items.Value)
		}
	default:
		kinds := map[reflect.Kind]string{
			reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer",
			reflect.Float64: "number", reflect.Map: "object",
		}
		wantType(t, path, s, kinds[typ.Kind()])
	}
}

func wantType(t *testing.T, path string, s *openapi3.Schema, want string) bool {
	t.Helper()
	if !s.Type.Is(want) {
		t.Errorf("%s: %s in Go, %v in the document", path, want, s.Type)
		return false
	}
	return true
}
