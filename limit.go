package tasker

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// Limit bounds how many of the chosen endpoints a task is for: a number, such as
// "10", or a percentage of them, such as "10%". Empty means all of them. In JSON
// a number is a number, and a percentage a string.
type Limit string

var validLimit = regexp.MustCompile(`^([1-9][0-9]{0,5}|([1-9][0-9]?|100)%)$`)

// Valid reports whether the limit is 1-999999 or 1%-100%.
func (l Limit) Valid() bool { return validLimit.MatchString(string(l)) }

// Of returns how many of n endpoints a limit leaves. A percentage is rounded up,
// so that at least one of several is left.
func (l Limit) Of(n int) int {
	digits, percent := strings.CutSuffix(string(l), "%")
	most, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		return n
	case percent:
		most = (n*most + 99) / 100
	}
	return min(n, most)
}

// MarshalJSON encodes a number as a number.
func (l Limit) MarshalJSON() ([]byte, error) {
	if n, err := strconv.Atoi(string(l)); err == nil {
		return json.Marshal(n)
	}
	return json.Marshal(string(l))
}

// UnmarshalJSON decodes a number or a string.
func (l *Limit) UnmarshalJSON(data []byte) error {
	var n json.Number
	if err := json.Unmarshal(data, &n); err == nil {
		*l = Limit(n)
		return nil
	}
	return json.Unmarshal(data, (*string)(l))
}
