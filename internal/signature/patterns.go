package signature

import (
	"errors"
	"fmt"
	"strings"
)

// patterns is a list of patterns, as ssh_config has them: * stands for any characters, ?
// for one, and what one with ! before it matches is excluded.
type patterns []string

// maxPattern bounds a list of patterns, in bytes.
const maxPattern = 4096

func parsePatterns(text string) (patterns, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("too long: the limit is %d bytes", maxPattern)
	}
	var list patterns
	for one := range strings.SplitSeq(text, ",") {
		if strings.Trim(one, "!") == "" || strings.LastIndexByte(one, '!') > 0 || strings.ContainsFunc(one, notPlain) {
			return nil, errors.New("must be names or patterns of printable ASCII characters without quotes, joined by commas")
		}
		list = append(list, one)
	}
	return list, nil
}

func notPlain(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// String returns the list as it was written.
func (p patterns) String() string { return strings.Join(p, ",") }

// match reports whether a pattern of the list matches a name, and none that excludes does.
func (p patterns) match(name string) bool {
	found := false
	for _, one := range p {
		one, excludes := strings.CutPrefix(one, "!")
		if match(one, name) {
			if excludes {
				return false
			}
			found = true
		}
	}
	return found
}

// plain returns the names of the list that are no patterns, and not excluded.
func (p patterns) plain() (names []string) {
	for _, one := range p {
		if !strings.ContainsAny(one, "*?!") && p.match(one) {
			names = append(names, one)
		}
	}
	return names
}

// match reports whether a pattern matches a whole name.
func match(pattern, name string) bool {
	at, star, mark := 0, -1, 0
	for i := 0; i < len(name); {
		switch {
		case at < len(pattern) && pattern[at] == '*':
			star, mark = at, i
			at++
		case at < len(pattern) && (pattern[at] == '?' || pattern[at] == name[i]):
			at++
			i++
		case star >= 0: // let the last * stand for one more
			mark++
			at, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[at:], "*") == ""
}

// Rule is an entry of the signed_by of a task type: whose signatures count at which
// endpoints.
type Rule struct{ who, endpoints patterns }

// ParseRule parses an entry such as "alice", "*@example.com", or "bob at db*,web1".
func ParseRule(text string) (r Rule, err error) {
	who, where, limited := strings.Cut(text, " at ")
	if r.who, err = parsePatterns(who); err == nil && limited {
		r.endpoints, err = parsePatterns(where)
	}
	if err != nil {
		return Rule{}, fmt.Errorf("invalid signer %.100q: must be a principal of allowed_signers or a pattern, such as alice or "+
			"*@example.com, or with endpoints, such as bob at db*,web1", text)
	}
	return r, nil
}

// Permits reports whether one of the rules lets a signer have tasks performed at an
// endpoint. One that cannot be read does not. Without rules everybody may.
func Permits(rules []string, s Signer, endpoint string) bool {
	for _, text := range rules {
		r, err := ParseRule(text)
		if err != nil || r.endpoints != nil && !r.endpoints.match(endpoint) {
			continue
		}
		if r.permits(s) {
			return true
		}
	}
	return len(rules) == 0
}

// permits reports whether the rule names a signer, and does not exclude it.
func (r Rule) permits(s Signer) bool {
	permitted := false
	for _, one := range r.who {
		one, excludes := strings.CutPrefix(one, "!")
		if s.Is(one) {
			if excludes {
				return false
			}
			permitted = true
		}
	}
	return permitted
}
