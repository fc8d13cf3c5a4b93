// Package nodeset writes many names in few words: web01, web02 and web03 as
// web[01-03].
//
// A set is a list of items, separated by commas. An item is a name in which
// brackets hold alternatives for a number: single ones, and ranges of two
// numbers and all between them. An item with several brackets stands for all
// combinations. Leading zeros count: [08-10] is 08, 09 and 10. An item in double
// quotes is a Go string, and stands for itself.
package nodeset

import (
	"slices"
	"strconv"
	"strings"
)

// Fold returns the items of the set of the names, sorted. Each name is in one of
// them: joined with commas, they are what [Unfold] turns into the names again. A
// name that is like no other is an item as it is.
func Fold(names []string) []string {
	var items []string
	alike := make(map[string][][]string) // names split by split, by all but their numbers
	for _, name := range unique(names) {
		if !plain(name) {
			items = append(items, strconv.Quote(name))
			continue
		}
		parts := split(name)
		key := keyOf(parts, func(i int) bool { return i%2 == 1 })
		alike[key] = append(alike[key], parts)
	}
	for _, group := range alike {
		// The last number first: it is the one that counts up fastest, and what it
		// folds to has to be the same for names to be folded by the next.
		for axis := len(group[0]) - 2; axis > 0 && len(group) > 1; axis -= 2 {
			group = foldAxis(group, axis)
		}
		for _, parts := range group {
			items = append(items, item(parts))
		}
	}
	slices.Sort(items)
	return items
}

// plain reports whether a name stands for itself in a set.
func plain(name string) bool {
	for i := range len(name) {
		if !isPlain(name[i]) {
			return false
		}
	}
	return name != ""
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '.' || c == '_' || c == '-'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// split splits a name before and after each number, so that the parts with an odd
// index are the numbers. There is one more of the others, of which the first and
// the last may be empty.
func split(name string) []string {
	parts := make([]string, 0, 3)
	start := 0
	for i := range len(name) {
		if isDigit(name[i]) != (len(parts)%2 == 1) {
			parts = append(parts, name[start:i])
			start = i
		}
	}
	parts = append(parts, name[start:])
	if len(parts)%2 == 0 {
		parts = append(parts, "")
	}
	return parts
}

// keyOf joins the parts that are not left out.
func keyOf(parts []string, without func(i int) bool) string {
	var b strings.Builder
	for i, part := range parts {
		if !without(i) {
			b.WriteString(part)
		}
		b.WriteByte(';') // is in no part
	}
	return b.String()
}

// foldAxis joins those that differ in the part at axis only. Until then this part
// is a single number in all of them.
func foldAxis(group [][]string, axis int) [][]string {
	var folded [][]string
	at := make(map[string]int, len(group)) // index in folded
	numbers := make([][]string, 0, len(group))
	for _, parts := range group {
		key := keyOf(parts, func(i int) bool { return i == axis })
		i, ok := at[key]
		if !ok {
			i = len(folded)
			at[key] = i
			folded, numbers = append(folded, parts), append(numbers, nil)
		}
		numbers[i] = append(numbers[i], parts[axis])
	}
	for i, parts := range folded {
		parts[axis] = ranges(numbers[i])
	}
	return folded
}

// ranges writes different numbers as a list of ranges, such as "01-03,10".
func ranges(numbers []string) string {
	slices.SortFunc(numbers, compare)
	var b strings.Builder
	for start := 0; start < len(numbers); {
		end := start + 1
		for end < len(numbers) && numbers[end] == next(numbers[end-1]) {
			end++
		}
		if start > 0 {
			b.WriteByte(',')
		}
		b.WriteString(numbers[start])
		if end-start > 1 {
			b.WriteByte('-')
			b.WriteString(numbers[end-1])
		}
		start = end
	}
	return b.String()
}

// compare orders numbers as written: shorter ones first, so that 10 follows 9, and
// leading zeros count.
func compare(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// next returns the number after n, with its leading zeros: 08, 09, 10; 98, 99, 100.
func next(n string) string {
	digits := []byte(n)
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] != '9' {
			digits[i]++
			return string(digits)
		}
		digits[i] = '0'
	}
	return "1" + string(digits)
}

func item(parts []string) string {
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 && strings.ContainsAny(part, "-,") {
			part = "[" + part + "]"
		}
		b.WriteString(part)
	}
	return b.String()
}

// unique returns the names sorted, each once.
func unique(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
