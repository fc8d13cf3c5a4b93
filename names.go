package tasker

import (
	"slices"
	"strings"
)

// MaxName is the maximum length, in bytes, of an identifier, a task type and an
// endpoint's name.
const MaxName = 64

// reservedTypes are first path segments and topology names of tasker's own.
var reservedTypes = []string{"v1", "ui", "healthz", "readyz", "metrics", "control", "events", "dead"}

// ReservedEndpoint is the name of the queue shared by all endpoints of a type.
// No endpoint can have it.
const ReservedEndpoint = "any"

// ValidateIdentifier checks a customer's task identifier:
// [A-Za-z0-9][A-Za-z0-9._-]{0,63}.
func ValidateIdentifier(identifier string) error {
	if !validName(identifier, true) {
		return invalidName("identifier", identifier, "digits, '.', '_' or '-'")
	}
	return nil
}

// ValidateTaskType checks the name of a task type. Dots are not allowed, since
// the names of exchanges and queues join type and endpoint with one, and
// neither are reserved names.
func ValidateTaskType(name string) error {
	if !validName(name, false) {
		return invalidName("task type", name, "digits, '_' or '-'")
	}
	if slices.Contains(reservedTypes, name) {
		return Errorf(Invalid, "invalid task type %q: reserved name: choose another", name)
	}
	return nil
}

// ValidateEndpoint checks an endpoint's name, which may be a host name.
func ValidateEndpoint(name string) error {
	if !validName(name, true) {
		return invalidName("endpoint", name, "digits, '.', '_' or '-'")
	}
	if name == ReservedEndpoint {
		return Errorf(Invalid, "invalid endpoint %q: reserved name: choose another", name)
	}
	return nil
}

func invalidName(what, name, others string) error {
	return Errorf(Invalid, "invalid %s %q: must be 1 to %d letters, %s, starting with a letter or digit", what, clip(name), MaxName, others)
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

// clip shortens a long input for an error message.
func clip(s string) string {
	if len(s) <= 2*MaxName {
		return s
	}
	return strings.ToValidUTF8(s[:2*MaxName], "") + "..."
}
