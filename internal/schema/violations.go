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
	// Pointer is where, a JSON pointer (RFC 6901) into the payload; empty for
	// the payload itself. Of a missing member it is where that should be.
	Pointer string
	// Rule is the schema's keyword, such as "required" or "maximum". Rules that
	// need no schema are "json", "depth", "number" and "duplicate"; "cost" is of
	// a payload for which the schema has too many ways.
	Rule    string
	Message string // what is wrong, for people
}

// Error is all the rules that a payload breaks, in the order of their pointers.
type Error struct {
	Violations []Violation // the first MaxViolations, at least one
	More       int         // those that are not listed
}

// Error names the first violations, in one line.
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

// String gives the violation in one line.
func (v Violation) String() string {
	at := v.Pointer
	if at == "" {
		at = "the whole value"
	}
	return fmt.Sprintf("%s breaks the rule %q: %s", at, v.Rule, v.Message)
}

// plainNumbers is English that writes 1000000, not 1,000,000.
var plainNumbers = language.MustParse("en-US-u-va-posix")

// broken lists what the validator objects to.
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

// collect goes down to what is wrong itself: a group, a reference and an allOf
// say nothing of their own.
func (c *collector) collect(err *jsonschema.ValidationError) {
	path := err.InstanceLocation
	switch k := err.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
	case *kind.Required:
		for _, name := range k.Missing {
			c.add(append(slices.Clone(path), name), "required", "it is missing")
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			c.add(append(slices.Clone(path), name), "dependentRequired", fmt.Sprintf("it is missing, and needed beside %q", k.Prop))
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			c.add(append(slices.Clone(path), name), "additionalProperties", "there is no such member")
		}
	case *kind.AnyOf:
		c.add(path, "anyOf", "it is none of the forms that are allowed")
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			c.add(path, "oneOf", "it is none of the forms that are allowed")
		} else {
			c.add(path, "oneOf", "it is more than one of the forms of which exactly one is allowed")
		}
	case *kind.Not:
		c.add(path, "not", "it is of the form that is not allowed")
	case *kind.FalseSchema:
		c.add(path, "false", "nothing is allowed here")
	case *kind.RefCycle:
		c.add(path, "$ref", "the schema refers to itself for ever")
	default:
		c.addKeyword(path, k)
	}
	for _, cause := range err.Causes {
		c.collect(cause)
	}
}

// addKeyword adds a violation of which the kind itself knows the keyword.
func (c *collector) addKeyword(path []string, k jsonschema.ErrorKind) {
	if c.full() {
		c.more++ // its message would cost time only
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

// clip shortens what repeats a text that somebody sent.
func clip(s string) string {
	return text.Shorten(s, maxMessage)
}
