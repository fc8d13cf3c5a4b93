package nodeset_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/x/nodeset"
)

// between returns the names that format makes of the numbers from first to last.
func between(format string, first, last int) (names []string) {
	for n := first; n <= last; n++ {
		names = append(names, fmt.Sprintf(format, n))
	}
	return names
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

func TestFold(t *testing.T) {
	t.Parallel()
	var grid, hole []string
	for rack := 1; rack <= 3; rack++ {
		grid = append(grid, between(fmt.Sprintf("rack%d-node%%02d.example.com", rack), 1, 12)...)
		hole = append(hole, between(fmt.Sprintf("r%dn%%d", rack), 1, 2+rack/3)...)
	}
	for want, names := range map[string][]string{
		"":                                  nil,
		"web01":                             {"web01"},
		"web[01-20]":                        between("web%02d", 1, 20),
		"web[1-20]":                         between("web%d", 1, 20),
		"web[08-102]":                       between("web%02d", 8, 102),
		"web[1-2]":                          {"web2", "web1", "web2"},
		"web[1,3]":                          {"web1", "web3"},
		"web[1-3,01-03,001]":                append(append(between("web%d", 1, 3), between("web%02d", 1, 3)...), "web001"),
		"web[9,010]":                        {"web9", "web010"},
		"db[1-2],web50":                     {"web50", "db1", "db2"},
		"web[01-06,08-18,20-47]":            slices.Concat(between("web%02d", 1, 6), between("web%02d", 8, 18), between("web%02d", 20, 47)),
		"rack[1-3]-node[01-12].example.com": grid,
		"r3n[1-3],r[1-2]n[1-2]":             hole,
		"a,a-,a.b,a_,b":                     {"a", "b", "a.b", "a-", "a_"},
		"[1-3]":                             {"1", "2", "3"},
		"10.0.2.1,10.0.[0-1].[254-255]":     {"10.0.0.254", "10.0.0.255", "10.0.1.254", "10.0.1.255", "10.0.2.1"},
		"web1,web1a[1-2]":                   {"web1", "web1a1", "web1a2"},
		"n[99999999999999999999-100000000000000000001]": {
			"n99999999999999999999", "n100000000000000000000", "n100000000000000000001",
		},
		`"","[1-2]","a b","ä1",a1`: {"[1-2]", "a1", "ä1", "a b", ""},
	} {
		items := nodeset.Fold(names)
		if got := strings.Join(items, ","); got != want {
			t.Errorf("Fold: got %s, want %s", got, want)
		}
		got, err := nodeset.Unfold(strings.Join(items, ","), len(names))
		if err != nil || !slices.Equal(got, sorted(names)) {
			t.Errorf("Unfold(%q): got %q, %v", items, got, err)
		}
	}
}

func TestUnfold(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"":                       "",
		" \t\n":                  "",
		" web1 ,\n web2\t":       "web1 web2",
		"web[2,1-2],web1":        "web1 web2",
		"a[1-2]3[4-5]":           "a134 a135 a234 a235",
		"a[1][2]b":               "a12b",
		"a[01-01]":               "a01",
		`"a b"[1-2]`:             "a b1 a b2",
		"[1-2],[1-2],[1-2],a":    "1 2 a",
		"n[1-2][1-2]":            "n11 n12 n21 n22",
		strings.Repeat("a", 255): strings.Repeat("a", 255),
	} {
		got, err := nodeset.Unfold(set, 7)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, %v", set, got, err)
		}
	}
}

func TestUnfoldErrors(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		",":                                    "byte 1: unexpected ',': must be a name",
		"a,":                                   "byte 3: unexpected end: must be a name",
		"a,,b":                                 "byte 3: unexpected ',': must be a name",
		"a b":                                  "byte 3: unexpected 'b': must be a comma",
		"a]":                                   "byte 2: unexpected ']': must be a comma",
		"ä":                                    "byte 1: unexpected 'ä': must be a name",
		"a[":                                   "byte 3: unexpected end: must be a number",
		"a[]":                                  "byte 3: unexpected ']': must be a number",
		"a[x]":                                 "byte 3: unexpected 'x': must be a number",
		"a[1-]":                                "byte 5: unexpected ']': must be a number",
		"a[-1]":                                "byte 3: unexpected '-': must be a number",
		"a[1,]":                                "byte 5: unexpected ']': must be a number",
		"a[1-2-3]":                             "byte 6: unexpected '-': must be a comma or ]",
		"a[1":                                  "byte 4: unexpected end: must be a comma or ]",
		"a[1[2]]":                              "byte 4: unexpected '[': must be a comma or ]",
		"a[2-1]":                               "invalid range 2-1",
		"a[1-05]":                              "invalid range 1-05",
		"a[01-5]":                              "invalid range 01-5",
		`"a`:                                   "byte 1: invalid text in quotes",
		"a[1-6]":                               "too many names: must be at most 5",
		"a[1-3],b[1-3]":                        "too many names: must be at most 5",
		"a[1-3][1-2]":                          "too many names: must be at most 5",
		"a,a,a,a,a,a":                          "too many names: must be at most 5",
		"[1-99999999999999999999]":             "too many names: must be at most 5",
		"[" + strings.Repeat("1", 256):         "number too long: must be at most 255 digits",
		"a[1,1000]" + strings.Repeat("a", 251): "name too long: must be at most 255 bytes",
		"[1-5]" + strings.Repeat("a", 1<<20):   "name too long: must be at most 255 bytes",
		strings.Repeat("[1-5]", 1000):          "too many names: must be at most 5",
		`"` + strings.Repeat("a", 256) + `"`:   "name too long: must be at most 255 bytes",
		"a" + strings.Repeat("[0-9]", 20) + ",b" + "]": "too many names: must be at most 5",
	} {
		names, err := nodeset.Unfold(set, 5)
		if err == nil || !strings.HasPrefix(err.Error(), "invalid set of names: byte ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %q, %v; want %s", set, names, err, want)
		}
	}
}

// FuzzFold folds any names, and unfolds them.
func FuzzFold(f *testing.F) {
	f.Add("web01 web02 web3 web10 web010 a1b2 a1b3 a2b2 a2b3")
	f.Add("10.0.0.1 10.0.0.2 9 10 09 010 [1-2] a[1 1] , \" a,b ä \xff")
	f.Add("1-2 1-3 2-2 2-3 1-2-3 1.2-3 1,2 1-2,3 3-4 4-4")
	f.Fuzz(func(t *testing.T, text string) {
		names := strings.Split(text, " ")
		if slices.ContainsFunc(names, func(name string) bool { return len(name) > 255 }) {
			t.Skip()
		}
		items := nodeset.Fold(names)
		set := strings.Join(items, ", ")
		got, err := nodeset.Unfold(set, len(names))
		if err != nil || !slices.Equal(got, sorted(names)) {
			t.Errorf("Fold(%q) is %s, which unfolds to %q, %v", names, set, got, err)
		}
		if again := nodeset.Fold(got); !slices.Equal(again, items) {
			t.Errorf("folded again: %q, not %q", again, items)
		}
	})
}

// FuzzUnfold unfolds any text: the result is an error, or names that fold.
func FuzzUnfold(f *testing.F) {
	for _, set := range []string{"web[01-20],db", "a[1-3,5][2], \"a b\"[1]", "[1-", "a[001-1000]", `"\xff"`} {
		f.Add(set)
	}
	f.Fuzz(func(t *testing.T, set string) {
		names, err := nodeset.Unfold(set, 100)
		if err != nil {
			return
		}
		again, err := nodeset.Unfold(strings.Join(nodeset.Fold(names), ","), len(names))
		if len(names) > 100 || err != nil || !slices.Equal(names, again) {
			t.Errorf("%q is %q, and folded and unfolded %q, %v", set, names, again, err)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	var grid []string
	for rack := range 100 {
		grid = append(grid, between(fmt.Sprintf("rack%d-node%%03d.example.com", rack), 1, 100)...)
	}
	for b.Loop() {
		nodeset.Fold(grid)
	}
}
