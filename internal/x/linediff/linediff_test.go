package linediff

import (
	"fmt"
	"strings"
	"testing"
)

// show returns rows as text: " " is a line of both, "-" and "+" are of one, "!" differs.
func show(rows []Row) string {
	var list []string
	for _, r := range rows {
		switch {
		case r.Left > 0:
			list = append(list, fmt.Sprintf("..%d", r.Left))
		case r.Same():
			list = append(list, " "+r.A)
		case r.NB == 0:
			list = append(list, "-"+r.A)
		case r.NA == 0:
			list = append(list, "+"+r.B)
		default:
			list = append(list, "!"+r.A+"|"+r.B)
		}
	}
	return strings.Join(list, ",")
}

func TestCompare(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a b c", "a b c", " a, b, c"},
		{"", "a b", "+a,+b"},
		{"a b", "", "-a,-b"},
		{"a b c", "a x c", " a,!b|x, c"},
		{"a b c", "a c", " a,-b, c"},
		{"a c", "a b c", " a,+b, c"},
		{"a b c d", "a x y d", " a,!b|x,!c|y, d"},
		{"a b d", "a x y d", " a,!b|x,+y, d"},
		{"a a a", "a a", " a, a,-a"},
		{"x a b y", "a b", "-x, a, b,-y"},
		{"a b c d e", "c d e a b", "-a,-b, c, d, e,+a,+b"},
	} {
		rows := Compare(strings.Fields(test.a), strings.Fields(test.b))
		if got := show(rows); got != test.want {
			t.Errorf("%q and %q: %s, want %s", test.a, test.b, got, test.want)
		}
	}
}

func TestFold(t *testing.T) {
	a := strings.Fields("1 2 3 4 5 6 7 8 9 10")
	b := strings.Fields("1 2 3 4 x 6 7 8 9 10")
	for around, want := range map[int]string{
		0: "..4,!5|x,..5", 1: "..3, 4,!5|x, 6,..4", 4: " 1, 2, 3, 4,!5|x, 6, 7, 8, 9,..1", 20: " 1, 2, 3, 4,!5|x, 6, 7, 8, 9, 10",
	} {
		if got := show(Fold(Compare(a, b), around)); got != want {
			t.Errorf("around %d: %s, want %s", around, got, want)
		}
	}
	if got := show(Fold(Compare(a, a), 3)); got != "..10" {
		t.Errorf("equal texts: %s", got)
	}
}

// What is longer than the bound is not looked at.
func TestBound(t *testing.T) {
	long := make([]string, 5*MaxLines)
	if rows := Compare(long, nil); len(rows) != MaxLines {
		t.Errorf("%d rows", len(rows))
	}
}

// Each line is in one row, in its order, and no shorter text has more lines of both.
func FuzzCompare(f *testing.F) {
	f.Add("a\nb\nc", "a\nx\nc")
	f.Add("a\na\nb", "b\na")
	f.Fuzz(func(t *testing.T, one, other string) {
		a, b := strings.Split(one, "\n"), strings.Split(other, "\n")
		if len(a) > 200 || len(b) > 200 {
			return
		}
		var gotA, gotB []string
		for _, r := range Compare(a, b) {
			if r.NA > 0 {
				gotA = append(gotA, r.A)
			}
			if r.NB > 0 {
				gotB = append(gotB, r.B)
			}
			if r.NA == 0 && r.NB == 0 || r.NA > 0 && r.NA != len(gotA) || r.NB > 0 && r.NB != len(gotB) {
				t.Fatalf("row %+v", r)
			}
		}
		if strings.Join(gotA, "\n") != one || strings.Join(gotB, "\n") != other {
			t.Fatalf("%q and %q came back as %q and %q", one, other, gotA, gotB)
		}
	})
}
