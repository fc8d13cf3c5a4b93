package selector_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/selector"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func Example() {
	fleet := []selector.Endpoint{
		{Name: "web1", Labels: map[string]string{"role": "web", "zone": "eu"}},
		{Name: "web2", Labels: map[string]string{"role": "web"}},
		{Name: "db1", Labels: map[string]string{"role": "db", "zone": "us"}},
	}
	s, err := selector.Parse("role = web, zone != us")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s)
	for _, e := range fleet {
		switch m := s.Match(e, time.Now()); {
		case m.Lacks != "":
			fmt.Printf("%s, which has no %s\n", e.Name, m.Lacks)
		case m.Matched:
			fmt.Println(e.Name)
		}
	}
	_, err = selector.Parse("role=web zone=eu")
	fmt.Println(err)
	// Output:
	// role=web,zone!=us
	// web1
	// web2, which has no zone
	// invalid selector: column 10: expected "," or the end, got "zone"
}

func ExampleParseUnion() {
	u, err := selector.ParseUnion([]string{"role=web", "zone=eu"})
	if err != nil {
		fmt.Println(err)
		return
	}
	db := selector.Endpoint{Name: "db1", Labels: map[string]string{"zone": "eu"}}
	fmt.Println(u.Match(db, time.Now()).Matched)
	// Output: true
}

func ExampleSelector_Check() {
	s, err := selector.Parse("rol=web,zone=eu,web1")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, w := range s.Check([]string{"role", "zone"}) {
		fmt.Printf("column %d: %s\n", w.Column, w)
	}
	// Output:
	// column 1: unknown key "rol": did you mean "role"?
	// column 17: unknown key "web1": no endpoint has this label: for the endpoint of this name, write name=web1
}

// web is what most tests of matches look at.
var web = selector.Endpoint{
	Name: "web1", Labels: map[string]string{"role": "web", "zone": "eu-west", "empty": "", "Role": "WEB", "path": `C:\a "b"`},
	Types: []string{"backup", "deploy"}, Version: "1.4.2", LastSeen: now.Add(-5 * time.Minute),
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]selector.Match{
		"role=web": {Matched: true}, "role=we": {}, "role=WEB": {}, "Role=WEB": {Matched: true}, "rack=1": {},
		"role!=web": {}, "role!=db": {Matched: true}, "rack!=1": {Matched: true, Lacks: "rack"},
		"role~w*": {Matched: true}, "role~W*": {}, "rack~*": {}, "role~e": {},
		"role!~w*": {}, "role!~d*": {Matched: true}, "rack!~*": {Matched: true, Lacks: "rack"},
		"role in (db,web)": {Matched: true}, "role in (db,cache)": {}, "rack in (1,2)": {},
		"role notin (db,web)": {}, "role notin (db,cache)": {Matched: true}, "rack notin (1,2)": {Matched: true, Lacks: "rack"},
		"role": {Matched: true}, "empty": {Matched: true}, "rack": {}, "!role": {}, "!empty": {}, "!rack": {Matched: true},
		`empty=""`: {Matched: true}, `empty!=""`: {}, `role!=""`: {Matched: true}, `rack!=""`: {Matched: true, Lacks: "rack"},
		`path="C:\\a \"b\""`: {Matched: true},

		"role=web,zone=eu-west": {Matched: true}, "role=web,zone=us": {}, "role=db,zone=eu-west": {},
		"role=web,rack!=1": {Matched: true, Lacks: "rack"}, "rack!=1,role=db": {}, "b!=1,a!=1": {Matched: true, Lacks: "a"},
		"rack,rack!=1": {},

		"name=web1": {Matched: true}, "name=web": {}, "name~web?": {Matched: true}, "name!=web1": {}, "name in (db1,web1)": {Matched: true},
		"type=backup": {Matched: true}, "type=deploy": {Matched: true}, "type=other": {}, "type!=backup": {}, "type!=other": {Matched: true},
		"type~de*": {Matched: true}, "type!~de*": {}, "type in (other,deploy)": {Matched: true}, "type notin (other,deploy)": {},
		"version=1.4.2": {Matched: true}, "version~1.4.*": {Matched: true}, "version!~1.*": {},
		"drained=true": {}, "drained=false": {Matched: true}, "drained": {}, "!drained": {Matched: true}, "drained,!drained": {},
		"seen<5m": {}, "seen>5m": {}, "seen<301s": {Matched: true}, "seen>299s": {Matched: true}, "seen<1d": {Matched: true},
		"seen>4m,seen<6m": {Matched: true},
	} {
		s, err := selector.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := s.Match(web, now); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

// TestMatchBareEndpoint has an endpoint of which nothing is known, and labels
// that are named like attributes.
func TestMatchBareEndpoint(t *testing.T) {
	t.Parallel()
	bare := selector.Endpoint{Name: "new1", Drained: true, Labels: map[string]string{
		"name": "web1", "type": "backup", "version": "1", "seen": "1", "drained": "false",
	}}
	for text, want := range map[string]selector.Match{
		"name=web1": {}, "type=backup": {}, "version=1": {}, "drained": {Matched: true},
		"type!=backup": {Matched: true, Lacks: "type"}, "version!~1.*": {Matched: true, Lacks: "version"}, "name!=web1": {Matched: true},
		"seen>3650d": {Matched: true}, "seen<3650d": {}, "role!=web": {Matched: true, Lacks: "role"}, "!role": {Matched: true},
	} {
		if got := parse(t, text).Match(bare, now); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
	ahead := selector.Endpoint{Name: "ahead1", LastSeen: now.Add(time.Minute)}
	if got := parse(t, "seen<1s").Match(ahead, now); !got.Matched {
		t.Error("an endpoint that was seen by a later time does not match seen<1s")
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for pattern, values := range map[string]struct{ match, not []string }{
		`web*`:      {[]string{"web", "web1", "web.example"}, []string{"", "we", "xweb", "Web"}},
		`*web`:      {[]string{"web", "xweb", "webweb"}, []string{"web1"}},
		`*web*`:     {[]string{"web", "1web2"}, []string{"wb"}},
		`w*b*1`:     {[]string{"wb1", "web11", "wbb1"}, []string{"w1", "web12"}},
		`web?`:      {[]string{"web1", "webé"}, []string{"web", "web12"}},
		`?*`:        {[]string{"a", "ab"}, []string{""}},
		`**`:        {[]string{"", "a"}, nil},
		`web[1-3]`:  {[]string{"web1", "web3"}, []string{"web0", "web4", "web", "web12"}},
		`[a-cx]`:    {[]string{"a", "b", "c", "x"}, []string{"d", "-", "A"}},
		`[!a-c]`:    {[]string{"d", "!", "é"}, []string{"a", "b", "", "de"}},
		`"[a!]"`:    {[]string{"a", "!"}, []string{"b"}},
		`[a-]`:      {[]string{"a", "-"}, []string{"b"}},
		`"[!-a]"`:   {[]string{"b"}, []string{"a", "-"}},
		`[*]`:       {[]string{"*"}, []string{"a", ""}},
		`[?]`:       {[]string{"?"}, []string{"a"}},
		`[[]a]`:     {[]string{"[a]"}, []string{"a", "["}},
		`a]`:        {[]string{"a]"}, []string{"a"}},
		`"a b*"`:    {[]string{"a b", "a bc"}, []string{"ab"}},
		`"a\\*"`:    {[]string{`a\`, `a\b`}, []string{"a*", "a"}},
		`"a.c(d)+"`: {[]string{"a.c(d)+"}, []string{"abcdd"}},
		`""`:        {[]string{""}, []string{"a"}},
		`[α-γ]*`:    {[]string{"β", "γ1"}, []string{"δ", "a"}},
	} {
		s := parse(t, "label~"+pattern)
		not := parse(t, "label!~"+pattern)
		for _, value := range slices.Concat(values.match, values.not) {
			e := selector.Endpoint{Labels: map[string]string{"label": value}}
			want := slices.Contains(values.match, value)
			if got := s.Match(e, now).Matched; got != want {
				t.Errorf("~%s: %q matches: %v", pattern, value, got)
			}
			if got := not.Match(e, now).Matched; got == want {
				t.Errorf("!~%s: %q matches: %v", pattern, value, got)
			}
		}
	}
}

// TestPatternTakesFewSteps would not end if a match went back to every star.
// A pattern by itself is that of "~".
func TestPattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]struct{ match, not string }{
		"web-*": {"web-1", "web"}, "a?[b-d]": {"axc", "axe"}, "x": {"x", "xx"}, "*": {"anything", ""}, "": {"", "a"},
	} {
		p, err := selector.ParsePattern(pattern)
		if err != nil || !p.Match(want.match) || pattern != "*" && p.Match(want.not) || p.MatchesAll() != (pattern == "*") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if _, err := selector.ParsePattern("a["); err == nil || !strings.HasPrefix(err.Error(), "invalid pattern") {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := parse(t, "role=web,name~a*,!rack,role!=db,seen<5m")
	if got := strings.Join(s.Keys(), " "); got != "name rack role seen" {
		t.Error(got)
	}
}

func TestPatternTakesFewSteps(t *testing.T) {
	t.Parallel()
	s := parse(t, "label~"+strings.Repeat("*a", 100)+"b")
	e := selector.Endpoint{Labels: map[string]string{"label": strings.Repeat("a", selector.MaxLabelValue)}}
	if s.Match(e, now).Matched {
		t.Error("matches")
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" role =\tweb ,\r\nzone= eu\n":          "role=web,zone=eu",
		"zone=eu,role=web":                      "role=web,zone=eu",
		"role=web,role=web":                     "role=web",
		"role in ( web , db, web )":             "role in (db,web)",
		"role in(web)":                          "role=web",
		"role notin(web,web)":                   "role!=web",
		"in in (in),notin notin (notin,in)":     "in=in,notin notin (in,notin)",
		`role="web"`:                            "role=web",
		`role=""`:                               `role=""`,
		`role="a b",rack="a\\b\"c"`:             `rack="a\\b\"c",role="a b"`,
		`role="web*"`:                           `role="web*"`,
		`role~"web*"`:                           `role~web*`,
		`role~web***?`:                          `role~web*?`,
		`role~[**]**`:                           `role~[**]*`,
		`role~[!a-c]x!`:                         "", // "!" outside of brackets needs quotes
		`role~"[!a-c]x!"`:                       `role~"[!a-c]x!"`,
		`role~"[!a-c]x"`:                        `role~[!a-c]x`,
		"version=1.2.3-rc.1+linux/x:y@z_50%":    "version=1.2.3-rc.1+linux/x:y@z_50%",
		"city=Zürich,stadt=日本":                  "city=Zürich,stadt=日本",
		"drained":                               "drained=true",
		"! drained":                             "drained=false",
		`drained="false"`:                       "drained=false",
		"seen<90m":                              "seen<1h30m",
		"seen>0d24h":                            "seen>1d",
		"seen > 86399s":                         "seen>23h59m59s",
		"!  rack,role":                          "!rack,role",
		"*":                                     "*",
		"":                                      "*",
		" ** ":                                  "*",
		"name~*":                                "*",
		"name~*?*,name~**":                      "*",
		"name~*,role=web":                       "name~*,role=web",
		"kubernetes.io/os=linux,team_a/x-y=1.0": "kubernetes.io/os=linux,team_a/x-y=1.0",
	} {
		s, err := selector.Parse(text)
		if err != nil && !errors.Is(err, selector.ErrAll) {
			if want != "" {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if s.String() != want {
			t.Errorf("%s: got %s, want %s", text, s, want)
		}
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	e := selector.Endpoint{Name: "a"}
	for _, text := range []string{
		"", " \t\r\n", "*", " * ", "**", "name~*", "name~**",
		`name~"*"`, "name~?*", "name~*?", " name ~ * , name~*",
	} {
		s, err := selector.Parse(text)
		if !errors.Is(err, selector.ErrAll) || !s.All() || s.String() != "*" {
			t.Errorf("%q: all is %v, error %v", text, s.All(), err)
		}
		if got := s.Match(e, now); got != (selector.Match{Matched: true}) {
			t.Errorf("%q: got %+v, want a match", text, got)
		}
	}
	for _, text := range []string{"name~??*", "name~a*", "name~?", "name!~*", "name~*,role", "role~*", "type~*", "name~*[a]", "seen<3650d"} {
		if s := parse(t, text); s.All() {
			t.Errorf("%s: all", text)
		}
	}
	if zero := (selector.Selector{}); zero.All() || zero.Match(e, now).Matched {
		t.Error("the zero selector matches")
	}
}

func TestUnion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		texts []string
		want  selector.Match
	}{
		{[]string{"role=web", "zone=us"}, selector.Match{Matched: true}},
		{[]string{"zone=us", "role=web"}, selector.Match{Matched: true}},
		{[]string{"zone=us", "role=db"}, selector.Match{}},
		{[]string{"rack!=1", "role=db"}, selector.Match{Matched: true, Lacks: "rack"}},
		{[]string{"role=db", "row!=1", "rack!=1"}, selector.Match{Matched: true, Lacks: "row"}},
		{[]string{"rack!=1", "role=web"}, selector.Match{Matched: true}},
	} {
		u, err := selector.ParseUnion(c.texts)
		if err != nil || u.All() {
			t.Errorf("%q: %v, all is %v", c.texts, err, u.All())
		}
		if got := u.Match(web, now); got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.texts, got, c.want)
		}
	}
	u, err := selector.ParseUnion([]string{"role=db", "*"})
	if !errors.Is(err, selector.ErrAll) || !u.All() || !u.Match(web, now).Matched {
		t.Errorf("a union with *: %v, all is %v", err, u.All())
	}
	_, err = selector.ParseUnion([]string{"*", "role=db", "role="})
	if want := `invalid selector 3: column 6: expected a value after "=", got the end`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, n := range []int{0, selector.MaxSelectors + 1} {
		if _, err := selector.ParseUnion(slices.Repeat([]string{"role"}, n)); err == nil {
			t.Errorf("%d selectors: no error", n)
		}
	}
	if _, err := selector.ParseUnion(slices.Repeat([]string{"role"}, selector.MaxSelectors)); err != nil {
		t.Error(err)
	}
	if u := (selector.Union{}); u.All() || u.Match(web, now).Matched {
		t.Error("an empty union matches")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	known := []string{"role", "zone"}
	for text, want := range map[string][]selector.Warning{
		"role=web,!zone,name=a,seen<1m,drained": nil,
		"zonne=a,  rol!=b":                      {{Column: 1, Key: "zonne", Nearest: "zone"}, {Column: 11, Key: "rol", Nearest: "role"}},
		"!rol,rol=web":                          {{Column: 2, Key: "rol", Nearest: "role"}},
		"verson=1":                              {{Column: 1, Key: "verson", Nearest: "version"}},
		"Role=web":                              {{Column: 1, Key: "Role", Nearest: "role"}},
		`city="ü",datacenter=1`:                 {{Column: 1, Key: "city"}, {Column: 10, Key: "datacenter"}},
	} {
		if got := parse(t, text).Check(known); !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"a", "0", "A.b_c/d-e", "kubernetes.io/os", "in", "notin", "all", "Name", strings.Repeat("a", 63)} {
		if err := selector.ValidLabelKey(key); err != nil {
			t.Error(err)
		}
	}
	for _, key := range []string{
		"", "-a", ".a", "a b", "ä", "a\n", "a=b", "a,", strings.Repeat("a", 64), "name", "type", "version", "seen", "drained",
	} {
		if selector.ValidLabelKey(key) == nil {
			t.Errorf("key %q: no error", key)
		}
	}
	for _, value := range []string{"", "a", `a, "b" \`, "Zürich", " a ", strings.Repeat("a", 255)} {
		if err := selector.ValidLabelValue(value); err != nil {
			t.Error(err)
		}
	}
	for _, value := range []string{"a\n", "\x1b", "\xff", "a\u00a0", "\u202e", "\u200b", strings.Repeat("a", 256), strings.Repeat("ä", 128)} {
		if selector.ValidLabelValue(value) == nil {
			t.Errorf("value %q: no error", value)
		}
	}
}

func parse(t *testing.T, text string) selector.Selector {
	t.Helper()
	s, err := selector.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func BenchmarkMatch(b *testing.B) {
	fleet := make([]selector.Endpoint, 10_000)
	for i := range fleet {
		fleet[i] = selector.Endpoint{
			Name: fmt.Sprintf("web%d.example", i), Types: []string{"backup", "deploy"}, Version: "1.4.2", LastSeen: now,
			Labels: map[string]string{"role": []string{"web", "db"}[i%2], "zone": "eu-west", "rack": "7"},
		}
	}
	for name, text := range map[string]string{
		"equal":    "role=web",
		"terms":    "role in (cache,db,web),name~web*[0-4].example,zone!=us,type=deploy,seen<5m",
		"patterns": "name~*e*a*x,rack!~*8*",
	} {
		s, err := selector.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, e := range fleet {
					s.Match(e, now)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := selector.Parse(`role in (cache,db,web),name~web*[0-4].example,zone!="us west",seen<5m`); err != nil {
			b.Fatal(err)
		}
	}
}
