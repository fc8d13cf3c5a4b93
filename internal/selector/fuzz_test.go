package selector_test

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/selector"
)

// FuzzSelector compares the matches of a selector, and of its canonical text,
// with those of a simple reader of the grammar that expects valid text.
func FuzzSelector(f *testing.F) {
	for _, text := range []string{
		"", "*", "name~*", "role=web", "role = web , zone!=eu", "role in (web,db),!rack", `role notin ("a b","c\"\\,)"),x`,
		"name~w*b[0-9]?,name!~*[!a-c]",
		"type=deploy,type!=other,type!~b*", "version~1.*,version!=1.2.3", "seen<5m,seen>1m30s", "seen>1d", "drained", "!drained,drained=true",
		`role~"[!a-c]*!",zone!~"*"`, "in in (in),notin notin(notin)", "role=web and zone", "role=web*", `a~[[]*]`, "a!~**", "seen<3650d",
	} {
		f.Add(text, "web1", "role=web;zone=eu;rack=", "backup,deploy", "1.2.3", int64(120), false)
	}
	f.Fuzz(func(t *testing.T, text, name, labels, types, version string, silent int64, drained bool) {
		s, err := selector.Parse(text)
		if wrong, ok := errors.AsType[*selector.SyntaxError](err); ok {
			if wrong.Column < 1 || wrong.Column > len([]rune(text))+1 {
				t.Fatalf("%q: column %d", text, wrong.Column)
			}
			return
		}
		again, err := selector.Parse(s.String())
		if s.All() != errors.Is(err, selector.ErrAll) || !s.All() && err != nil || again.String() != s.String() || again.All() != s.All() {
			t.Fatalf("%q: %q parsed again is %q, error %v", text, s, again, err)
		}
		plain := readPlainly(text)
		given := selector.Endpoint{
			// No endpoint is without a name: a term that matches every other one is for all.
			Name: cmp.Or(strings.ToValidUTF8(name, ""), "web1"), Labels: map[string]string{}, Version: strings.ToValidUTF8(version, ""), Drained: drained,
			LastSeen: now.Add(-time.Duration(silent) * time.Second),
		}
		for pair := range strings.SplitSeq(labels, ";") {
			if key, value, ok := strings.Cut(strings.ToValidUTF8(pair, ""), "="); ok {
				given.Labels[key] = value
			}
		}
		if types != "" {
			given.Types = strings.Split(strings.ToValidUTF8(types, ""), ",")
		}
		for _, e := range []selector.Endpoint{given, likely(plain, given)} {
			want := matchPlainly(plain, e)
			if got := s.Match(e, now); got.Matched != want.Matched || (got.Lacks == "") != (want.Lacks == "") {
				t.Errorf("%q (%q): got %+v, want %+v for %+v", text, s, got, want, e)
			} else if other := again.Match(e, now); other != got {
				t.Errorf("%q: got %+v, but %+v by its canonical text, for %+v", text, got, other, e)
			}
		}
	})
}

// plainTerm is a term as it is written.
type plainTerm struct {
	key, op string
	values  []string
}

var plainForm = regexp.MustCompile(`(?s)^\s*(!?)\s*([A-Za-z0-9._/-]+)\s*(in\b|notin\b|!=|!~|[=~<>]|)\s*(.*?)\s*$`)

func readPlainly(text string) []plainTerm {
	if strings.Trim(text, " \t\r\n*") == "" {
		return nil
	}
	var terms []plainTerm
	for _, one := range splitPlainly(text) {
		m := plainForm.FindStringSubmatch(one)
		t := plainTerm{key: m[2], op: m[1] + m[3]}
		if m[3] != "" {
			t.values = []string{m[4]}
		}
		if strings.HasSuffix(t.op, "in") {
			t.values = splitPlainly(m[4][1 : len(m[4])-1])
		}
		for i, v := range t.values {
			v = strings.Trim(v, " \t\r\n")
			if strings.HasPrefix(v, `"`) {
				v = regexp.MustCompile(`\\(.)`).ReplaceAllString(v[1:len(v)-1], "$1")
			}
			t.values[i] = v
		}
		terms = append(terms, t)
	}
	return terms
}

// splitPlainly splits at the commas that are not in quotes or brackets.
func splitPlainly(text string) []string {
	var parts []string
	var part strings.Builder
	quoted, escaped, depth := false, false, 0
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			parts = append(parts, part.String())
			part.Reset()
			continue
		}
		part.WriteRune(r)
	}
	return append(parts, part.String())
}

// likely returns an endpoint that has the values of a selector, so that many
// terms match.
func likely(terms []plainTerm, e selector.Endpoint) selector.Endpoint {
	likely := selector.Endpoint{Name: e.Name, Labels: map[string]string{}, Version: e.Version, Drained: !e.Drained, LastSeen: e.LastSeen}
	for _, t := range terms {
		if len(t.values) == 0 || strings.HasPrefix(t.op, "!") && len(t.values[0])%2 == 0 {
			continue
		}
		value := t.values[len(t.values)-1]
		if strings.HasSuffix(t.op, "~") {
			value = strings.NewReplacer("*", "xy", "?", "z", "[", "", "]", "", "!", "").Replace(value)
		}
		switch t.key {
		case "name":
			likely.Name = cmp.Or(value, likely.Name)
		case "type":
			likely.Types = append(likely.Types, value)
		case "version":
			likely.Version = value
		default:
			likely.Labels[t.key] = value
		}
	}
	return likely
}

func matchPlainly(terms []plainTerm, e selector.Endpoint) selector.Match {
	all := selector.Match{Matched: true}
	for _, t := range terms {
		var values []string
		switch value, ok := e.Labels[t.key]; t.key {
		case "name":
			values = []string{e.Name}
		case "type":
			values = e.Types
		case "version":
			values = slices.DeleteFunc([]string{e.Version}, func(v string) bool { return v == "" })
		case "drained": // as a label that only drained endpoints have, or with a value
			if t.op == "=" {
				values = []string{strconv.FormatBool(e.Drained)}
			} else if e.Drained {
				values = []string{""}
			}
		default:
			if ok {
				values = []string{value}
			}
		}
		in := func(v string) bool { return slices.Contains(t.values, v) }
		var ok bool
		switch t.op {
		case "<":
			ok = now.Sub(e.LastSeen) < durationPlainly(t.values[0])
		case ">":
			ok = now.Sub(e.LastSeen) > durationPlainly(t.values[0])
		case "":
			ok = len(values) > 0
		case "!":
			ok = len(values) == 0
		case "=", "in":
			ok = slices.ContainsFunc(values, in)
		case "!=", "notin":
			ok = !slices.ContainsFunc(values, in)
		case "~":
			ok = slices.ContainsFunc(values, patternPlainly(t.values[0]).MatchString)
		case "!~":
			ok = !slices.ContainsFunc(values, patternPlainly(t.values[0]).MatchString)
		}
		if !ok {
			return selector.Match{}
		}
		if len(t.op) > 1 && (t.op[0] == '!' || t.op == "notin") && len(values) == 0 {
			all.Lacks = t.key
		}
	}
	return all
}

func durationPlainly(text string) time.Duration {
	var total time.Duration
	for _, m := range regexp.MustCompile(`(\d+)([dhms])`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		total += time.Duration(n) * map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second}[m[2]]
	}
	return total
}

// patternPlainly returns the regular expression for a pattern.
func patternPlainly(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest := []rune(pattern); len(rest) > 0; {
		size := 1
		switch rest[0] {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '[':
			size = slices.Index(rest, ']') + 1
			b.WriteString(classPlainly(rest[1 : size-1]))
		default:
			b.WriteString(regexp.QuoteMeta(string(rest[0])))
		}
		rest = rest[size:]
	}
	return regexp.MustCompile(b.String() + `\z`)
}

func classPlainly(inside []rune) string {
	class := "["
	if inside[0] == '!' {
		class, inside = "[^", inside[1:]
	}
	escape := func(r rune) string { return `\x{` + strconv.FormatInt(int64(r), 16) + `}` }
	for len(inside) > 0 {
		class += escape(inside[0])
		if len(inside) > 2 && inside[1] == '-' {
			class += "-" + escape(inside[2])
			inside = inside[2:]
		}
		inside = inside[1:]
	}
	return class + "]"
}
