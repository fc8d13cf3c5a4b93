package rollout

import (
	"strconv"
	"strings"
)

// maxCount bounds the numbers of endpoints in settings.
const maxCount = 1_000_000

// Amount is a number of endpoints, or a percentage of them. Its JSON form is a
// number or a string such as "10%".
type Amount struct {
	Value   int
	Percent bool
}

// String returns a number such as 5 or a percentage such as 10%.
func (a Amount) String() string {
	if a.Percent {
		return strconv.Itoa(a.Value) + "%"
	}
	return strconv.Itoa(a.Value)
}

// MarshalJSON encodes the amount as in settings.
func (a Amount) MarshalJSON() ([]byte, error) {
	if a.Percent {
		return []byte(`"` + a.String() + `"`), nil
	}
	return []byte(a.String()), nil
}

// up returns the amount as a number of n endpoints, a percentage rounded up.
func (a Amount) up(n int) int {
	if a.Percent {
		return (n*a.Value + 99) / 100
	}
	return a.Value
}

// down returns the amount as a number of n endpoints, a percentage rounded down.
func (a Amount) down(n int) int {
	if a.Percent {
		return n * a.Value / 100
	}
	return a.Value
}

// parsePercent returns the percentage that a string such as "10%" has, 1 to 100.
func parsePercent(s string) (percent int, ok bool) {
	digits, ok := strings.CutSuffix(s, "%")
	if !ok || digits == "" || len(digits) > 3 || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	percent, err := strconv.Atoi(digits)
	return percent, err == nil && percent <= 100
}
