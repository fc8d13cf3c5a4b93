package jsonx_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/x/jsonx"
)

func TestDepth(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{
		`1`: 0, `""`: 0, `[]`: 1, `{}`: 1, `[[],[[]]]`: 3, `{"a":{"b":[]}}`: 3, `"[[["`: 0, `["\"[[\\"]`: 1, `["\\",[]]`: 2,
	} {
		if got := jsonx.Depth([]byte(value)); got != want {
			t.Errorf("%s: got %d, want %d", value, got, want)
		}
	}
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestShallow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		value string
		text  bool
	}{
		"flat":                {`{"a":[1]}`, false},
		"as deep as allowed":  {nested(100), false},
		"deeper":              {nested(101), true},
		"deeper than parsers": {nested(20_000), true},
		"deeper, not closed":  {strings.Repeat("[", 200), false},
		"deeper, not UTF-8":   {strings.Replace(nested(200), "[]", "[\"\xff\"]", 1), false},
	} {
		got, was := jsonx.Shallow([]byte(test.value), 100)
		if was != test.text || !was && string(got) != test.value {
			t.Errorf("%s: got %.20s, %t", name, got, was)
		}
		if !was {
			continue
		}
		var text string
		if err := json.Unmarshal(got, &text); err != nil || text != test.value {
			t.Errorf("%s: %v", name, err)
		}
	}
}
