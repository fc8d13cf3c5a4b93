package wire

import (
	"unicode/utf8"
)

// scanTask decodes a message in the form in which tasker writes it, in one pass
// and without reflection: the version comes first, names and short texts have no
// escapes, and no field is unknown or there twice. ok is false for everything
// else, valid or not; what scanTask accepts, [parseTask] reads the same.
func scanTask(body []byte) (t Task, ok bool) {
	if !utf8.Valid(body) {
		return t, false
	}
	s := scanner{text: body}
	if !s.take('{') || !s.version(&t.Version) {
		return t, false
	}
	var seen uint
	for s.take(',') {
		name, ok := s.plain()
		if !ok || !s.take(':') {
			return t, false
		}
		bit, ok := s.field(&t, string(name))
		if !ok || seen&bit != 0 {
			return t, false
		}
		seen |= bit
	}
	if !s.take('}') {
		return t, false
	}
	s.space()
	return t, s.at == len(s.text)
}

// version reads the first member.
func (s *scanner) version(into *int) bool {
	name, ok := s.plain()
	if !ok || string(name) != "v" || !s.take(':') {
		return false
	}
	n, ok := s.integer()
	*into = int(n)
	return ok && (n == Version1 || n == Version)
}

// field reads the value of a field, and returns the field's bit.
func (s *scanner) field(t *Task, name string) (bit uint, ok bool) {
	switch name {
	case "task_id":
		t.TaskID, ok = s.integer()
		return 1, ok
	case "identifier":
		return 2, s.string(&t.Identifier)
	case "type":
		return 4, s.string(&t.Type)
	case "payload":
		s.space()
		from := s.at
		ok = s.value(0)
		t.Payload = s.text[from:s.at:s.at]
		return 8, ok
	case "start_time":
		text, ok := s.plain()
		return 16, ok && t.StartTime.UnmarshalText(text) == nil
	}
	if t.Version == Version1 {
		return 0, false
	}
	switch name {
	case "payload_size":
		t.PayloadSize, ok = s.integer()
		return 32, ok
	case "payload_sha256":
		return 64, s.string(&t.PayloadSHA256)
	}
	return 0, false // the reserved ones as well: nobody writes them yet
}

// scanner reads JSON. Its methods skip white space and return false at what they
// do not read.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next returns the next character, or 0 at the end.
func (s *scanner) next() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// take reads one character.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// plain reads a string without escapes.
func (s *scanner) plain() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	from := s.at
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[from : s.at-1], true
		case c == '\\' || c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// string reads a string without escapes.
func (s *scanner) string(into *string) bool {
	text, ok := s.plain()
	*into = string(text)
	return ok
}

// maxDigits is how many digits always fit into 64 bits.
const maxDigits = 18

// integer reads a whole number of few digits that is not negative.
func (s *scanner) integer() (n int64, ok bool) {
	s.space()
	from := s.at
	for ; isDigit(s.next()); s.at++ {
		n = 10*n + int64(s.next()-'0')
		if s.at-from == maxDigits {
			return 0, false
		}
	}
	switch digits := s.text[from:s.at]; {
	case len(digits) == 0, digits[0] == '0' && len(digits) > 1:
		return 0, false
	}
	c := s.next()
	return n, c != '.' && c != 'e' && c != 'E'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// maxScanned is how deep a value may nest to be scanned.
const maxScanned = 128

// value reads any value that is nested no deeper than maxScanned.
func (s *scanner) value(depth int) bool {
	s.space()
	switch c := s.next(); c {
	case '{', '[':
		if depth == maxScanned {
			return false
		}
		s.at++
		return s.elements(c, depth+1)
	case '"':
		return s.escaped()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

// elements reads the rest of an object or array after its first character.
func (s *scanner) elements(open byte, depth int) bool {
	end := open + 2 // in ASCII
	if s.take(end) {
		return true
	}
	for {
		if open == '{' {
			if s.space(); !s.escaped() || !s.take(':') {
				return false
			}
		}
		if !s.value(depth) {
			return false
		}
		if !s.take(',') {
			return s.take(end)
		}
	}
}

// escaped reads a string that may have escapes.
func (s *scanner) escaped() bool {
	if s.next() != '"' {
		return false
	}
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return true
		case c < ' ':
			return false
		case c == '\\':
			s.at++
			if !s.escape() {
				return false
			}
		}
	}
	return false
}

// escape reads what follows a backslash, up to its last character.
func (s *scanner) escape() bool {
	switch s.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			s.at++
			c := s.next() | ' '
			if !isDigit(s.next()) && (c < 'a' || c > 'f') {
				return false
			}
		}
		return true
	}
	return false
}

func (s *scanner) literal(word string) bool {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// number reads any number.
func (s *scanner) number() bool {
	if s.next() == '-' {
		s.at++
	}
	if s.next() == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.next() == '.' {
		if s.at++; !s.digits() {
			return false
		}
	}
	if s.next()|' ' != 'e' {
		return true
	}
	s.at++
	if c := s.next(); c == '+' || c == '-' {
		s.at++
	}
	return s.digits()
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	from := s.at
	for isDigit(s.next()) {
		s.at++
	}
	return s.at > from
}
