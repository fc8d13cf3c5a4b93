package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/taskerhq/tasker/handlers"
)

type base struct {
	ID int `json:"id"`
}

type release struct {
	base
	Version string            `json:"version"`
	Count   *int              `json:"count,omitempty"`
	Ratio   float32           `json:"ratio"`
	Dry     bool              `json:"dry"`
	Hosts   []string          `json:"hosts"`
	Inner   struct{ A int }   `json:"inner"`
	Labels  map[string]string `json:"labels"`
	Plain   string
	Hidden  string `json:"-"`
}

// echo returns the payload.
func echo[P any]() handlers.Handler {
	return handlers.Typed(func(_ context.Context, _ *handlers.Request, payload P) (P, error) { return payload, nil })
}

func TestTypedDecodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler       handlers.Handler
		payload, want string
	}{
		"all members": {
			echo[release](),
			`{"id":1,"version":"<1&2>","count":3,"ratio":0.5,"dry":true,"hosts":["a"],"inner":{"A":1},"labels":{"a":"b"},"Plain":"p"}`,
			`{"id":1,"version":"<1&2>","count":3,"ratio":0.5,"dry":true,"hosts":["a"],"inner":{"A":1},"labels":{"a":"b"},"Plain":"p"}`,
		},
		"none": {
			echo[release](), " {} ",
			`{"id":0,"version":"","ratio":0,"dry":false,"hosts":null,"inner":{"A":0},"labels":null,"Plain":""}`,
		},
		"a pointer, and null":       {echo[*release](), "null", ""},
		"a pointer, and nothing":    {echo[*release](), "", ""},
		"a pointer, and an object":  {echo[*base](), `{"id":1}`, `{"id":1}`},
		"nothing needed, null":      {echo[struct{}](), "null", ""},
		"nothing needed, an object": {echo[struct{}](), "{}", ""},
		"a map":                     {echo[map[string]int](), `{"b":2,"B":1}`, `{"B":1,"b":2}`},
		"a list":                    {echo[[]int](), `[1,2]`, `[1,2]`},
		"any":                       {echo[any](), `{"a":null}`, `{"a":null}`},
		"as it is":                  {echo[json.RawMessage](), `{"a": 1e3, "a": "<"}`, `{"a":1e3,"a":"<"}`},
		"as it is, null":            {echo[json.RawMessage](), `null`, ``},
		"text":                      {echo[string](), `"a"`, `"a"`},
	} {
		result, err := test.handler.Handle(t.Context(), request(test.payload))
		if err != nil || string(result) != test.want {
			t.Errorf("%s: got %s, %v\nwant %s", name, result, err, test.want)
		}
	}
}

func TestTypedRefuses(t *testing.T) {
	t.Parallel()
	const list = "Plain, count, dry, hosts, id, inner, labels, ratio, version"
	for payload, want := range map[string]string{
		"":                              "missing payload: must be an object with " + list,
		" null ":                        "missing payload: must be an object with " + list,
		"[]":                            "invalid payload: must be an object, got array",
		"5":                             "invalid payload: must be an object, got number",
		`{"releas":"1"}`:                `unknown member "releas" in the payload: the members are ` + list,
		`{"Version":"1"}`:               `unknown member "Version" in the payload: the members are ` + list,
		`{"Hidden":"1"}`:                `unknown member "Hidden" in the payload: the members are ` + list,
		`{"base":{"id":1}}`:             `unknown member "base" in the payload: the members are ` + list,
		`{"version":"1","version":1}`:   `duplicate member "version" in the payload`,
		`{"version":"1","version":"2"}`: `duplicate member "version" in the payload`,
		`{"inner":{"B":1}}`:             `unknown member "B" in the payload`,
		`{"version":1}`:                 `invalid payload at /version: must be a string, got number`,
		`{"count":"1"}`:                 `invalid payload at /count: must be an integer of 64 bits, got string`,
		`{"count":1.5}`:                 `invalid payload at /count: must be an integer of 64 bits, got number 1.5`,
		`{"count":1e30}`:                `invalid payload at /count: must be an integer of 64 bits, got number 1e30`,
		`{"ratio":"x"}`:                 `invalid payload at /ratio: must be a number, got string`,
		`{"dry":"yes"}`:                 `invalid payload at /dry: must be true or false, got string`,
		`{"hosts":"a"}`:                 `invalid payload at /hosts: must be an array, got string`,
		`{"hosts":["a",1]}`:             `invalid payload at /hosts/1: must be a string, got number`,
		`{"inner":{"A":true}}`:          `invalid payload at /inner/A: must be an integer of 64 bits, got bool`,
		`{} {}`:                         "invalid payload: data after the JSON value, at byte 4",
		`{} x`:                          "invalid payload: data after the JSON value, at byte 3",
		`{"id":1`:                       "invalid payload: unexpected end of JSON",
		`{"id":}`:                       "invalid payload: invalid character '}' looking for beginning of value",
	} {
		result, err := echo[release]().Handle(t.Context(), request(payload))
		if result != nil || err == nil || err.Error() != want || !handlers.IsPermanent(err) {
			t.Errorf("%s: got %s\n     %v\nwant %s", payload, result, err, want)
		}
	}
	for name, test := range map[string]struct {
		handler       handlers.Handler
		payload, want string
	}{
		"nothing needed": {echo[struct{}](), `{"a":1}`, `unknown member "a" in the payload: it must be empty`},
		"a map, twice":   {echo[map[string]int](), `{"a":1,"\u0061":2}`, `duplicate member "a" in the payload`},
		"a pointer":      {echo[*base](), `{"ID":1}`, `unknown member "ID" in the payload: the members are id`},
	} {
		_, err := test.handler.Handle(t.Context(), request(test.payload))
		if err == nil || err.Error() != test.want || !handlers.IsPermanent(err) {
			t.Errorf("%s: got %v\nwant %s", name, err, test.want)
		}
	}
}

func TestTypedResults(t *testing.T) {
	t.Parallel()
	errHere := handlers.WithCode(3, errors.New("it broke"))
	returning := func(value any, err error) func(context.Context, *handlers.Request, any) (any, error) {
		return func(context.Context, *handlers.Request, any) (any, error) { return value, err }
	}
	for name, test := range map[string]struct {
		handler handlers.Handler
		want    string
		err     string
	}{
		"an object":           {handlers.Typed(returning(base{1}, nil)), `{"id":1}`, ""},
		"an object, an error": {handlers.Typed(returning(base{1}, errHere)), `{"id":1}`, "it broke"},
		"none, and an error":  {handlers.Typed(returning(nil, errHere)), "", "it broke"},
		"none":                {handlers.Typed(returning(nil, nil)), "", ""},
		"without a size":      {handlers.Typed(returning(struct{}{}, nil)), "", ""},
		"not JSON":            {handlers.Typed(returning(math.NaN(), nil)), "", "encode the result: json: unsupported value: NaN"},
		"not JSON, an error":  {handlers.Typed(returning(math.NaN(), errHere)), "", "it broke"},
		"the zero, an error": {
			handlers.Typed(func(context.Context, *handlers.Request, any) (base, error) { return base{}, errHere }),
			"", "it broke",
		},
		"the zero": {
			handlers.Typed(func(context.Context, *handlers.Request, any) (base, error) { return base{}, nil }),
			`{"id":0}`, "",
		},
		"struct{} as its type": {handlers.Typed(func(context.Context, *handlers.Request, any) (struct{}, error) {
			return struct{}{},
				nil
		}), "", ""},
	} {
		result, err := test.handler.Handle(t.Context(), request("null"))
		if string(result) != test.want || (result == nil) != (test.want == "") || (err == nil) != (test.err == "") || err != nil &&
			err.Error() != test.err {
			t.Errorf("%s: got %s, %v; want %s, %s", name, result, err, test.want, test.err)
		}
		if want := test.err != "" && name == "not JSON"; handlers.IsPermanent(err) != want {
			t.Errorf("%s: permanent is %t", name, !want)
		}
	}
	if _, err := handlers.Typed(returning(nil, errHere)).Handle(t.Context(), request("1")); handlers.Errnr(err) != 3 {
		t.Errorf("the errnr was lost: %v", err)
	}
}

func BenchmarkFunc(b *testing.B) {
	bench(b, handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) { return req.Payload, nil }))
}

func BenchmarkTyped(b *testing.B) { bench(b, echo[base]()) }

// bench measures a run without a manager.
func bench(b *testing.B, h handlers.Handler) {
	req := request(`{"id": 4711}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTypedNamesTheElement: the error names the wrong element of an array.
func TestTypedNamesTheElement(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`[1,"x"]`:          "invalid payload at /1: must be an integer of 64 bits, got string",
		` [ 1 , 2 , [3] ]`: "invalid payload at /2: must be an integer of 64 bits, got array",
		`[1.5]`:            "invalid payload at /0: must be an integer of 64 bits, got number 1.5",
		`[{}]`:             "invalid payload at /0: must be an integer of 64 bits, got object",
		`{}`:               "invalid payload: must be an array, got object",
		`"x"`:              "invalid payload: must be an array, got string",
	} {
		h := handlers.Typed(func(context.Context, *handlers.Request, []int64) (struct{}, error) { return struct{}{}, nil })
		if _, err := h.Handle(t.Context(), &handlers.Request{Payload: []byte(payload)}); err == nil || err.Error() != want ||
			!handlers.IsPermanent(err) {
			t.Errorf("%s: got %v\nwant %s", payload, err, want)
		}
	}
	deep := handlers.Typed(func(context.Context, *handlers.Request, map[string][]map[string]bool) (struct{}, error) {
		return struct{}{}, nil
	})
	_, err := deep.Handle(t.Context(), &handlers.Request{Payload: []byte(`{"x":[],"a/b~":[{"c":true},{"c":true,"d":5}]}`)})
	if want := "invalid payload at /a~1b~0/1/d: must be true or false, got number"; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
