package selector_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/selector"
)

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	const (
		key    = `expected a label, or "name", "type", "version", "seen" or "drained", `
		list   = "for or, use several selectors, or in (a,b)"
		opName = `expected an operator (= != ~ !~ in notin) after `
		opRole = `expected an operator (= != ~ !~ in notin) or "," after `
	)
	for _, c := range []struct {
		text    string
		column  int
		message string
	}{
		// keys
		{"=web", 1, key + `got "="`},
		{"role=web,", 10, key + "got the end"},
		{"role=web,,zone", 10, key + `got ","`},
		{"*,role=web", 1, key + `got "*": a pattern needs a key, such as name~web*`},
		{"*web", 1, key + `got "*": a pattern needs a key, such as name~web*`},
		{"(role=web)", 1, key + `got "("`},
		{`"role"=web`, 1, key + `got "\""`},
		{"größe=1", 3, opRole + `"gr", got "öße"`},
		{"-a=1", 1, `invalid label key "-a": must be 1-63 letters, digits, '.', '_', '/' or '-', and start with a letter or digit`},
		{"!", 2, `expected a label or "drained" after "!", got the end`},
		{"!!role", 2, `expected a label or "drained" after "!", got "!"`},
		{"!seen", 2, `expected a label or "drained" after "!", got "seen"`},
		{"! name", 3, `expected a label or "drained" after "!", got "name"`},
		{"!role=web", 6, `expected "," or the end after "!role" (or write role!=value), got "="`},

		// operators
		{"role web", 6, opRole + `"role", got "web"`},
		{"role and zone", 6, opRole + `"role", got "and": "," is and`},
		{"role:web", 5, opRole + `"role", got ":": write = between label and value`},
		{"role==web", 5, opRole + `"role", got "==": write =`},
		{"role=~web", 5, opRole + `"role", got "=~": write ~`},
		{"role=!web", 5, opRole + `"role", got "=!": write !=`},
		{"role ! web", 6, opRole + `"role", got "!"`},
		{"role not in (a)", 6, opRole + `"role", got "not": write notin, != or !label`},
		{"role IN (a)", 6, opRole + `"role", got "IN": write in`},
		{"web*", 4, opRole + `"web", got "*": a pattern needs a key, such as name~web*`},
		{"zone<5", 5, opRole + `"zone", got "<": only "seen" can be compared`},
		{"version>1", 8, opName + `"version", got ">": only "seen" can be compared`},
		{"name", 5, opName + `"name", got the end`},
		{"type,role", 5, opName + `"type", got ","`},
		{"seen", 5, `expected an operator (< >) after "seen", got the end`},
		{"seen=5m", 5, `expected an operator (< >) after "seen", got "="`},
		{"seen<=5m", 5, `expected an operator (< >) after "seen", got "<=": write <`},
		{"drained!=true", 8, `expected an operator (=) or "," after "drained", got "!="`},
		{"drained in (true)", 9, `expected an operator (=) or "," after "drained", got "in"`},

		// values
		{"role=", 6, `expected a value after "=", got the end`},
		{"role= ,zone=eu", 7, `expected a value after "=", got ","`},
		{"role='web'", 6, `expected a value after "=", got "'": use double quotes`},
		{"role=web*", 9, `'*' in an exact value: use ~ for a pattern, or quotes for the character itself`},
		{"role=*", 6, `'*' in an exact value: use ~ for a pattern, or quotes for the character itself`},
		{"role in (web?)", 13, `'?' in an exact value: use ~ for a pattern, or quotes for the character itself`},
		{"role=[a]", 6, `expected a value after "=", got "[": use round brackets for a list`},
		{"role=web zone=eu", 10, `expected "," or the end, got "zone"`},
		{"role=web;zone=eu", 9, `expected "," or the end, got ";": write a comma`},
		{"role=web and zone=eu", 10, `expected "," or the end, got "and": "," is and`},
		{"role=web || zone=eu", 10, `expected "," or the end, got "|": ` + list},
		{"role=web or zone=eu", 10, `expected "," or the end, got "or": ` + list},
		{"role=a=b", 7, `expected "," or the end, got "="`},
		{`role="a"b`, 9, `expected "," or the end, got "b"`},
		{"role=$web", 6, `expected a value after "=", got "$"`},
		{"role=a\x00", 7, `expected "," or the end, got "\x00"`},
		{`role="web`, 6, "missing closing quote"},
		{`role="a\nb"`, 8, `unknown escape: write \\ for a backslash, \" for a quote`},
		{`role="a\`, 8, `unknown escape: write \\ for a backslash, \" for a quote`},
		{"role=\"ä\x1b\"", 8, `invalid character '\x1b': must be printable`},
		{"city=ü,\xff", 8, "invalid UTF-8"},
		{`name=""`, 6, `invalid value "": "name" is never empty`},
		{`type in (a,"")`, 12, `invalid value "": "type" is never empty`},
		{`version~""`, 9, `invalid value "": "version" is never empty`},

		// lists
		{"role in", 8, `expected "(" after "in", got the end`},
		{"role in [a]", 9, `expected "(" after "in", got "[": use round brackets for a list`},
		{"role notin web", 12, `expected "(" after "notin", got "web"`},
		{"role in ()", 10, `expected a value after "(", got ")"`},
		{"role in (a,)", 12, `expected a value after ",", got ")"`},
		{"role in (a b)", 12, `expected "," or ")", got "b"`},
		{"role in (a", 11, `expected "," or ")", got the end`},

		// patterns
		{"name~", 6, `expected a value after "~", got the end`},
		{"name~web[0-9", 9, `invalid pattern: missing "]": write "[[]" for a bracket itself, and quote other characters than letters and digits`},
		{`name~"a\\[9-0]"`, 10, `invalid pattern: the range 9-0 is empty: write the lower character first`},
		{"name~[]", 6, `invalid pattern: no characters between "[" and "]"`},
		{"name~[!]", 6, `invalid pattern: no characters between "[" and "]"`},
		{"name~x[^a]", 7, `invalid pattern: write "[!" in place of "[^"`},

		// durations and truths
		{"seen<5", 6, `invalid duration "5": must be a number with a unit, such as 90s, 5m, 1h30m or 7d`},
		{"seen<1.5h", 6, `invalid duration "1.5h": must be a number with a unit, such as 90s, 5m, 1h30m or 7d`},
		{"seen<5m1h", 6, `invalid duration "5m1h": must be a number with a unit, such as 90s, 5m, 1h30m or 7d`},
		{"seen<0s", 6, `invalid duration "0s": must be 1s-3650d`},
		{"seen>3651d", 6, `invalid duration "3651d": must be 1s-3650d`},
		{"seen>999999999d999999999h", 6, `invalid duration "999999999d999999999h": must be 1s-3650d`},
		{"seen>213504d", 6, `invalid duration "213504d": must be 1s-3650d`}, // 25 minutes if it overflowed
		{"drained=yes", 9, `expected true or false, got "yes"`},
	} {
		_, err := selector.Parse(c.text)
		got, ok := errors.AsType[*selector.SyntaxError](err)
		if !ok {
			t.Errorf("%q: error %v, want column %d: %s", c.text, err, c.column, c.message)
			continue
		}
		if got.Column != c.column || got.Message != c.message {
			t.Errorf("%q:\n got %d: %s\nwant %d: %s", c.text, got.Column, got.Message, c.column, c.message)
		}
		if want := fmt.Sprintf("invalid selector: column %d: %s", c.column, c.message); err.Error() != want {
			t.Errorf("%q: got %s, want %s", c.text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	values := func(n int) string { return strings.TrimSuffix(strings.Repeat("a,", n), ",") }
	terms := func(n int) string { return strings.TrimSuffix(strings.Repeat("role,", n), ",") }
	spaces := strings.Repeat(" ", selector.MaxText-4)
	for _, c := range []struct {
		text   string
		column int // 0 if it is valid
	}{
		{"role" + spaces, 0},
		{"role" + spaces + " ", selector.MaxText + 1},
		{`a="ü"` + spaces, selector.MaxText}, // a character of two bytes
		{terms(selector.MaxTerms), 0},
		{terms(selector.MaxTerms + 1), len(terms(selector.MaxTerms)) + 2},
		{"role in (" + values(selector.MaxValues) + ")", 0},
		{"a in (" + values(selector.MaxValues-1) + "),b in (b)", 0},
		{"a in (" + values(selector.MaxValues-1) + "),b in (b,c)", 2*selector.MaxValues + 14},
		{"role=" + strings.Repeat("a", selector.MaxLabelValue), 0},
		{"role=" + strings.Repeat("a", selector.MaxLabelValue+1), 6},
		{`role~"` + strings.Repeat("ä", 128) + `"`, 6},
		{strings.Repeat("a", selector.MaxLabelKey), 0},
		{strings.Repeat("a", selector.MaxLabelKey+1), 1},
		{"role in (" + longList(selector.MaxText-len("role in ()")) + ")", 0},
		{"role in(" + longList(selector.MaxText-len("role in()")) + ")", selector.MaxText + 1}, // canonical: with the space
	} {
		_, err := selector.Parse(c.text)
		got, ok := errors.AsType[*selector.SyntaxError](err)
		switch {
		case c.column == 0 && err != nil:
			t.Errorf("%.40s: %v", c.text, err)
		case c.column != 0 && (!ok || got.Column != c.column):
			t.Errorf("%.40s: error %v, want column %d", c.text, err, c.column)
		}
	}
}

// longList returns values that have so many bytes together with their commas.
func longList(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size-selector.MaxLabelValue; i++ {
		fmt.Fprintf(&b, "%0200d,", i)
	}
	return b.String() + strings.Repeat("a", size-b.Len())
}
