package schema_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/taskerhq/tasker/internal/schema"
)

func compile(t testing.TB, text string) *schema.Schema {
	t.Helper()
	s, err := schema.Compile([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// broken returns the violations of a payload, as "pointer rule".
func broken(t testing.TB, s *schema.Schema, payload string) (violations []string) {
	t.Helper()
	err := s.Validate(json.RawMessage(payload))
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*schema.Error](err)
	if !ok {
		t.Fatalf("not a *schema.Error: %v", err)
	}
	for _, v := range invalid.Violations {
		if v.Message == "" || v.Rule == "" || !utf8.ValidString(v.Message) {
			t.Errorf("empty violation: %+v", v)
		}
		violations = append(violations, v.Pointer+" "+v.Rule)
	}
	return violations
}

func TestValidate(t *testing.T) {
	t.Parallel()
	const copyfile = `{
		"type": "object", "additionalProperties": false, "required": ["source", "destination"],
		"properties": {
			"source": {"type": "string", "minLength": 1, "pattern": "^/"},
			"destination": {"$ref": "#/$defs/path"},
			"mode": {"enum": ["0644", "0755"]},
			"mail": {"format": "email"},
			"level": {"type": "integer", "minimum": 1, "maximum": 9},
			"tags/~": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}
		},
		"$defs": {"path": {"type": "string"}}
	}`
	for name, tt := range map[string]struct {
		schema, payload string
		want            []string
	}{
		"good":            {copyfile, `{"source":"/a","destination":"/b","mode":"0644","mail":"a@b.org","level":9}`, nil},
		"missing":         {copyfile, `{"source":"/a"}`, []string{"/destination required"}},
		"null":            {copyfile, `null`, []string{" type"}},
		"all, sorted":     {copyfile, `{"source":"a","level":10,"zz":1,"mode":"1"}`, []string{"/destination required", "/level maximum", "/mode enum", "/source pattern", "/zz additionalProperties"}},
		"through a ref":   {copyfile, `{"source":"/a","destination":7}`, []string{"/destination type"}},
		"escaped pointer": {copyfile, `{"source":"/a","destination":"/b","tags/~":["x",1]}`, []string{"/tags~1~0/1 type"}},
		"unique":          {copyfile, `{"source":"/a","destination":"/b","tags/~":["x","x"]}`, []string{"/tags~1~0 uniqueItems"}},
		"format":          {copyfile, `{"source":"/a","destination":"/b","mail":"nobody"}`, []string{"/mail format"}},
		"no integer":      {copyfile, `{"source":"/a","destination":"/b","level":1.5}`, []string{"/level type"}},
		"whole float":     {copyfile, `{"source":"/a","destination":"/b","level":2.0}`, nil},

		"big number":      {`{"maximum": 9007199254740992}`, `9007199254740993`, []string{" maximum"}},
		"big number fits": {`{"maximum": 9007199254740993}`, `9007199254740993`, nil},
		"decimal":         {`{"multipleOf": 0.1}`, `0.3`, nil},
		"exponent":        {`{"maximum": 5}`, `1e999999999`, []string{" number"}},
		"small exponent":  {`{"minimum": 5}`, `[1e-1001]`, []string{"/0 number"}},
		"long number":     {`{"type": "number"}`, strings.Repeat("1", 1001), []string{" number"}},
		"deep":            {`true`, strings.Repeat("[", 101) + strings.Repeat("]", 101), []string{strings.Repeat("/0", 100) + " depth"}},
		"not too deep":    {`true`, strings.Repeat("[", 100) + strings.Repeat("]", 100), nil},
		"twice":           {`{"properties":{"a":{"type":"string"}}}`, `{"a":1,"a":"x"}`, []string{"/a duplicate"}},
		"not json":        {`true`, `{`, []string{" json"}},
		"two values":      {`true`, `1 2`, []string{" json"}},
		"nothing":         {`true`, ``, []string{" json"}},

		"any of":       {`{"anyOf":[{"type":"string"},{"type":"object","required":["x"]}]}`, `{}`, []string{" anyOf", " type", "/x required"}},
		"one of, two":  {`{"oneOf":[{"minimum":1},{"minimum":2}]}`, `3`, []string{" oneOf"}},
		"not":          {`{"not":{"type":"string"}}`, `"a"`, []string{" not"}},
		"false":        {`{"properties":{"a":false}}`, `{"a":1}`, []string{"/a false"}},
		"unevaluated":  {`{"properties":{"a":true},"unevaluatedProperties":false}`, `{"b":1}`, []string{"/b false"}},
		"dependent":    {`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, []string{"/b dependentRequired"}},
		"own loop":     {`{"$ref":"#"}`, `1`, []string{" $ref"}},
		"draft 7":      {`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}]}`, `[1]`, []string{"/0 type"}},
		"2020 prefix":  {`{"prefixItems":[{"type":"string"}]}`, `[1]`, []string{"/0 type"}},
		"embedded":     {`{"$id":"https://example.org/a","$ref":"b","$defs":{"b":{"$id":"b","type":"string"}}}`, `1`, []string{" type"}},
		"of a draft":   {`{"$ref":"https://json-schema.org/draft/2020-12/schema"}`, `{"type":1}`, []string{"/type anyOf", "/type enum", "/type type"}},
		"slow regexp":  {`{"pattern":"^(a+)+$"}`, `"` + strings.Repeat("a", 50000) + `b"`, []string{" pattern"}},
		"no more text": {`{"enum":["` + strings.Repeat("ü", 400) + `"]}`, `1`, []string{" enum"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, broken(t, compile(t, tt.schema), tt.payload)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoSchema(t *testing.T) {
	t.Parallel()
	var s *schema.Schema
	if err := s.Validate(json.RawMessage(`{"a":1`)); err != nil {
		t.Error(err)
	}
	if s.Example() != nil || s.Blank() != nil {
		t.Error("a nil schema has an example")
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"items":{"type":"string"}}`)
	payload, err := json.Marshal(make([]int, 1500))
	if err != nil {
		t.Fatal(err)
	}
	invalid, _ := errors.AsType[*schema.Error](s.Validate(payload))
	if invalid == nil || len(invalid.Violations) != schema.MaxViolations || invalid.More != 1500-schema.MaxViolations {
		t.Fatalf("%d violations and %d more", len(invalid.Violations), invalid.More)
	}
	if text := invalid.Error(); !strings.Contains(text, `invalid value at "/0": got number, want string (rule "type")`) || !strings.Contains(text, "(and 1497 more)") {
		t.Error(text)
	}
	long := broken(t, s, `["`+strings.Repeat("ü", 1000)+`",1]`)
	if diff := cmp.Diff([]string{"/1 type"}, long); diff != "" {
		t.Error(diff)
	}
	text := compile(t, `{"pattern":"^$"}`).Validate(json.RawMessage(`"` + strings.Repeat("ü", 1000) + `"`)).Error()
	if len(text) > 400 || !utf8.ValidString(text) {
		t.Errorf("a message of %d bytes", len(text))
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, says string }{
		"not json":         {`{`, "invalid JSON"},
		"nothing":          {``, "invalid JSON"},
		"a list":           {`[]`, "must be a JSON object"},
		"too long":         {`"` + strings.Repeat("a", schema.MaxText) + `"`, "the limit is 65536"},
		"too deep":         {strings.Repeat(`{"items":`, 101) + `{}` + strings.Repeat(`}`, 101), "100 levels"},
		"twice":            {`{"type":"string","type":"object"}`, "duplicate"},
		"a huge number":    {`{"maximum":1e999999999}`, "exponent"},
		"a count too big":  {`{"items":{"maxItems":18446744073709551616}}`, `invalid limit at "/items/maxItems": must be at most 9223372036854775807`},
		"a wrong keyword":  {`{"properties":{"a":{"type":"text"}}}`, "/properties/a/type"},
		"a bad regexp":     {`{"pattern":"("}`, "/pattern"},
		"remote":           {`{"properties":{"a":{"$ref":"https://example.org/a.json"}}}`, `"https://example.org/a.json"`},
		"file":             {`{"$ref":"file:///etc/passwd"}`, `"file:///etc/passwd"`},
		"relative":         {`{"$ref":"other.json#/a"}`, `"other.json"`},
		"relative to base": {`{"$id":"http://169.254.169.254/x","$ref":"y"}`, `"http://169.254.169.254/y"`},
		"dynamic":          {`{"$dynamicRef":"https://example.org/b"}`, `"https://example.org/b"`},
		"metaschema":       {`{"$schema":"https://example.org/meta"}`, `unknown $schema "https://example.org/meta"`},
		"own part missing": {`{"$ref":"#/$defs/a"}`, "$defs/a"},
		"own anchor":       {`{"$ref":"#a"}`, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := schema.Compile([]byte(tt.text))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.says) || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "schema:///") {
				t.Errorf("the error does not say %q in one line: %v", tt.says, err)
			}
		})
	}
}

func TestExample(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ schema, example, blank string }{
		"copyfile":      {`{"type":"object","required":["source"],"properties":{"source":{"type":"string","examples":["/etc/hosts"]},"n":{"type":"integer","minimum":3},"on":{"type":"boolean"},"list":{"type":"array","items":{"enum":["a"]}},"any":{"type":["null","string"]},"o":{"type":"object"}}}`, `{"any":null,"list":["a"],"n":3,"o":{},"on":false,"source":"/etc/hosts"}`, `{"any":null,"list":[],"n":0,"o":{},"on":false,"source":""}`},
		"whole":         {`{"examples":[{"a":1}],"properties":{"a":{"default":2}}}`, `{"a":1}`, `{"a":0}`},
		"ref":           {`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"properties":{"x":{"const":7}}}}}`, `{"x":7}`, `{"x":0}`},
		"endless":       {`{"type":"object","properties":{"child":{"$ref":"#"}}}`, `{"child":{"child":{"child":{}}}}`, `{"child":{}}`},
		"must be there": {`{"type":"object","required":["child"],"properties":{"child":{"$ref":"#"}}}`, ``, `{"child":{}}`},
		"loop":          {`{"$ref":"#"}`, ``, ``},
		"no guess":      {`{"type":"string","pattern":"^[0-9]{8}$"}`, ``, ``},
		"any":           {`true`, `{}`, ``},
		"none":          {`false`, ``, ``},
		"alternatives":  {`{"oneOf":[{"type":"integer"},{"type":"string"}]}`, `0`, ``},
		"tuple":         {`{"type":"array","prefixItems":[{"type":"string"},{"minimum":2}]}`, `["",2]`, ``},
		"forbidden":     {`{"properties":{"a":false,"b":{"type":"string"}}}`, `{"b":""}`, `{"b":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, tt.schema)
			if got := string(s.Example()); got != tt.example {
				t.Errorf("example %s, want %s", got, tt.example)
			}
			if got := string(s.Blank()); got != tt.blank {
				t.Errorf("blank %s, want %s", got, tt.blank)
			}
		})
	}
	if got := string(schema.BlankOf([]byte(` {"a":"x","b":1,"c":true,"d":[1],"e":{"f":1},"g":null}`))); got != `{"a":"","b":0,"c":false,"d":[],"e":{},"g":null}` {
		t.Error(got)
	}
	for _, none := range []string{`[1]`, `null`, ``, `7`} {
		if got := schema.BlankOf([]byte(none)); got != nil {
			t.Errorf("%s: %s", none, got)
		}
	}
}

// Many requests use a schema at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"type":"object","properties":{"a":{"maximum":1.5,"format":"date"},"b":{"pattern":"^a"}},"uniqueItems":true}`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				if err := s.Validate(fmt.Appendf(nil, `{"a":%d,"b":"b"}`, i+2)); err == nil {
					t.Error("accepted an invalid payload")
				}
			}
		})
	}
	wg.Wait()
}

// FuzzValidate looks for panics, and for errors without text.
func FuzzValidate(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"type":"object","required":["a"],"properties":{"a":{"maximum":3}}}`, `{"a":4}`},
		{`{"anyOf":[{"$ref":"#/$defs/x"},{"not":{}}],"$defs":{"x":{"pattern":"^a"}}}`, `"b"`},
		{`{"uniqueItems":true,"items":{"multipleOf":0.01}}`, `[1e5,1E5,-0,0.1]`},
		{`{"$ref":"#"}`, `1e400`},
		{`{"unevaluatedItems":false,"contains":{"format":"uri"}}`, `["a://b"]`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		s, err := schema.Compile([]byte(text))
		if err != nil {
			return
		}
		if example := s.Example(); example != nil && s.Validate(example) != nil {
			t.Errorf("the example %s breaks the schema", example)
		}
		s.Blank()
		if err := s.Validate(json.RawMessage(payload)); err != nil {
			broken(t, s, payload)
			if err.Error() == "" {
				t.Error("empty error")
			}
		}
	})
}
