package schema

import (
	"reflect"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	// baseSteps and stepsPerByte bound how often a part of a schema is applied to
	// a part of a payload. With alternatives that refer to themselves that number
	// doubles with each level of nesting: a payload of a few hundred bytes would
	// take forever, so that a limit on its size alone does not help.
	baseSteps    = 100_000
	stepsPerByte = 4
)

// instance is a compiled schema that counts the steps of its only validation at
// a time.
type instance struct {
	compiled *jsonschema.Schema
	left     int
}

// newInstance compiles a document.
func newInstance(document any) (*instance, error) {
	compiled, err := compile(document)
	if err != nil {
		return nil, err
	}
	i := &instance{compiled: compiled}
	i.count(compiled)
	return i, nil
}

// validate validates a value of that many bytes.
func (i *instance) validate(value any, size int) (err error) {
	i.left = baseSteps + stepsPerByte*size
	defer func() {
		switch v := recover().(type) {
		case nil:
		case tooCostly:
			err = oneError("", "cost", "takes too many steps to validate")
		default:
			panic(v)
		}
	}()
	return i.compiled.Validate(value)
}

// tooCostly ends a validation as a panic: the validator has no other way out, and
// keeps no state beyond a call.
type tooCostly struct{}

// count makes the schema, and everything it leads to, count its steps. It uses
// formats, which the validator checks before everything that is costly.
func (i *instance) count(schema *jsonschema.Schema) {
	seen := map[*jsonschema.Schema]bool{nil: true}
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			visit(v.Elem())
		case reflect.Slice:
			for n := range v.Len() {
				visit(v.Index(n))
			}
		case reflect.Map:
			for _, key := range v.MapKeys() {
				visit(v.MapIndex(key))
			}
		case reflect.Pointer:
			switch target := v.Interface().(type) {
			case *jsonschema.DynamicRef:
				if target != nil {
					visit(reflect.ValueOf(target.Ref))
				}
			case *jsonschema.Schema:
				if seen[target] {
					return
				}
				seen[target] = true
				target.Format = i.counting(target.Format)
				for n := range v.Elem().NumField() {
					if v.Elem().Type().Field(n).IsExported() {
						visit(v.Elem().Field(n))
					}
				}
			}
		}
	}
	visit(reflect.ValueOf(schema))
}

// counting returns format, which may be nil, with counting.
func (i *instance) counting(format *jsonschema.Format) *jsonschema.Format {
	counting := &jsonschema.Format{}
	if format != nil {
		counting.Name = format.Name
	}
	counting.Validate = func(value any) error {
		if i.left--; i.left < 0 {
			panic(tooCostly{})
		}
		if format == nil {
			return nil
		}
		return format.Validate(value)
	}
	return counting
}
