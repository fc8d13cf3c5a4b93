package outcome

import "strings"

// The placeholders.
const (
	forEndpoint = "<endpoint>"
	forTime     = "<time>"
	forDuration = "<duration>"
	forPID      = "<pid>"
	forAddress  = "<address>"
	forPort     = "<port>"
	forID       = "<id>"
)

var placeholders = [...]string{forEndpoint, forTime, forDuration, forPID, forAddress, forPort, forID}

// placeholder returns the length of the placeholder that s begins with, or 0.
func placeholder(s string) int {
	if s != "" && s[0] == '<' {
		for _, p := range &placeholders {
			if strings.HasPrefix(s, p) {
				return len(p)
			}
		}
	}
	return 0
}

// scope is what is masked.
type scope bool

const (
	everything scope = true
	nameOnly   scope = false
)

// mask appends the masked text to out, which must hold nothing else: the text with
// placeholders in place of the endpoint's own name, times, durations, process ids,
// addresses and generated ids. Masking its result again changes nothing. It takes
// time linear in the length of the text.
//
// It passes over the text once, and tries the patterns where words begin. Masking
// twice is the same as once for two reasons: what is left of a place is taken from
// the output, where it does not change any more, and no pattern ends where a
// placeholder begins. So a pattern that did not match the text does not match the
// output either.
func (m *masker) mask(out []byte, s string, scope scope) []byte {
	done := 0 // bytes of s that are in out
	for i := 0; i < len(s); {
		if n := skip(s[i:]); n > 0 {
			i += n
			continue
		}
		n, with := 0, ""
		if m.mayMatch(s[i:], scope) {
			out = append(out, s[done:i]...)
			done = i
			n, with = m.match(out, s[i:], scope)
		}
		if n == 0 {
			i += max(1, wordLen(s[i:]))
			continue
		}
		out = append(out, with...)
		i += n
		done = i
	}
	return append(out, s[done:]...)
}

// skip returns how many bytes at the beginning of s cannot be masked: placeholders,
// and what is between words. A colon may begin an IPv6 address.
func skip(s string) int {
	n := 0
	for n < len(s) && !isWord(s[n]) && s[n] != ':' {
		n += max(1, placeholder(s[n:]))
	}
	return n
}

// mayMatch reports whether match is worth a call: it is true for all that matches.
func (m *masker) mayMatch(s string, scope scope) bool {
	c := s[0]
	switch {
	case m.endpoint != "" && c == m.endpoint[0]:
		return true
	case scope == nameOnly:
		return false
	case c == ':':
		return strings.HasPrefix(s, "::")
	case 'A' <= c && c <= 'Z' && len(s) > 3 && (s[3] == ' ' || s[3] == ','): // Jan, Mon
		return true
	}
	return isDigit(c) || joinsHex(s)
}

// joinsHex reports whether s begins with hexadecimal digits as they are in IPv6 and
// MAC addresses and UUIDs.
func joinsHex(s string) bool {
	n := 0
	for n < len(s) && n < 8 && isHex(s[n]) {
		n++
	}
	return n < len(s) && (s[n] == ':' || s[n] == '-')
}

// match returns the length of what is to be masked at the beginning of s, where a
// word begins, or a colon is, and its placeholder. out is what is left of it.
func (m *masker) match(out []byte, s string, scope scope) (n int, with string) {
	if m.endpoint != "" && strings.HasPrefix(s, m.endpoint) && ends(s[len(m.endpoint):]) {
		return len(m.endpoint), forEndpoint
	}
	switch {
	case scope == nameOnly:
		return 0, ""
	case endsIn(out, ".") && endsInWord(out[:len(out)-1]): // such as 2.3 in 1.2.3
		return 0, ""
	case s[0] == ':' && (endsIn(out, ":") || endsInWord(out)): // such as std::string
		return 0, ""
	}
	if joinsHex(s) {
		if n := addressV6Len(s); n > 0 {
			return n, forAddress
		}
		if n := ended(s, max(layoutLen("hh:hh:hh:hh:hh:hh", s), layoutLen("hh-hh-hh-hh-hh-hh", s))); n > 0 {
			return n, forAddress
		}
		if n := ended(s, layoutLen("hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh", s)); n > 0 {
			return n, forID
		}
	}
	if n := timeLen(s); n > 0 {
		return n, forTime
	}
	if isDigit(s[0]) {
		return matchNumber(out, s)
	}
	return 0, ""
}

// matchNumber is match for what begins with a digit and is not a time.
func matchNumber(out []byte, s string) (n int, with string) {
	if n := addressV4Len(s); n > 0 {
		return n, forAddress
	}
	if n := durationLen(s); n > 0 {
		return n, forDuration
	}
	word := s[:wordLen(s)]
	if isPointer(word) {
		return len(word), forAddress
	}
	if isULID(word) {
		return len(word), forID
	}
	if digitsLen(word) < len(word) || !endsNumber(s[len(word):]) {
		return 0, ""
	}
	if followsPID(out) || followsBracket(out) && strings.HasPrefix(s[len(word):], "]:") {
		return len(word), forPID
	}
	if isEphemeral(word) && (endsIn(out, forAddress+":") || endsIn(out, forAddress+"]:")) {
		return len(word), forPort
	}
	return 0, ""
}

// followsPID reports whether the next number is a process id, since "pid" is
// before it, as in "pid=", "PID: " and `"pid":`, or "process ".
func followsPID(out []byte) bool {
	i := len(out)
	for i > 0 && len(out)-i < 3 && strings.IndexByte(" :=#\"'", out[i-1]) >= 0 {
		i--
	}
	between := len(out) - i
	start := i
	for start > 0 && i-start < 8 && isWord(out[start-1]) {
		start--
	}
	switch strings.ToLower(string(out[start:i])) {
	case "pid", "ppid":
		return between > 0
	case "process":
		return between == 1 && endsIn(out, " ")
	}
	return false
}

// followsBracket reports whether the next number is in brackets after a word, as
// the process id in "sshd[812]:".
func followsBracket(out []byte) bool {
	return endsIn(out, "[") && (endsInWord(out[:len(out)-1]) || endsIn(out[:len(out)-1], ">"))
}

// ends reports whether a pattern may end before s.
func ends(s string) bool { return s == "" || !isWord(s[0]) && placeholder(s) == 0 }

// endsNumber is ends for numbers, which do not end before a decimal point or a part
// of a version.
func endsNumber(s string) bool {
	return ends(s) && (len(s) < 2 || s[0] != '.' || !isDigit(s[1]) && placeholder(s[1:]) == 0)
}

// ended returns n if a pattern may end after n bytes of s, or else 0.
func ended(s string, n int) int {
	if n == 0 || !ends(s[n:]) {
		return 0
	}
	return n
}

func endsIn(out []byte, suffix string) bool {
	return len(out) >= len(suffix) && string(out[len(out)-len(suffix):]) == suffix
}

func endsInWord(out []byte) bool { return len(out) > 0 && isWord(out[len(out)-1]) }

// wordLen returns how many bytes of s belong to its first word.
func wordLen(s string) int {
	n := 0
	for n < len(s) && isWord(s[n]) {
		n++
	}
	return n
}

// digitsLen returns how many digits s begins with.
func digitsLen(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// classes has a bit for each class that a byte is in.
var classes = func() (classes [256]byte) {
	for c := range classes {
		switch c := byte(c); {
		case '0' <= c && c <= '9':
			classes[c] = wordClass | hexClass | digitClass
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			classes[c] = wordClass | hexClass
		case 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_':
			classes[c] = wordClass
		}
	}
	return classes
}()

const (
	wordClass = 1 << iota
	hexClass
	digitClass
)

// isWord reports whether c belongs to a word. Characters beyond ASCII do not: among
// them are the quotation marks that programs put around names.
func isWord(c byte) bool { return classes[c]&wordClass != 0 }

func isHex(c byte) bool { return classes[c]&hexClass != 0 }

func isDigit(c byte) bool { return classes[c]&digitClass != 0 }
