package jsonx_test

import (
	"testing"

	"github.com/taskerhq/tasker/internal/x/jsonx"
)

func TestDuplicate(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,"b":2}`:      "",
		`{"a":1,"a":2}`:      "/a",
		`{"a":1,"\u0061":2}`: "/a",
		`[{"a":{"x":1}},{"a":{"x":1,"y":"x","x":2}}]`: "/1/a/x",
		`{"a":{"x":1},"b":{"x":1}}`:                   "",
		`{"a":"b","b":"a"}`:                           "",
		`{"a":["a","a",{"b/~":1,"b/~":2}]}`:           "/a/2/b~1~0",
		`{"\ud800":1,"\ud801":2}`:                     "/\uFFFD",
		`{"":1,"":2}`:                                 "/",
		`[1,[2,[]],{}]`:                               "",
		`"a"`:                                         "",
		`{`:                                           "",
	} {
		got, found := jsonx.Duplicate([]byte(text))
		if got != want || found != (want != "") {
			t.Errorf("%s: %q %v, want %q", text, got, found, want)
		}
	}
}

func TestHasUnpairedSurrogate(t *testing.T) {
	for text, want := range map[string]bool{
		`"\ud800"`: true, `"\udc00"`: true, `"\ud83d\ude00"`: false, `"\ude00\ud83d"`: true, `"\ud83dx"`: true,
		`"\\ud800"`: false, `"\\\ud800"`: true, `"a\u0041"`: false, `"\ud83d\u0041"`: true, `"\ud83d\ud83d\ude00"`: true, `1`: false,
	} {
		if got := jsonx.HasUnpairedSurrogate([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzDuplicate(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1,"b":2}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		jsonx.Duplicate(text)
		jsonx.HasUnpairedSurrogate(text)
	})
}
