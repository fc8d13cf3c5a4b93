package api_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// contractTypes are the types of the contract, by the name of their schema in
// openapi.yaml.
var contractTypes = map[string]reflect.Type{
	"NewTask":         reflect.TypeFor[client.NewTask](),
	"Task":            reflect.TypeFor[tasker.Task](),
	"TaskResult":      reflect.TypeFor[tasker.TaskResult](),
	"Progress":        reflect.TypeFor[tasker.Progress](),
	"LogLine":         reflect.TypeFor[tasker.LogLine](),
	"LogTotals":       reflect.TypeFor[tasker.LogTotals](),
	"Attempt":         reflect.TypeFor[tasker.Attempt](),
	"ResultAnswer":    reflect.TypeFor[client.ResultAnswer](),
	"LogAnswer":       reflect.TypeFor[client.LogAnswer](),
	"TaskView":        reflect.TypeFor[client.TaskView](),
	"TaskEvent":       reflect.TypeFor[client.TaskEvent](),
	"ProgressEvent":   reflect.TypeFor[client.ProgressEvent](),
	"LogEvent":        reflect.TypeFor[client.LogEvent](),
	"EndEvent":        reflect.TypeFor[client.EndEvent](),
	"TaskSnapshot":    reflect.TypeFor[client.TaskSnapshot](),
	"ResultHint":      reflect.TypeFor[client.ResultHint](),
	"ProgressHint":    reflect.TypeFor[client.ProgressHint](),
	"LeftOutEvent":    reflect.TypeFor[client.LeftOutEvent](),
	"Summary":         reflect.TypeFor[tasker.Summary](),
	"TaskAnswer":      reflect.TypeFor[client.TaskAnswer](),
	"TaskPage":        reflect.TypeFor[client.TaskPage[client.TaskView]](),
	"TaskTypeList":    reflect.TypeFor[client.TaskTypeList](),
	"TaskTypeInfo":    reflect.TypeFor[client.TaskTypeInfo](),
	"TaskTypeAnswer":  reflect.TypeFor[client.TaskTypeAnswer](),
	"Endpoint":        reflect.TypeFor[tasker.Endpoint](),
	"EndpointPage":    reflect.TypeFor[client.EndpointPage](),
	"RemovedEndpoint": reflect.TypeFor[client.RemovedEndpoint](),
	"EndpointToken":   reflect.TypeFor[tasker.EndpointToken](),
	"IssuedToken":     reflect.TypeFor[client.IssuedToken](),
	"TokenPage":       reflect.TypeFor[client.TokenPage](),
	"DeadLetter":      reflect.TypeFor[client.DeadLetter](),
	"DeadLetterPage":  reflect.TypeFor[client.DeadLetterPage](),
	"Health":          reflect.TypeFor[client.Health](),
	"Check":           reflect.TypeFor[client.Check](),
	"Readiness":       reflect.TypeFor[client.Readiness](),
	"Problem":         reflect.TypeFor[client.Problem](),
}

// TestTypesAndDocumentAgree compares the types that the server encodes and the
// client decodes with openapi.yaml, in both directions: every object schema has a
// type, every property a field, and the other way round.
func TestTypesAndDocumentAgree(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	schemas := c.doc.Components.Schemas
	for name, s := range schemas {
		if s.Value.Type.Is("object") && contractTypes[name] == nil {
			t.Errorf("schema %s has no type", name)
		}
	}
	for name, typ := range contractTypes {
		if schemas[name] == nil {
			t.Errorf("type %s has no schema", name)
			continue
		}
		compareObject(t, name, typ, schemas[name].Value)
	}
}

// field is a member of a JSON object.
type field struct {
	typ      reflect.Type
	optional bool
}

func fieldsOf(typ reflect.Type) map[string]field {
	fields := make(map[string]field)
	if typ == reflect.TypeFor[tasker.TaskResult]() { // has its own form
		fields = fieldsOf(reflect.TypeFor[resultForm]())
	}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			maps.Copy(fields, fieldsOf(f.Type))
		case name != "" && name != "-":
			fields[name] = field{f.Type, strings.Contains(options, "omitempty")}
		}
	}
	return fields
}

// resultForm stands for the JSON form of a [tasker.TaskResult], which
// TestResultForm compares with the real one.
type resultForm struct {
	ID               int64              `json:"id"`
	TaskID           int64              `json:"task_id"`
	Endpoint         string             `json:"endpoint"`
	Status           int                `json:"status"`
	State            tasker.ResultState `json:"state"`
	Attempt          int                `json:"attempt"`
	Errnr            int                `json:"errnr"`
	Errmsg           *string            `json:"errmsg"`
	Payload          json.RawMessage    `json:"payload"`
	StartTime        time.Time          `json:"start_time"`
	LastModifiedTime time.Time          `json:"last_modified_time"`
	RetryTime        *time.Time         `json:"retry_time,omitempty"`
	Progress         *tasker.Progress   `json:"progress,omitempty"`
}

func TestResultForm(t *testing.T) {
	encoded, err := json.Marshal(tasker.TaskResult{RetryTime: new(time.Time), Progress: new(tasker.Progress)})
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(decode[map[string]any](t, encoded)))
	if want := slices.Sorted(maps.Keys(fieldsOf(reflect.TypeFor[resultForm]()))); !slices.Equal(got, want) {
		t.Errorf("a result has the members %q, want %q", got, want)
	}
}

func compareObject(t *testing.T, path string, typ reflect.Type, s *openapi3.Schema) {
	t.Helper()
	fields := fieldsOf(typ)
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
		compareValue(t, path+"/"+name, f.typ, property.Value)
	}
}

func compareValue(t *testing.T, path string, typ reflect.Type, s *openapi3.Schema) {
	t.Helper()
	switch {
	case len(s.AllOf) == 1:
		compareValue(t, path, typ, s.AllOf[0].Value)
		return
	case len(s.AnyOf) > 0:
		compareValue(t, path, typ, s.AnyOf[0].Value) // of a page of tasks: the views
		return
	}
	if s.Nullable && !slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Interface, reflect.String}, typ.Kind()) {
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
		compareObject(t, path, typ, s)
	case typ.Kind() == reflect.Slice:
		if wantType(t, path, s, "array") {
			compareValue(t, path+"/0", typ.Elem(), s.Items.Value)
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
