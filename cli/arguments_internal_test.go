package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

const sleepSchema = `{"type":"object","properties":{"seconds":{"type":"number"},"who":{"type":["string","null"]},"deep":{"type":"object"},"any":{}},"additionalProperties":false}`

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ schema, args, want string }{
		{"", "sleep a=1 b:=1 c:={\"d\":[1,true]}", `{"a":"1","b":1,"c":{"d":[1,true]}}`},
		{"", "sleep my-id a=<b>=c d=", `{"a":"<b>=c","d":""}`},
		{"", "sleep a", `{}`},
		{sleepSchema, "sleep seconds=0.5 who=me deep={} any=x", `{"any":"x","deep":{},"seconds":0.5,"who":"me"}`},
		{sleepSchema, "sleep who:=null", `{"who":null}`},
		{sleepSchema, "sleep secnds=1", `error: unknown argument "secnds": did you mean seconds? sleep takes any, deep, seconds, who`},
		{sleepSchema, "sleep seconds=x", `error: invalid seconds "x": must be number`},
		{sleepSchema, "sleep who:=x", "error: invalid who: must be JSON after :="},
		{`{"properties":{"a":{}}}`, "sleep b=1", `error: unknown argument "b": sleep takes a`},
		{`{"properties":{"a":{}},"additionalProperties":true}`, "sleep b=1", `{"b":"1"}`},
		{`{"properties":{"a":{}},"additionalProperties":{"type":"string"}}`, "sleep b=1", `{"b":"1"}`},
		{`{"$ref":"#/$defs/x"}`, "sleep b=1", `{"b":"1"}`},
		{`true`, "sleep b=1", `{"b":"1"}`},
		{"", "", "error: missing task type: name one; tasker types lists them"},
		{"", "a/b", "error: invalid task type"},
		{"", "sleep a b", `error: unexpected argument "b": must be key=value, or key:=JSON`},
		{"", "sleep a=1 b", `error: unexpected argument "b"`},
		{"", "sleep =1", `error: invalid argument "=1"`},
		{"", "sleep a=1 a:=2", "error: duplicate argument a"},
		{"", "sleep a/b", "error: invalid identifier"},
	} {
		a, err := parseRunArguments(strings.Fields(test.args))
		var got []byte
		if err == nil {
			got, err = a.payload(json.RawMessage(test.schema))
		}
		if want, ok := strings.CutPrefix(test.want, "error: "); ok {
			if err == nil || !strings.HasPrefix(err.Error(), want) || exitCode(err) != ExitUsage {
				t.Errorf("%s: got %v, want %s", test.args, err, want)
			}
			continue
		}
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.args, got, err, test.want)
		}
	}
}

// FuzzArguments makes JSON of any arguments, or refuses them.
func FuzzArguments(f *testing.F) {
	f.Add("sleep id a=1 b:=[1] c=\xff", sleepSchema)
	f.Fuzz(func(t *testing.T, args, schema string) {
		a, err := parseRunArguments(strings.Fields(args))
		if err != nil {
			return
		}
		if payload, err := a.payload(json.RawMessage(schema)); err == nil && !json.Valid(payload) {
			t.Errorf("%q: got %s", args, payload)
		}
	})
}
