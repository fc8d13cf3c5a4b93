package handlers

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// maxNumberLength is how long a number may be to reach the program as the
	// payload has it.
	maxNumberLength = 64
	// The integers that 64 bits hold, with a sign or without one.
	minInteger, maxInteger = "-9223372036854775808", "18446744073709551615"
	// maxNumber is the greatest number that other programs can be expected to
	// know.
	maxNumber = "1.7976931348623157e+308"
)

// integerText returns a JSON number that is whole, however it is written, as its
// digits alone: 1.0 and 1e0 are integers for JSON Schema, too.
func integerText(literal string) (string, error) {
	unsigned, negative := strings.CutPrefix(literal, "-")
	mantissa, exponent, _ := strings.Cut(strings.ToLower(unsigned), "e")
	before, after, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(before+after, "0")
	point := len(before) + len(after) - len(digits) // leading zeros
	point = len(before) - point                     // the place of the point in digits
	if digits = strings.TrimRight(digits, "0"); digits == "" {
		return "0", nil
	}
	if exponent != "" {
		shift, err := strconv.Atoi(exponent)
		if err != nil || shift > math.MaxInt32 || shift < math.MinInt32 {
			return "", fmt.Errorf("it is %s: give a whole number of at most 64 bits", clipped(literal))
		}
		point += shift
	}
	if len(digits) > point {
		return "", fmt.Errorf("it is %s: give a whole number", clipped(literal))
	}
	if point > len(maxInteger) {
		return "", errIntegerRange
	}
	text := digits + strings.Repeat("0", point-len(digits))
	if negative {
		text = "-" + text
	}
	_, errSigned := strconv.ParseInt(text, 10, 64)
	_, errUnsigned := strconv.ParseUint(text, 10, 64)
	if errSigned != nil && errUnsigned != nil {
		return "", errIntegerRange
	}
	return text, nil
}

var errIntegerRange = fmt.Errorf("it does not fit into 64 bits: give a whole number from %s to %s", minInteger, maxInteger)

// numberText returns a JSON number as it is, unless it is very long: then it is
// rounded to what fits into 64 bits.
func numberText(literal string) (string, error) {
	value, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return "", errors.New("it is too great: give a number from -" + maxNumber + " to " + maxNumber)
	}
	if value == 0 {
		literal = strings.TrimPrefix(literal, "-")
	}
	if len(literal) > maxNumberLength {
		return strconv.FormatFloat(value, 'g', -1, 64), nil
	}
	return literal, nil
}
