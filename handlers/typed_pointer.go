package handlers

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// pointerAt returns the JSON pointer (RFC 6901), such as /hosts/1, of the value whose
// first token ends at the offset or contains it. encoding/json names members of
// structs only, but has for each error the offset that it had read up to.
func pointerAt(text []byte, offset int64) string {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var at []container
	for {
		token, err := dec.Token()
		if err != nil {
			return ""
		}
		end := token == json.Delim(']') || token == json.Delim('}')
		if end {
			at = at[:len(at)-1]
			continue
		}
		if n := len(at); n > 0 && at[n-1].next(token) {
			continue // the name of a member
		}
		if dec.InputOffset() >= offset {
			return pointer(at)
		}
		if token == json.Delim('[') || token == json.Delim('{') {
			at = append(at, container{object: token == json.Delim('{'), index: -1})
		}
	}
}

// container is an array or object that is being read.
type container struct {
	object bool
	named  bool // name is that of the value that follows
	name   string
	index  int
}

// next reads the next token, and reports whether it is the name of a member.
func (c *container) next(token json.Token) bool {
	if !c.object {
		c.index++
		return false
	}
	if c.named = !c.named; c.named {
		c.name, _ = token.(string)
	}
	return c.named
}

func pointer(at []container) string {
	var b strings.Builder
	for _, c := range at {
		name := c.name
		if !c.object {
			name = strconv.Itoa(c.index)
		}
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}
