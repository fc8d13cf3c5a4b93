package param

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// maxNumberLength is the length up to which a number reaches the program as
	// the payload spells it.
	maxNumberLength = 64
	// The range of signed and unsigned 64-bit integers.
	minInteger, maxInteger = "-9223372036854775808", "18446744073709551615"
	// maxNumber is the largest float64, which other programs can be expected to
	// read.
	maxNumber = "1.7976931348623157e+308"
)

// integerText returns the digits of a JSON number that is whole, however it is
// spelled: to JSON Schema 1.0 and 1e0 are integers, too.
func integerText(literal string) (string, error) {
	unsigned, negative := strings.CutPrefix(literal, "-")
	mantissa, exponent, _ := strings.Cut(strings.ToLower(unsigned), "e")
	before, after, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(before+after, "0")
	point := len(before) + len(after) - len(digits) // leading zeros
	point = len(before) - point                     // where the point is in digits
	if digits = strings.TrimRight(digits, "0"); digits == "" {
		return "0", nil
	}
	if exponent != "" {
		shift, err := strconv.Atoi(exponent)
		if err != nil || shift > math.MaxInt32 || shift < math.MinInt32 {
			return "", fmt.Errorf("must be a 64-bit integer, got %s", text.Shorten(literal, maxShown))
		}
		point += shift
	}
	if len(digits) > point {
		return "", fmt.Errorf("must be an integer, got %s", text.Shorten(literal, maxShown))
	}
	if point > len(maxInteger) {
		return "", errIntegerRange
	}
	whole := digits + strings.Repeat("0", point-len(digits))
	if negative {
		whole = "-" + whole
	}
	_, errSigned := strconv.ParseInt(whole, 10, 64)
	_, errUnsigned := strconv.ParseUint(whole, 10, 64)
	if errSigned != nil && errUnsigned != nil {
		return "", errIntegerRange
	}
	return whole, nil
}

var errIntegerRange = fmt.Errorf("must be an integer from %s to %s", minInteger, maxInteger)

// numberText returns a JSON number as it is spelled, unless that is very long: then
// it is rounded to a float64.
func numberText(literal string) (string, error) {
	value, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return "", errors.New("must be a number from -" + maxNumber + " to " + maxNumber)
	}
	if value == 0 {
		literal = strings.TrimPrefix(literal, "-")
	}
	if len(literal) > maxNumberLength {
		return strconv.FormatFloat(value, 'g', -1, 64), nil
	}
	return literal, nil
}
