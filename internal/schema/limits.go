package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxPlain bounds the length of a number that is written without an exponent.
const maxPlain = 40

// limit returns the message of a violation that names numbers or values of the
// schema, and reports whether k is one. The validator's own messages round numbers
// to float64, and omit arrays and objects.
func limit(k jsonschema.ErrorKind) (string, bool) {
	switch k := k.(type) {
	case *kind.Minimum:
		return gotWant(k.Got, k.Want), true
	case *kind.Maximum:
		return gotWant(k.Got, k.Want), true
	case *kind.ExclusiveMinimum:
		return gotWant(k.Got, k.Want), true
	case *kind.ExclusiveMaximum:
		return gotWant(k.Got, k.Want), true
	case *kind.MultipleOf:
		return gotWant(k.Got, k.Want), true
	case *kind.Const:
		return "value must be " + toJSON(k.Want), true
	case *kind.Enum:
		if len(k.Want) == 1 {
			return "value must be " + toJSON(k.Want[0]), true
		}
		return "value must be one of " + listJSON(k.Want), true
	}
	return "", false
}

func gotWant(got, want *big.Rat) string {
	return fmt.Sprintf("got %s, want %s", decimal(got), decimal(want))
}

// decimal writes a number of JSON exactly; a long one with an exponent in place
// of its zeros.
func decimal(r *big.Rat) string {
	digits, _ := r.FloatPrec() // exact, as JSON's numbers are decimal
	plain := r.FloatString(digits)
	if len(plain) <= maxPlain {
		return plain
	}
	if digits == 0 {
		short := strings.TrimRight(plain, "0")
		if zeros := len(plain) - len(short); zeros > 0 {
			return short + "e" + strconv.Itoa(zeros)
		}
		return plain
	}
	sign := ""
	if r.Sign() < 0 {
		sign, plain = "-", plain[1:]
	}
	if !strings.HasPrefix(plain, "0.") {
		return sign + plain
	}
	return sign + strings.TrimLeft(plain[2:], "0") + "e-" + strconv.Itoa(digits)
}

// listJSON writes values, as many as a message may show.
func listJSON(values []any) string {
	var b strings.Builder
	for i, value := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(toJSON(value))
		if b.Len() > maxMessage {
			break
		}
	}
	return b.String()
}

// toJSON writes a decoded value, with its numbers as they were written.
func toJSON(value any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "another value" // unreachable: it was JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}
