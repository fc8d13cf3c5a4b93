// Package jsonx looks at JSON texts beyond what encoding/json does.
package jsonx

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Duplicate returns the JSON pointer (RFC 6901) of the first member, at any
// depth, whose object has one of the same name before it. Names are compared as
// readers see them: without escapes, and with each unpaired surrogate as U+FFFD.
// found is false where there is none, and where text is not JSON.
func Duplicate(text []byte) (pointer string, found bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var open []level
	for {
		token, err := dec.Token()
		if err != nil {
			return "", false
		}
		delim, isDelim := token.(json.Delim)
		if isDelim && (delim == '}' || delim == ']') {
			open = open[:len(open)-1]
			continue
		}
		if len(open) > 0 {
			in := &open[len(open)-1]
			name, isName := token.(string)
			switch {
			case in.names == nil:
				in.at++
			case !in.named && isName:
				if in.names[name] {
					in.name = name
					return pointerTo(open), true
				}
				in.names[name], in.name, in.named = true, name, true
				continue
			default:
				in.named = false
			}
		}
		switch {
		case isDelim && delim == '{':
			open = append(open, level{names: map[string]bool{}})
		case isDelim:
			open = append(open, level{at: -1})
		}
	}
}

// level is an object or array that is being read.
type level struct {
	names map[string]bool // of an object; nil of an array
	name  string          // of the current member
	named bool            // the value of that member is next
	at    int             // the index in an array
}

func pointerTo(path []level) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, l := range path {
		b.WriteByte('/')
		if l.names == nil {
			b.WriteString(strconv.Itoa(l.at))
		} else {
			b.WriteString(escape.Replace(l.name))
		}
	}
	return b.String()
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
