// Package jsonx has what encoding/json lacks.
package jsonx

import (
	"encoding/json"
	"unicode/utf8"
)

// Depth returns how deep the arrays and objects of a JSON value nest. For invalid
// JSON the result is meaningless.
func Depth(value []byte) int {
	var now, deepest int
	inString := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// maxParsed is how deep encoding/json reads.
const maxParsed = 10_000

// Shallow returns a value that is nested more than depth levels deep as a JSON
// string of its text, and reports whether it did so. It returns other values, and
// those that it finds to be invalid JSON, unchanged.
func Shallow(value []byte, depth int) (shallow []byte, was bool) {
	if len(value) <= depth { // each level is a byte at least
		return value, false
	}
	found := Depth(value)
	if found <= depth || !utf8.Valid(value) || found < maxParsed && !json.Valid(value) {
		return value, false
	}
	text, err := json.Marshal(string(value))
	if err != nil { // a string always has a JSON form
		return value, false
	}
	return text, true
}
