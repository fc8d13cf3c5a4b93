package outcome

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/jsonx"
)

// maskPayload appends the masked payload of a result to out, which must be empty.
func (m *masker) maskPayload(out []byte, r *tasker.TaskResult) []byte {
	switch {
	case r.Payload == nil && r.PayloadSize > 0:
		return append(strconv.AppendInt(out, r.PayloadSize, 10), " bytes"...)
	case !json.Valid(r.Payload):
		return m.mask(out, string(r.Payload), everything)
	}
	c := canon{masker: m, src: string(r.Payload)}
	return c.value(out, "")
}

// canon writes valid JSON without spaces, with the members of objects in the order
// of their names, and masked. In objects' names only the endpoint's is masked.
type canon struct {
	*masker
	src string
	at  int
}

// next passes over white space and returns the byte behind it.
func (c *canon) next() byte {
	for strings.IndexByte(" \t\r\n", c.src[c.at]) >= 0 {
		c.at++
	}
	return c.src[c.at]
}

// value appends the next value. Numbers are masked as with, unless it is empty.
func (c *canon) value(out []byte, with string) []byte {
	switch c.next() {
	case '{':
		return c.object(out)
	case '[':
		return c.array(out, with)
	case '"':
		s := c.string()
		if with != "" && isNumber(s) {
			return appendString(out, []byte(with))
		}
		c.text = c.mask(c.text[:0], s, everything)
		return appendString(out, c.text)
	}
	start := c.at
	for c.at < len(c.src) && strings.IndexByte(",]} \t\r\n", c.src[c.at]) < 0 {
		c.at++
	}
	literal := c.src[start:c.at]
	if with != "" && isNumber(literal) {
		return appendString(out, []byte(with))
	}
	return append(out, literal...)
}

func (c *canon) array(out []byte, with string) []byte {
	c.at++
	out = append(out, '[')
	for c.next() != ']' {
		out = c.value(out, with)
		if c.next() == ',' {
			c.at++
			out = append(out, ',')
		}
	}
	c.at++
	return append(out, ']')
}

// member is a member of an object, and where it is in the output.
type member struct {
	name       string
	start, end int
}

func (c *canon) object(out []byte) []byte {
	c.at++
	out = append(out, '{')
	first := len(out)
	members := make([]member, 0, 8)
	for c.next() != '}' {
		m := member{name: c.string(), start: len(out)}
		c.text = c.mask(c.text[:0], m.name, nameOnly)
		if m.name != string(c.text) {
			m.name = string(c.text)
		}
		out = append(appendString(out, c.text), ':')
		c.next()
		c.at++ // the colon
		out = c.value(out, numbersOf(m.name))
		m.end = len(out)
		members = append(members, m)
		if c.next() == ',' {
			c.at++
			out = append(out, ',')
		}
	}
	c.at++
	return append(inOrder(out, first, members), '}')
}

// inOrder sorts the members that are in out from first on.
func inOrder(out []byte, first int, members []member) []byte {
	byName := func(at []byte) func(a, b member) int {
		return func(a, b member) int {
			return cmp.Or(strings.Compare(a.name, b.name), slices.Compare(at[a.start:a.end], at[b.start:b.end]))
		}
	}
	if slices.IsSortedFunc(members, byName(out)) {
		return out
	}
	slices.SortFunc(members, byName(out))
	written := slices.Clone(out[first:])
	out = out[:first]
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, written[m.start-first:m.end-first]...)
	}
	return out
}

// string returns the next string, decoded.
func (c *canon) string() string {
	start := c.at
	for c.at++; c.src[c.at] != '"'; c.at++ {
		if c.src[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
	s := c.src[start+1 : c.at-1]
	if strings.IndexByte(s, '\\') >= 0 {
		var decoded string
		if err := json.Unmarshal([]byte(c.src[start:c.at]), &decoded); err == nil { // it is valid
			s = decoded
		}
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}

// appendString appends a JSON string.
func appendString(out, s []byte) []byte {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' {
			return append(out, jsonx.MustEncode(string(s))...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}

func isNumber(s string) bool {
	return s != "" && (isDigit(s[0]) || s[0] == '-') && strings.Trim(s, "0123456789.+-eE") == ""
}

// numbersOf returns the placeholder for the numbers under a member's name, or an
// empty one if they are kept: its last word says what they are, such as time in
// startTime and start_time, also before a unit, as in time_ms.
func numbersOf(name string) string {
	word, before := lastWord(name)
	switch strings.ToLower(word) {
	case "ms", "sec", "secs", "seconds", "msec", "millis", "milliseconds", "usec", "micros", "microseconds", "nsec", "nanos", "nanoseconds":
		if before == "" {
			return forDuration
		}
		word, _ = lastWord(before)
	case "s", "us", "ns": // alone they may be anything
		word, _ = lastWord(before)
	case "id":
		if word, _ = lastWord(before); strings.EqualFold(word, "process") {
			return forPID
		}
		return ""
	}
	switch strings.ToLower(word) {
	case "pid", "ppid", "pids", "tid":
		return forPID
	case "time", "timestamp", "ts", "date", "epoch", "at", "mtime", "ctime", "atime":
		return forTime
	case "duration", "elapsed", "uptime", "took", "latency", "runtime":
		return forDuration
	}
	return ""
}

// lastWord returns the last word of a name in snake_case, kebab-case or camelCase,
// and what is before it.
func lastWord(name string) (word, before string) {
	start := len(name)
	for start > 0 && isUpper(name[start-1]) {
		start--
	}
	if start == len(name) {
		for start > 0 && isWord(name[start-1]) && name[start-1] != '_' && !isUpper(name[start-1]) {
			start--
		}
		if start > 0 && start < len(name) && isUpper(name[start-1]) {
			start--
		}
	}
	return name[start:], strings.TrimRight(name[:start], "_-. ")
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
