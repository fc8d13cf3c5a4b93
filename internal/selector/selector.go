package selector

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/x/near"
)

// Selector is a condition on endpoints: several terms, all of which must match.
// The zero Selector matches no endpoint; only [Parse] makes others. A Selector
// is safe for concurrent use.
type Selector struct {
	terms []term // by text, each once
	all   bool   // see [ErrAll]
	text  string
}

// ErrAll is the error for a selector that obviously chooses every endpoint:
// nothing, "*", or name~* in any form.
var ErrAll = errors.New(`selector is empty or matches every endpoint`)

// Endpoint is what a selector looks at.
type Endpoint struct {
	Name     string
	Labels   map[string]string
	Types    []string  // task types
	Version  string    // of its manager; empty if unknown
	LastSeen time.Time // zero if it was never seen
	Drained  bool
}

// values appends what the endpoint has for a key: one value, none, or several.
func (e *Endpoint) values(key string, to []string) []string {
	switch key {
	case keyName:
		return append(to, e.Name)
	case keyType:
		return e.Types
	case keyVersion:
		if e.Version == "" {
			return to
		}
		return append(to, e.Version)
	}
	if value, ok := e.Labels[key]; ok {
		return append(to, value)
	}
	return to
}

// Match is what a selector says about an endpoint.
type Match struct {
	Matched bool
	// Lacks is empty, or the key of a "!=", "!~" or "notin" that matches only
	// since the endpoint has no such label (or type, or version). If there are
	// several such keys, it is the first in the order of [Selector.String].
	Lacks string
}

// Match reports whether all terms match an endpoint. now is the time by the
// clock that LastSeen is from.
func (s Selector) Match(e Endpoint, now time.Time) Match {
	found := Match{Matched: s.all || len(s.terms) > 0}
	for i := range s.terms {
		matched, lacks := s.terms[i].match(&e, now)
		if !matched {
			return Match{}
		}
		if lacks && found.Lacks == "" {
			found.Lacks = s.terms[i].key
		}
	}
	return found
}

// String returns the canonical text: selectors that differ only in their spaces,
// quotes and order, or in terms and values that are repeated, have the same.
// Parsed again, it is the same selector.
func (s Selector) String() string { return s.text }

// Keys returns the labels and attributes that the selector looks at, sorted.
func (s Selector) Keys() []string {
	keys := make([]string, len(s.terms))
	for i, t := range s.terms {
		keys[i] = t.key
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// newSelector brings terms in their canonical order.
func newSelector(terms []term) Selector {
	always := func(t term) bool { return t.key == keyName && t.op == opLike && t.glob.matchesAny() }
	if !slices.ContainsFunc(terms, func(t term) bool { return !always(t) }) {
		return Selector{all: true, text: "*"}
	}
	for i := range terms {
		terms[i].text = terms[i].write()
	}
	slices.SortStableFunc(terms, func(a, b term) int { return cmp.Compare(a.text, b.text) })
	terms = slices.CompactFunc(terms, func(a, b term) bool { return a.text == b.text })
	texts := make([]string, len(terms))
	for i, t := range terms {
		texts[i] = t.text
	}
	return Selector{terms: terms, text: strings.Join(texts, ",")}
}

// Warning is about a key that is the label of no endpoint. The selector is
// valid, and probably not what was meant.
type Warning struct {
	Column  int // of the key, 1-based, in characters
	Key     string
	Nearest string // label or attribute that may have been meant; may be empty
	named   bool   // the term is the key alone
}

// String returns the warning for people, without the column.
func (w Warning) String() string {
	switch {
	case w.Nearest != "":
		return fmt.Sprintf("unknown key %q: did you mean %q?", w.Key, w.Nearest)
	case w.named:
		return fmt.Sprintf("unknown key %q: no endpoint has this label: for the endpoint of this name, write name=%s", w.Key, w.Key)
	}
	return fmt.Sprintf("unknown key %q: no endpoint has this label", w.Key)
}

// Check returns a warning for each label that is not among those of the fleet,
// by column; one for a label that is asked for several times.
func (s Selector) Check(known []string) []Warning {
	var warnings []Warning
	candidates := slices.Concat(known, attributes)
	byColumn := func(a, b term) int { return cmp.Compare(a.column, b.column) }
	for _, t := range slices.SortedFunc(slices.Values(s.terms), byColumn) {
		same := func(w Warning) bool { return w.Key == t.key }
		if slices.Contains(candidates, t.key) || slices.ContainsFunc(warnings, same) {
			continue
		}
		warnings = append(warnings, Warning{
			Column: t.column, Key: t.key, Nearest: near.Name(t.key, candidates), named: t.op == opHas,
		})
	}
	return warnings
}

// MaxSelectors is the maximum number of selectors in a [Union].
const MaxSelectors = 16

// Union matches the endpoints that any of its selectors matches. An empty Union
// matches none.
type Union []Selector

// ParseUnion parses 1-16 selectors. A [SyntaxError] has the number of the
// selector. If one chooses every endpoint the error is [ErrAll], and the Union
// valid, as with [Parse].
func ParseUnion(texts []string) (Union, error) {
	if len(texts) == 0 || len(texts) > MaxSelectors {
		return nil, fmt.Errorf("invalid number of selectors %d: must be 1-%d", len(texts), MaxSelectors)
	}
	u := make(Union, len(texts))
	var all error
	for i, text := range texts {
		var err error
		u[i], err = Parse(text)
		if wrong, ok := errors.AsType[*SyntaxError](err); ok {
			wrong.Number = i + 1
			return nil, wrong
		}
		all = cmp.Or(all, err)
	}
	return u, all
}

// Match reports whether any selector matches an endpoint, and reports what the
// endpoint lacks only if none matches otherwise.
func (u Union) Match(e Endpoint, now time.Time) Match {
	var found Match
	for _, s := range u {
		m := s.Match(e, now)
		if m.Matched && m.Lacks == "" {
			return m
		}
		if !found.Matched {
			found = m
		}
	}
	return found
}
