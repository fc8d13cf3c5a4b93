package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/taskerhq/tasker/internal/x/text"
)

const (
	// MaxViolations bounds the list of an [Error].
	MaxViolations = 20
	// maxCollected bounds those that are sorted before the list is cut.
	maxCollected = 1000
	// maxMessage bounds a message and a pointer, in bytes: they repeat parts of
	// what was sent.
	maxMessage = 300
)

// Violation is one rule that a payload breaks.
type Violation struct {
	// Pointer is a JSON pointer (RFC 6901) into the payload; empty for the payload
	// itself. That of a missing member leads to where it should be.
	Pointer string
	// Rule is the schema's keyword, such as "required" or "maximum". The rules
	// "json", "depth", "number" and "duplicate" apply without a schema; "cost" is
	// that of a payload which takes too many steps to validate.
	Rule    string
	Message string // for people
}

// Error lists the rules that a payload breaks, by their pointers.
type Error struct {
	Violations []Violation // the first MaxViolations, at least one
	More       int         // how many are not listed
}

// Error returns the first violations in one line.
func (e *Error) Error() string {
	const shown = 3
	var parts []string
	for _, v := range e.Violations[:min(shown, len(e.Violations))] {
		parts = append(parts, v.String())
	}
	text := strings.Join(parts, "; ")
	if more := len(e.Violations) - len(parts) + e.More; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// String returns the violation in one line.
func (v Violation) String() string {
	at := ""
	if v.Pointer != "" {
		at = fmt.Sprintf(" at %q", v.Pointer)
	}
	return fmt.Sprintf("invalid value%s: %s (rule %q)", at, v.Message, v.Rule)
}

// plainNumbers is English that writes 1000000, not 1,000,000.
var plainNumbers = language.MustParse("en-US-u-va-posix")

// broken converts the validator's error.
func broken(err *jsonschema.ValidationError) *Error {
	c := collector{printer: message.NewPrinter(plainNumbers)}
	c.collect(err)
	slices.SortStableFunc(c.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	c.found = slices.Compact(c.found)
	e := &Error{Violations: c.found, More: c.more}
	if over := len(c.found) - MaxViolations; over > 0 {
		e.Violations, e.More = c.found[:MaxViolations], e.More+over
	}
	return e
}

type collector struct {
	printer *message.Printer
	found   []Violation
	more    int
}

// collect descends to the causes: groups, references and allOf have no message
// of their own.
func (c *collector) collect(err *jsonschema.ValidationError) {
	path := err.InstanceLocation
	switch k := err.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
	case *kind.Required:
		for _, name := range k.Missing {
			c.add(append(slices.Clone(path), name), "required", "missing")
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			c.add(append(slices.Clone(path), name), "dependentRequired", fmt.Sprintf("missing, required with %q", k.Prop))
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			c.add(append(slices.Clone(path), name), "additionalProperties", "unknown member")
		}
	case *kind.AnyOf:
		c.add(path, "anyOf", "must match one of the alternatives")
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			c.add(path, "oneOf", "must match one of the alternatives")
		} else {
			c.add(path, "oneOf", "must match exactly one of the alternatives, not several")
		}
	case *kind.Not:
		c.add(path, "not", "must not match the schema under not")
	case *kind.FalseSchema:
		c.add(path, "false", "no value is allowed here")
	case *kind.RefCycle:
		c.add(path, "$ref", "the schema refers to itself endlessly")
	default:
		c.addKeyword(path, k)
	}
	for _, cause := range err.Causes {
		c.collect(cause)
	}
}

// addKeyword adds a violation whose kind names its keyword.
func (c *collector) addKeyword(path []string, k jsonschema.ErrorKind) {
	if c.full() {
		c.more++ // without the cost of its message
		return
	}
	rule := "schema"
	if keywords := k.KeywordPath(); len(keywords) > 0 {
		rule = keywords[0]
	}
	text, ok := limit(k)
	if !ok {
		text = strings.TrimPrefix(k.LocalizedString(c.printer), rule+": ")
	}
	c.add(path, rule, text)
}

func (c *collector) full() bool { return len(c.found) == maxCollected }

func (c *collector) add(path []string, rule, text string) {
	if c.full() {
		c.more++
		return
	}
	c.found = append(c.found, Violation{Pointer: clip(pointer(path)), Rule: rule, Message: clip(text)})
}

// clip shortens what quotes somebody's text.
func clip(s string) string {
	return text.Shorten(s, maxMessage)
}
