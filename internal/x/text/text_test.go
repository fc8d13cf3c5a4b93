package text_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/taskerhq/tasker/internal/x/text"
)

func TestVisible(t *testing.T) {
	for given, want := range map[string]string{
		"":                              "",
		"plain text, äöü 日本 🚀":          "plain text, äöü 日本 🚀",
		`C:\temp`:                       `C:\temp`,
		"\x1b]0;PWNED\x07\x1b[2J":       `\u001b]0;PWNED\u0007\u001b[2J`,
		"\u009b2J":                      `\u009b2J`,
		"\x7f":                          `\u007f`,
		"a\nb\tc\r":                     `a\nb\tc\u000d`,
		"\u202egnp.exe":                 `\u202egnp.exe`,
		"zero\u200bwidth":               `zero\u200bwidth`,
		"\xff\xfe end":                  `\xff\xfe end`,
		"lost \ufffd":                   `lost \ufffd`,
		"tag \U000e0041":                `tag \U000e0041`,
		"cut in half: " + "ä"[:1] + ".": `cut in half: \xc3.`,
	} {
		if got := text.Visible(given); got != want {
			t.Errorf("Visible(%q) is %q, want %q", given, got, want)
		}
	}
	if got, want := text.VisibleLines("a\n\tb\r\n\x1b[0m"), "a\n\tb\\u000d\n\\u001b[0m"; got != want {
		t.Errorf("VisibleLines: %q, want %q", got, want)
	}
}

func TestVisibleJSON(t *testing.T) {
	for given, want := range map[string]string{
		`{"a":"b"}`:                           `{"a":"b"}`,
		"{\n\t\"a\": \"\u009b2J\x7f\"\r\n}\n": "{\n\t\"a\": \"\\u009b2J\\u007f\"\n\n}\n",
		"\"\U000e0041\u202e\"":                `"\udb40\udc41\u202e"`,
	} {
		if got := string(text.VisibleJSON([]byte(given))); got != want {
			t.Errorf("VisibleJSON(%q) is %q, want %q", given, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		given string
		limit int
		want  string
	}{
		{"short", 5, "short"},
		{"longer", 5, "longe..."},
		{"aä", 2, "a..."},
		{"日本", 4, "日..."},
		{"日本", 2, "..."},
		{"🚀🚀", 7, "🚀..."},
		{"\xff\xff\xff\xff\xff", 2, "\xff\xff..."},
		{"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80..."},
		{"ä", 0, "..."},
	} {
		if got := text.Shorten(c.given, c.limit); got != c.want {
			t.Errorf("Shorten(%q, %d) is %q, want %q", c.given, c.limit, got, c.want)
		}
	}
}

func TestWholeRunes(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "abc": "abc", "aé": "aé", "a\xc3": "a", "a\xe2\x82": "a", "\xf0\x9f\x98": "", "a\xff": "a\xff", "\x80\x80\x80\x80": "\x80\x80\x80\x80",
	} {
		if got := string(text.WholeRunes([]byte(given))); got != want {
			t.Errorf("WholeRunes(%q) = %q, want %q", given, got, want)
		}
	}
}

// steers reports whether a character could steer a terminal, or hide.
func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

func FuzzVisible(f *testing.F) {
	f.Add("\x1b]0;PWNED\x07\u009b\x7f\u202e \xff äöü", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if got := text.Visible(s); strings.ContainsFunc(got, steers) || !utf8.ValidString(got) {
			t.Errorf("Visible(%q) is %q", s, got)
		}
		var lines bytes.Buffer
		if n, err := text.Lines(&lines).Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("the writer took %d of %d bytes: %v", n, len(s), err)
		}
		if got := lines.String(); strings.ContainsFunc(got, func(r rune) bool { return steers(r) && r != '\n' && r != '\t' }) || !utf8.ValidString(got) {
			t.Errorf("the lines of %q are %q", s, got)
		}
		if limit %= 64; limit >= 0 && utf8.ValidString(s) {
			if got := text.Cut(s, limit); !utf8.ValidString(got) || len(got) > limit || !strings.HasPrefix(s, got) {
				t.Errorf("Cut(%q, %d) is %q", s, limit, got)
			}
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		visible := text.VisibleJSON(encoded)
		if bytes.ContainsFunc(visible, steers) {
			t.Errorf("VisibleJSON(%q) is %q", encoded, visible)
		}
		var before, after string
		if json.Unmarshal(encoded, &before) != nil || json.Unmarshal(visible, &after) != nil || before != after {
			t.Errorf("VisibleJSON changed %q to %q", before, after)
		}
	})
}

func TestCutValid(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", 20), strings.Repeat("ä", 20), "\xff\xfe bytes", strings.Repeat("\xff", 20)} {
		got := text.CutValid(s, 9)
		if len(got) > 9 || !utf8.ValidString(got) {
			t.Errorf("CutValid(%q) is %q: %d bytes, valid: %t", s, got, len(got), utf8.ValidString(got))
		}
		if utf8.ValidString(s) && (!strings.HasPrefix(s, got) || len(s) <= 9 && got != s || len(s) > 9 && len(got) < 8) {
			t.Errorf("CutValid(%q) is %q, too little", s, got)
		}
	}
}
