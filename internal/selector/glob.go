package selector

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// glob is a pattern, prepared for many matches.
type glob struct {
	text   string    // canonical: "*" for "**"
	prefix string    // what stands before the first wildcard
	rest   []element // from there on
}

// element is one element of a pattern: a star, or one character that is in the
// spans, or that is not. "?" is a character that is not in no span.
type element struct {
	star   bool
	negate bool
	spans  []span
}

type span struct{ from, to rune }

func (e element) has(r rune) bool {
	in := slices.ContainsFunc(e.spans, func(s span) bool { return s.from <= r && r <= s.to })
	return in != e.negate
}

// compile prepares a pattern. at has for each of its characters the index in the
// selector, for errors.
func compile(pattern []rune, at []int) (glob, error) {
	var g glob
	var canonical, prefix strings.Builder
	for i := 0; i < len(pattern); {
		e, size, problem := nextElement(pattern[i:])
		if problem != "" {
			return g, &SyntaxError{Column: at[i] + 1, Message: problem}
		}
		again := e.star && len(g.rest) > 0 && g.rest[len(g.rest)-1].star
		switch {
		case again:
		case len(g.rest) == 0 && !strings.ContainsRune("*?[", pattern[i]):
			prefix.WriteRune(pattern[i])
		default:
			g.rest = append(g.rest, e)
		}
		if !again {
			canonical.WriteString(string(pattern[i : i+size]))
		}
		i += size
	}
	g.text, g.prefix = canonical.String(), prefix.String()
	return g, nil
}

// nextElement returns the first element of a pattern and its size in characters,
// or what is wrong with it.
func nextElement(pattern []rune) (e element, size int, problem string) {
	switch r := pattern[0]; r {
	case '*':
		return element{star: true}, 1, ""
	case '?':
		return element{negate: true}, 1, ""
	case '[':
		return class(pattern)
	default:
		return element{spans: []span{{r, r}}}, 1, ""
	}
}

// class returns the element that begins with "[".
func class(pattern []rune) (e element, size int, problem string) {
	i := 1
	if i < len(pattern) && pattern[i] == '!' {
		e.negate = true
		i++
	}
	if i == 1 && i < len(pattern) && pattern[i] == '^' {
		return e, 0, `invalid pattern: write "[!" in place of "[^"`
	}
	for ; i < len(pattern) && pattern[i] != ']'; i++ {
		s := span{pattern[i], pattern[i]}
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			s.to = pattern[i+2]
			i += 2
		}
		if s.to < s.from {
			return e, 0, `invalid pattern: the range ` + string(s.from) + `-` + string(s.to) + ` is empty: write the lower character first`
		}
		e.spans = append(e.spans, s)
	}
	switch {
	case i == len(pattern):
		return e, 0, `invalid pattern: missing "]": write "[[]" for a bracket itself, and quote other characters than letters and digits`
	case len(e.spans) == 0:
		return e, 0, `invalid pattern: no characters between "[" and "]"`
	}
	return e, i + 1, ""
}

// match reports whether the pattern matches the whole of s. It goes back to the
// last star only, since an earlier one could only leave less for the rest.
func (g glob) match(s string) bool {
	s, ok := strings.CutPrefix(s, g.prefix)
	if !ok {
		return false
	}
	next, star, from := 0, -1, 0 // from is where the star's part of s ends
	for i := 0; i < len(s); {
		if next < len(g.rest) && g.rest[next].star {
			if next == len(g.rest)-1 {
				return true
			}
			star, from = next, i
			next++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if next < len(g.rest) && g.rest[next].has(r) {
			next++
			i += size
			continue
		}
		if star < 0 {
			return false
		}
		_, size = utf8.DecodeRuneInString(s[from:])
		from += size
		next, i = star+1, from
	}
	for next < len(g.rest) && g.rest[next].star {
		next++
	}
	return next == len(g.rest)
}

// matchesAny reports whether the pattern obviously matches every text that is
// not empty.
func (g glob) matchesAny() bool {
	stars, others := 0, 0
	for _, e := range g.rest {
		switch {
		case e.star:
			stars++
		case e.negate && len(e.spans) == 0:
			others++
		default:
			return false
		}
	}
	return g.prefix == "" && stars > 0 && others <= 1
}

// Pattern is a pattern by itself, as one after "~" without its quotes.
type Pattern struct{ glob glob }

// ParsePattern parses a pattern.
func ParsePattern(pattern string) (Pattern, error) {
	runes := []rune(pattern)
	g, err := compile(runes, make([]int, len(runes)))
	if wrong, ok := errors.AsType[*SyntaxError](err); ok {
		return Pattern{}, errors.New(wrong.Message)
	}
	return Pattern{g}, err
}

// Match reports whether the pattern matches the whole of a text.
func (p Pattern) Match(s string) bool { return p.glob.match(s) }

// MatchesAll reports whether the pattern obviously matches every text that is not
// empty.
func (p Pattern) MatchesAll() bool { return p.glob.matchesAny() }
