package tasker

import (
	"slices"
	"strings"
)

// MaxName is the greatest length, in bytes, of an identifier, a task type and
// an endpoint's name.
const MaxName = 64

// reservedTypes are first path segments and topology names that tasker keeps
// for itself.
var reservedTypes = []string{"v1", "ui", "healthz", "readyz", "metrics", "control", "events", "dead"}

// ReservedEndpoint is the name of the queue that all endpoints of a type
// share, and therefore no endpoint's name.
const ReservedEndpoint = "any"

// ValidateIdentifier checks a customer's task identifier:
// [A-Za-z0-9][A-Za-z0-9._-]{0,63}.
func ValidateIdentifier(identifier string) error {
	if !validName(identifier, true) {
		return Errorf(Invalid, "identifier %q is malformed: it takes 1 to %d letters, digits, '.', '_' or '-', the first a letter or digit", clip(identifier), MaxName)
	}
	return nil
}

// ValidateTaskType checks the name of a task type. It takes no dot, since
// exchanges and queues join type and endpoint with one, and it must not be a
// name that tasker keeps for itself.
func ValidateTaskType(name string) error {
	if !validName(name, false) {
		return Errorf(Invalid, "task type %q is malformed: it takes 1 to %d letters, digits, '_' or '-', the first a letter or digit", clip(name), MaxName)
	}
	if slices.Contains(reservedTypes, name) {
		return Errorf(Invalid, "task type %q is a name that tasker keeps for itself: choose another", name)
	}
	return nil
}

// ValidateEndpoint checks an endpoint's name, which may be a host name.
func ValidateEndpoint(name string) error {
	if !validName(name, true) {
		return Errorf(Invalid, "endpoint %q is malformed: it takes 1 to %d letters, digits, '.', '_' or '-', the first a letter or digit", clip(name), MaxName)
	}
	if name == ReservedEndpoint {
		return Errorf(Invalid, "endpoint %q is a name that tasker keeps for itself: choose another", name)
	}
	return nil
}

func validName(s string, dots bool) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '_' || c == '-' || dots && c == '.'):
		default:
			return false
		}
	}
	return true
}

// clip keeps an error message short when the input is not.
func clip(s string) string {
	if len(s) <= 2*MaxName {
		return s
	}
	return strings.ToValidUTF8(s[:2*MaxName], "") + "..."
}
