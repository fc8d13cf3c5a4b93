package jsonx_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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

// FuzzDuplicate compares the scanner with one that reads tokens.
func FuzzDuplicate(f *testing.F) {
	for _, text := range []string{
		`{"a":[{"b":1,"b":2}]}`, `[{"a":{"x":1}},{"a":{"x":1,"y":"x","\u0078":2}}]`, `{"\ud800":1,"\ud801":2}`, "{\"\xff\":1,\"\xfe\":2}",
		`{"\\\"":[],"\\\"":0}`, `{"a":"{\"a\":1","b/~":[null,{"":1,"":2}]}`, many(40, `,"7":0`), many(16, `,"16":0`), many(17, ""), `{"a":1,"a":2`, `1 2`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		jsonx.HasUnpairedSurrogate(text)
		got, found := jsonx.Duplicate(text)
		if !json.Valid(text) {
			if found {
				t.Errorf("%q: found %s in what is not JSON", text, got)
			}
			return
		}
		if want, duplicate := byTokens(text); got != want || found != duplicate {
			t.Errorf("%q: got %s, %v, want %s, %v", text, got, found, want, duplicate)
		}
	})
}

// many returns an object with n members and more.
func many(n int, more string) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"%d":0`, i+1)
	}
	return "{" + strings.Join(members, ",") + more + "}"
}

func BenchmarkDuplicate(b *testing.B) {
	entry := `{"id":"01JDSK","count":12,"tags":["a","b"],"nested":{"name":"é","text":"one \"two\" three four five"}}`
	for name, text := range map[string]string{
		"small": entry,
		"large": "[" + strings.Repeat(entry+",", 10_000) + "0]",
		"names": many(50_000, ""),
		"text":  `"` + strings.Repeat("a", 1<<20) + `"`,
	} {
		for how, scan := range map[string]func([]byte) (string, bool){"scan": jsonx.Duplicate, "tokens": byTokens} {
			b.Run(name+"/"+how, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					scan([]byte(text))
				}
			})
		}
	}
}

// byTokens is Duplicate by the tokens of encoding/json.
func byTokens(text []byte) (pointer string, found bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var open []level
	for {
		token, err := dec.Token()
		if err != nil {
			return "", false
		}
		delim, isDelim := token.(json.Delim)
		if isDelim && (delim == '}' || delim == ']') {
			open = open[:len(open)-1]
			continue
		}
		if len(open) > 0 {
			in := &open[len(open)-1]
			name, isName := token.(string)
			switch {
			case in.names == nil:
				in.at++
			case !in.named && isName:
				if in.names[name] {
					in.name = name
					return pointerTo(open), true
				}
				in.names[name], in.name, in.named = true, name, true
				continue
			default:
				in.named = false
			}
		}
		switch {
		case isDelim && delim == '{':
			open = append(open, level{names: map[string]bool{}})
		case isDelim:
			open = append(open, level{at: -1})
		}
	}
}

// level is an open object or array.
type level struct {
	names map[string]bool // of an object; nil of an array
	name  string          // of the current member
	named bool            // the value of that member is next
	at    int             // the index in an array
}

func pointerTo(path []level) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, l := range path {
		b.WriteByte('/')
		if l.names == nil {
			b.WriteString(strconv.Itoa(l.at))
		} else {
			b.WriteString(escape.Replace(l.name))
		}
	}
	return b.String()
}
