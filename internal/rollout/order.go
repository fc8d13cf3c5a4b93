package rollout

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
)

// Order returns the endpoints in the order in which the rollout tries them,
// without duplicates. It does not depend on the order of names.
//
// By seed, they are sorted by the SHA-256 of the seed, a slash and the name,
// which anyone can compute again:
//
//	printf %s/%s "$seed" "$name" | sha256sum
//
// By label, they are grouped by the value of the label, sorted, and within a
// group by seed; those without the label are last. As ORDER BY does, this goes
// through one zone after the other, so that what fails is in one zone while the
// others still work; the order by seed is the one that mixes zones. label
// returns the value of the label with the key [Settings.LabelKey], or "". It is
// only called for an order by label.
func (s Settings) Order(names []string, label func(name string) string) []string {
	_, byLabel := s.LabelKey()
	type place struct {
		name, label string
		hash        [sha256.Size]byte
	}
	places := make([]place, len(names))
	for i, name := range names {
		places[i].name = name
		if byLabel {
			places[i].label = label(name)
		}
		if s.OrderBy != OrderName {
			places[i].hash = sha256.Sum256([]byte(s.Seed + "/" + name))
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		if (a.label == "") != (b.label == "") {
			return -cmp.Compare(a.label, b.label)
		}
		return cmp.Or(
			cmp.Compare(a.label, b.label),
			bytes.Compare(a.hash[:], b.hash[:]),
			cmp.Compare(a.name, b.name),
		)
	})
	ordered := make([]string, len(places))
	for i, p := range places {
		ordered[i] = p.name
	}
	return slices.Compact(ordered)
}
