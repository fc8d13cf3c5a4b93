package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker/internal/x/jsonx"
)

const (
	// maxDepth bounds how deep arrays and objects are nested.
	maxDepth = 100
	// maxNumber bounds a number's digits, and maxExponent its exponent: numbers
	// are computed exactly, and 1e999999999 would have a billion digits.
	maxNumber   = 1000
	maxExponent = 1000
)

// decode reads one JSON value, with its numbers as written. It returns an
// [*Error] for what two readers could understand differently, a duplicate
// member, and for what would cost too much to check.
func decode(text []byte) (any, error) {
	if !json.Valid(text) {
		return nil, errors.New("invalid JSON")
	}
	if pointer, found := jsonx.Duplicate(text); found {
		return nil, oneError(pointer, "duplicate", "duplicate member")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, err
	}
	if v := outOfBounds(value, 0); v != nil {
		return nil, &Error{Violations: []Violation{*v}}
	}
	return value, nil
}

func oneError(pointer, rule, message string) *Error {
	return &Error{Violations: []Violation{{Pointer: clip(pointer), Rule: rule, Message: message}}}
}

// outOfBounds returns the first part, by its pointer, that is nested too deep or
// a number that is too long.
func outOfBounds(value any, depth int) (first *Violation) {
	keep := func(token string, v *Violation) {
		v.Pointer = pointer([]string{token}) + v.Pointer
		if first == nil || v.Pointer < first.Pointer {
			first = v
		}
	}
	switch value := value.(type) {
	case json.Number:
		if message := numberBounds(string(value)); message != "" {
			return &Violation{Rule: "number", Message: message}
		}
	case map[string]any:
		if depth == maxDepth {
			return tooDeep()
		}
		for name, member := range value {
			if v := outOfBounds(member, depth+1); v != nil {
				keep(name, v)
			}
		}
	case []any:
		if depth == maxDepth {
			return tooDeep()
		}
		for i, item := range value {
			if v := outOfBounds(item, depth+1); v != nil {
				keep(strconv.Itoa(i), v)
			}
		}
	}
	return first
}

func tooDeep() *Violation {
	return &Violation{Rule: "depth", Message: fmt.Sprintf("nested more than %d levels deep", maxDepth)}
}

// numberBounds returns what is wrong with the length of a number.
func numberBounds(text string) string {
	if len(text) > maxNumber {
		return fmt.Sprintf("number of more than %d characters", maxNumber)
	}
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(text[at+1:])
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return fmt.Sprintf("number with an exponent beyond %d", maxExponent)
		}
	}
	return ""
}

// pointer returns the JSON pointer (RFC 6901) of a path.
func pointer(path []string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(escape.Replace(token))
	}
	return b.String()
}
