package outcome

import (
	"net/netip"
	"strings"
)

// layoutLen returns the length of what s begins with in a layout, or 0. In a layout
// d is a digit, h a hexadecimal one, _ a digit or a space, S what RFC 3339 has
// between a date and a time, M a month and W a day of the week, such as Jan and
// Mon. Anything else stands for itself.
func layoutLen(layout, s string) int {
	n := 0
	for i := range len(layout) {
		size := 1
		if layout[i] == 'M' || layout[i] == 'W' {
			size = 3
		}
		if len(s)-n < size || !fits(layout[i], s[n:n+size]) {
			return 0
		}
		n += size
	}
	return n
}

func fits(layout byte, s string) bool {
	switch layout {
	case 'd':
		return isDigit(s[0])
	case 'h':
		return isHex(s[0])
	case '_':
		return s[0] == ' ' || isDigit(s[0])
	case 'S':
		return s[0] == 'T' || s[0] == 't' || s[0] == ' ' || s[0] == '_'
	case 'M':
		return isOneOf(s, "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec ")
	case 'W':
		return isOneOf(s, "Mon Tue Wed Thu Fri Sat Sun ")
	}
	return layout == s[0]
}

// isOneOf reports whether three bytes are one of the words, which have spaces behind
// them.
func isOneOf(s, words string) bool {
	i := strings.Index(words, s)
	return i >= 0 && i%4 == 0
}

var (
	timesOfDigits = [...]string{
		"dddd-dd-ddSdd:dd:dd", // RFC 3339, and as in databases
		"dddd-dd-ddSdd:dd",
		"dddd/dd/dd dd:dd:dd", // as the package log
		"dd/dd/dddd dd:dd:dd",
		"dd.dd.dddd dd:dd:dd",
		"dd/M/dddd:dd:dd:dd", // as the logs of web servers
		"dd M dddd dd:dd:dd",
		"d M dddd dd:dd:dd",
		"ddddddddTdddddd", // ISO 8601, basic
		"dd:dd:dd",
		"d:dd:dd",
	}
	timesOfLetters = [...]string{
		"W, dd M dddd dd:dd:dd", // HTTP, mail
		"W M _d dd:dd:dd",       // as date(1) and ctime(3)
		"W M d dd:dd:dd",
		"M _d dd:dd:dd", // as syslog
		"M d dd:dd:dd",
	}
)

// timeLen returns the length of the time that s begins with, or 0.
func timeLen(s string) int {
	layouts, letters := timesOfDigits[:], false
	first := digitsLen(s) // digits, which are followed by the same byte in the layout
	if first == 0 {
		layouts, letters, first = timesOfLetters[:], true, len("Jan")
	}
	if first >= len(s) {
		return 0
	}
	for _, layout := range layouts {
		if !letters && (first >= len(layout) || layout[first] != s[first]) {
			continue
		}
		if n := layoutLen(layout, s); n > 0 {
			if n = timeEnd(s, n, letters); n > 0 {
				return n
			}
		}
	}
	return 0
}

// timeEnd returns n and the length of what may follow a time: a fraction, AM or PM,
// zones, a year. It returns 0 if the time does not end there.
func timeEnd(s string, n int, year bool) int {
	end := ended(s, n)
	if len(s) > n && (s[n] == '.' || s[n] == ',') {
		if digits := digitsLen(s[n+1:]); digits > 0 {
			n += 1 + digits
			end = max(end, ended(s, n))
		}
	}
	for range 3 {
		more := zoneLen(s[n:])
		if more == 0 {
			break
		}
		n += more
		end = max(end, ended(s, n))
	}
	if year && end == n {
		end = max(end, ended(s, n+layoutLen(" dddd", s[n:])))
	}
	return end
}

// zoneLen returns the length of the zone, or of AM or PM, that s begins with,
// together with a space before it.
func zoneLen(s string) int {
	space := 0
	if s != "" && s[0] == ' ' {
		space = 1
	}
	s = s[space:]
	for _, zone := range [...]string{"Z", "z", "UTC", "GMT", "CET", "CEST", "AM", "PM"} {
		if strings.HasPrefix(s, zone) && ends(s[len(zone):]) {
			return space + len(zone)
		}
	}
	for _, layout := range [...]string{"+dd:dd", "-dd:dd", "+dddd", "-dddd"} {
		if n := layoutLen(layout, s); n > 0 && s[1] <= '1' && ends(s[n:]) {
			return space + n
		}
	}
	return 0
}

// durationLen returns the length of the duration that s begins with, or 0: 1.234s,
// 1m30s, 350µs, 2.5 seconds. A single number of minutes or hours, as in 5m and 2h,
// is a size as often, and is none.
func durationLen(s string) int {
	n := 0
	for parts := 1; ; parts++ {
		number := digitsLen(s[n:])
		if number == 0 {
			return 0
		}
		n += number
		if n+1 < len(s) && s[n] == '.' && isDigit(s[n+1]) {
			n += 1 + digitsLen(s[n+1:])
		}
		unit := unitLen(s[n:])
		if unit == 0 {
			if parts > 1 {
				return 0
			}
			return wordsDurationLen(s, n)
		}
		if n += unit; ends(s[n:]) && (parts > 1 || s[n-1] == 's') {
			return n
		}
	}
}

// unitLen returns the length of the unit of time that s begins with, as Go has it.
func unitLen(s string) int {
	for _, unit := range [...]string{"ms", "s", "µs", "μs", "us", "ns", "m", "h"} {
		if strings.HasPrefix(s, unit) {
			return len(unit)
		}
	}
	return 0
}

// wordsDurationLen is durationLen for a number of n bytes with a unit behind it
// that is a word of its own, or spelled out.
func wordsDurationLen(s string, n int) int {
	if n < len(s) && s[n] == ' ' {
		n++
	}
	unit := s[n : n+wordLen(s[n:])]
	switch unit {
	case "s", "ms", "us", "ns", "sec", "secs", "second", "seconds", "milliseconds", "microseconds", "nanoseconds",
		"min", "mins", "minute", "minutes", "hour", "hours":
		return ended(s, n+len(unit))
	}
	return 0
}

// addressV4Len returns the length of the IPv4 address that s begins with, or 0.
func addressV4Len(s string) int {
	n := 0
	for part := range 4 {
		if part > 0 {
			if n == len(s) || s[n] != '.' {
				return 0
			}
			n++
		}
		digits := digitsLen(s[n:])
		if digits == 0 || digits > 3 || digits == 3 && s[n:n+3] > "255" {
			return 0
		}
		n += digits
	}
	if !endsNumber(s[n:]) {
		return 0
	}
	return n
}

// maxV6 is the length of the longest IPv6 address, which ends in an IPv4 address.
const maxV6 = len("0000:0000:0000:0000:0000:ffff:255.255.255.255")

// addressV6Len returns the length of the IPv6 address that s begins with, or 0. It
// has a digit: face::add is a name of C++ rather.
func addressV6Len(s string) int {
	n, colons, digits := 0, 0, 0
	for ; n < len(s) && n <= maxV6+1 && (s[n] == ':' || s[n] == '.' || isHex(s[n])); n++ {
		switch {
		case s[n] == ':':
			colons++
		case isDigit(s[n]):
			digits++
		}
	}
	if colons < 2 || digits == 0 || n > maxV6+1 || !ends(s[n:]) {
		return 0
	}
	for _, mark := range [...]string{"", ":", "."} { // of the sentence
		address, ok := strings.CutSuffix(s[:n], mark)
		if !ok {
			continue
		}
		if _, err := netip.ParseAddr(address); err == nil {
			return len(address)
		}
	}
	return 0
}

// minPointer is the number of hexadecimal digits from which 0x… is an address in
// memory. Shorter ones are error codes and flags as often.
const minPointer = 9

// isPointer reports whether a word is an address in memory, such as 0xc000012345.
func isPointer(word string) bool {
	digits, ok := strings.CutPrefix(word, "0x")
	if !ok || len(digits) < minPointer {
		return false
	}
	for i := range len(digits) {
		if !isHex(digits[i]) {
			return false
		}
	}
	return true
}

// isULID reports whether a word is a ULID.
func isULID(word string) bool {
	if len(word) != 26 || word[0] > '7' {
		return false
	}
	for i := range len(word) {
		c := word[i]
		if !isDigit(c) && (c < 'A' || c > 'Z' || c == 'I' || c == 'L' || c == 'O' || c == 'U') {
			return false
		}
	}
	return true
}

// isEphemeral reports whether a number is a port that systems give to clients.
// Those of services say what failed.
func isEphemeral(digits string) bool {
	return len(digits) == 5 && digits >= "32768" && digits <= "65535"
}
