package rollout_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("web%03d", i)
	}
	return names
}

func reversed(names []string) []string {
	names = slices.Clone(names)
	slices.Reverse(names)
	return names
}

func TestOrderBySeed(t *testing.T) {
	t.Parallel()
	s := settings(t, `{"batch":1,"seed":"a1"}`)
	all := names(100)
	got := s.Order(all, nil)
	if again := s.Order(reversed(all), nil); !slices.Equal(got, again) {
		t.Error("the order depends on the order of the names")
	}
	hash := func(name string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte("a1/"+name))) }
	if !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(hash(a), hash(b)) }) {
		t.Error("not sorted by the hash that is documented")
	}
	if slices.Equal(got, all) || slices.Equal(got, settings(t, `{"batch":1,"seed":"a2"}`).Order(all, nil)) {
		t.Error("the seed has no effect")
	}
	slices.Sort(got)
	if !slices.Equal(got, all) {
		t.Error("other names than were given")
	}
	// 4aa1..., ecf4... and ccc0..., by sha256sum.
	if got := s.Order([]string{"web1", "web2", "web3"}, nil); !slices.Equal(got, []string{"web1", "web3", "web2"}) {
		t.Error(got)
	}
}

func TestOrderByName(t *testing.T) {
	t.Parallel()
	if got := settings(t, `{"batch":1,"order":"name"}`).Order(reversed(names(20)), nil); !slices.Equal(got, names(20)) {
		t.Error(got)
	}
}

func TestOrderByLabel(t *testing.T) {
	t.Parallel()
	s := settings(t, `{"batch":1,"order":"label:zone","seed":"x"}`)
	if key, ok := s.LabelKey(); key != "zone" || !ok {
		t.Error(key, ok)
	}
	zone := func(name string) string { return []string{"b", "", "a"}[name[len(name)-1]%3] }
	got := s.Order(names(30), zone)
	zones := ""
	for _, name := range got {
		zones += zone(name)
	}
	if want := strings.Repeat("a", 9) + strings.Repeat("b", 12); zones != want || len(got) != 30 || zone(got[29]) != "" {
		t.Errorf("not grouped, or those without a zone are not last: %s, %v", zones, got)
	}
	if !slices.Equal(got, s.Order(reversed(names(30)), zone)) {
		t.Error("the order depends on the order of the names")
	}
	bySeed := slices.DeleteFunc(settings(t, `{"batch":1,"seed":"x"}`).Order(names(30), nil), func(n string) bool { return zone(n) != "a" })
	if !slices.Equal(got[:len(bySeed)], bySeed) {
		t.Error("a group is not in the order of the seed")
	}
}

func TestDuplicates(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"seed", "name", "label:zone"} {
		s := settings(t, `{"batch":["50%","100%"],"order":"`+order+`"}`)
		got := s.Order([]string{"web2", "web1", "web2", "web1", "web2"}, func(string) string { return "" })
		if len(got) != 2 || got[0] == got[1] {
			t.Errorf("%s: %v", order, got)
		}
		if p := plan(t, s, len(got)); p.N != 2 || len(p.Waves) != 2 {
			t.Errorf("%s: %+v", order, p)
		}
	}
}
