package jsonx

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Duplicate returns the JSON pointer (RFC 6901) of the first member, at any
// depth, whose object has one of the same name before it. Names are compared
// without escapes, with U+FFFD for each unpaired surrogate and each byte that is
// not UTF-8. Text that is not JSON has no duplicates.
func Duplicate(text []byte) (pointer string, found bool) {
	if !json.Valid(text) {
		return "", false
	}
	var d duplicates
	nameNext := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '{', '[':
			d.open = append(d.open, level{object: c == '{', first: len(d.names)})
			nameNext = c == '{'
		case '}', ']':
			d.names, d.open = d.names[:d.top().first], d.open[:len(d.open)-1]
			nameNext = false
		case ',':
			nameNext = d.top().object
			d.top().index++
		case '"':
			end := stringEnd(text, i+1)
			if nameNext && d.add(plainName(text[i:end])) {
				return d.pointer(), true
			}
			nameNext = false
			i = end - 1
		}
	}
	return "", false
}

// duplicates looks for duplicate names while a text is scanned.
type duplicates struct {
	open  []level
	names [][]byte // of the members so far of all open objects
}

// level is an open object or array.
type level struct {
	object bool
	first  int             // where its names begin
	index  int             // of the current element
	seen   map[string]bool // its names, if they are many
}

// few is how many names are compared one by one.
const few = 16

func (d *duplicates) top() *level { return &d.open[len(d.open)-1] }

// add adds a name to the innermost object, and reports whether it had it.
func (d *duplicates) add(name []byte) (twice bool) {
	top := d.top()
	before := d.names[top.first:]
	switch {
	case len(before) < few:
		twice = slices.ContainsFunc(before, func(b []byte) bool { return bytes.Equal(b, name) })
	case top.seen == nil:
		top.seen = make(map[string]bool, 2*few)
		for _, b := range before {
			top.seen[string(b)] = true
		}
		fallthrough
	default:
		twice = top.seen[string(name)]
		top.seen[string(name)] = true
	}
	d.names = append(d.names, name)
	return twice
}

// pointer returns the pointer of the current member.
func (d *duplicates) pointer() string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for i, l := range d.open {
		end := len(d.names)
		if i+1 < len(d.open) {
			end = d.open[i+1].first
		}
		b.WriteByte('/')
		if l.object {
			b.WriteString(escape.Replace(string(d.names[end-1])))
		} else {
			b.WriteString(strconv.Itoa(l.index))
		}
	}
	return b.String()
}

// stringEnd returns the end of the string whose content begins at start.
func stringEnd(text []byte, start int) int {
	for i := start; ; i++ {
		i += bytes.IndexByte(text[i:], '"')
		escape := i
		for text[escape-1] == '\\' {
			escape--
		}
		if (i-escape)%2 == 0 {
			return i + 1
		}
	}
}

// plainName returns the name that a JSON string is.
func plainName(quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') < 0 && utf8.Valid(name) {
		return name
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return name // cannot be: it is valid JSON
	}
	return []byte(s)
}

// HasUnpairedSurrogate reports whether a valid JSON text has the escape of half
// a surrogate pair, such as \ud800 alone. Such an escape stands for no
// character, and decoding replaces all of them by the same one.
func HasUnpairedSurrogate(text []byte) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // what is escaped
		if text[i] != 'u' {
			continue
		}
		switch first := unit(text[i+1:]); {
		case first >= 0xD800 && first < 0xDC00:
			rest := text[min(len(text), i+5):]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return true
			}
			if second := unit(rest[2:]); second < 0xDC00 || second > 0xDFFF {
				return true
			}
			i += 10
		case first >= 0xDC00 && first <= 0xDFFF:
			return true
		}
	}
	return false
}

// unit reads four hexadecimal digits.
func unit(text []byte) uint64 {
	if len(text) < 4 {
		return 0
	}
	n, err := strconv.ParseUint(string(text[:4]), 16, 32)
	if err != nil {
		return 0
	}
	return n
}
