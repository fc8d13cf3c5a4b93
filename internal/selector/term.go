package selector

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The operators, as they are written. "=" and "!=" become lists of one value.
const (
	opEqual    = "="
	opNotEqual = "!="
	opLike     = "~"
	opUnlike   = "!~"
	opIn       = "in"
	opNotIn    = "notin"
	opLess     = "<"
	opMore     = ">"
	opHas      = ""
	opLacks    = "!"
)

var textOperators = []string{opEqual, opNotEqual, opLike, opUnlike, opIn, opNotIn}

// operators returns what can be asked of a key, and whether it can stand alone.
func operators(key string) (ops []string, alone bool) {
	switch key {
	case keyName, keyType, keyVersion:
		return textOperators, false
	case keySeen:
		return []string{opLess, opMore}, false
	case keyDrained:
		return []string{opEqual}, true
	}
	return textOperators, true
}

// term is one condition.
type term struct {
	column int // of its key
	key    string
	op     string
	values []string      // of opIn and opNotIn, sorted
	glob   glob          // of opLike and opUnlike
	age    time.Duration // of opLess and opMore
	text   string        // canonical
}

// match reports whether the endpoint fulfils the term, and whether it does so
// only since it has no value to compare.
func (t *term) match(e *Endpoint, now time.Time) (matched, lacks bool) {
	switch t.key {
	case keySeen:
		silent := now.Sub(e.LastSeen) // if it was never seen, the longest duration
		return t.op == opLess && silent < t.age || t.op == opMore && silent > t.age, false
	case keyDrained:
		return e.Drained == (t.op == opHas), false
	}
	var room [1]string
	values := e.values(t.key, room[:0])
	switch t.op {
	case opHas:
		return len(values) > 0, false
	case opLacks:
		return len(values) == 0, false
	}
	hit := slices.ContainsFunc(values, t.hit)
	if t.op == opIn || t.op == opLike {
		return hit, false
	}
	return !hit, len(values) == 0
}

// hit reports whether a value is in the list, or is like the pattern.
func (t *term) hit(value string) bool {
	if t.op == opLike || t.op == opUnlike {
		return t.glob.match(value)
	}
	_, found := slices.BinarySearch(t.values, value)
	return found
}

// write returns the canonical text of the term.
func (t *term) write() string {
	switch {
	case t.key == keyDrained:
		return keyDrained + "=" + strconv.FormatBool(t.op == opHas)
	case t.op == opHas:
		return t.key
	case t.op == opLacks:
		return "!" + t.key
	case t.op == opLess || t.op == opMore:
		return t.key + t.op + writeAge(t.age)
	case t.op == opLike || t.op == opUnlike:
		return t.key + t.op + quote(t.glob.text, true)
	}
	values := make([]string, len(t.values))
	for i, v := range t.values {
		values[i] = quote(v, false)
	}
	switch {
	case len(values) > 1:
		return t.key + " " + t.op + " (" + strings.Join(values, ",") + ")"
	case t.op == opIn:
		return t.key + opEqual + values[0]
	}
	return t.key + opNotEqual + values[0]
}

// quote returns a value or pattern as a selector has it: in quotes if need be.
func quote(s string, pattern bool) string {
	bare, before := s != "", rune(0)
	for _, r := range s {
		bare = bare && isBare(r, before, pattern)
		before = r
	}
	if bare {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// isBare reports whether a character may stand after another one without
// quotes, in a value or in a pattern. "^" may, for the error that names "!".
func isBare(r, before rune, pattern bool) bool {
	switch {
	case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsDigit(r), strings.ContainsRune("._/-:@+%", r):
		return true
	case !pattern:
		return false
	}
	return strings.ContainsRune("*?[]", r) || before == '[' && (r == '!' || r == '^')
}

// maxAge bounds the durations; longer ones are typing errors.
const maxAge = 10 * 365 * day

const day = 24 * time.Hour

var (
	agePattern = regexp.MustCompile(`^(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?$`)
	ageUnits   = []struct {
		name string
		is   time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
)

// readAge reads a duration such as 1h30m.
func readAge(s string) (age time.Duration, problem string) {
	parts := agePattern.FindStringSubmatch(s)
	if parts == nil || s == "" {
		return 0, fmt.Sprintf("invalid duration %q: must be a number with a unit, such as 90s, 5m, 1h30m or 7d", s)
	}
	for i, unit := range ageUnits {
		n, _ := strconv.Atoi(parts[i+1]) // digits, or none
		if time.Duration(n) > maxAge/unit.is {
			n = int(maxAge/unit.is) + 1
		}
		age += time.Duration(n) * unit.is
	}
	if age <= 0 || age > maxAge {
		return 0, fmt.Sprintf("invalid duration %q: must be 1s-%dd", s, maxAge/day)
	}
	return age, ""
}

func writeAge(age time.Duration) string {
	var b strings.Builder
	for _, unit := range ageUnits {
		if n := age / unit.is; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
		}
		age %= unit.is
	}
	return b.String()
}
