package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxDepth bounds how deep arrays and objects are nested.
	maxDepth = 100
	// maxNumber bounds a number's digits, and maxExponent its exponent: numbers
	// are computed exactly, and 1e999999999 would have a billion digits.
	maxNumber   = 1000
	maxExponent = 1000
)

// decode reads exactly one JSON value, with its numbers as they are written.
// It refuses what two readers could understand differently (a member that is
// there twice), and what would cost too much to look at; those errors are
// [*Error]s.
func decode(text []byte) (any, error) {
	if !json.Valid(text) {
		return nil, errors.New("it is not JSON")
	}
	d := decoder{Decoder: json.NewDecoder(bytes.NewReader(text))}
	d.UseNumber()
	value, err := d.value()
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows the JSON value")
	}
	return value, nil
}

type decoder struct {
	*json.Decoder
	path []string
}

// value reads the next value. The text is valid JSON: an error of the decoder
// cannot be.
func (d *decoder) value() (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Number:
		return token, d.number(string(token))
	case json.Delim:
		if len(d.path) >= maxDepth {
			return nil, d.refuse("depth", "nested more than %d levels deep", maxDepth)
		}
		if token == '[' {
			return d.array()
		}
		return d.object()
	}
	return token, nil
}

func (d *decoder) array() (any, error) {
	values := []any{}
	for d.More() {
		d.path = append(d.path, strconv.Itoa(len(values)))
		value, err := d.value()
		if err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
		values = append(values, value)
	}
	_, err := d.Token()
	return values, err
}

func (d *decoder) object() (any, error) {
	members := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		d.path = append(d.path, name)
		if _, ok := members[name]; ok {
			return nil, d.refuse("duplicate", "the member is there twice")
		}
		if members[name], err = d.value(); err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
	}
	_, err := d.Token()
	return members, err
}

func (d *decoder) number(text string) error {
	if len(text) > maxNumber {
		return d.refuse("number", "a number of more than %d characters", maxNumber)
	}
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(text[at+1:])
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return d.refuse("number", "a number with an exponent beyond %d", maxExponent)
		}
	}
	return nil
}

func (d *decoder) refuse(rule, format string, args ...any) error {
	return &Error{Violations: []Violation{{Pointer: pointer(d.path), Rule: rule, Message: fmt.Sprintf(format, args...)}}}
}

// pointer makes the JSON pointer (RFC 6901) of a path.
func pointer(path []string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(escape.Replace(token))
	}
	return b.String()
}
