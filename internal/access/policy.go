// Package access decides who may do what at the API. It is the domain of the access
// file, which names principals with their tokens, and rules that give them rights. Rules
// only allow, so their order does not matter, and what no rule allows is not allowed.
//
// A [Policy] is a file that was read and checked. It knows a [Principal] by a token, and
// the principal decides about an [Act], with the rule that allows it or what is missing.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/selector"
)

// Policy is an access file. It is immutable, and safe for concurrent use.
type Policy struct {
	file       string
	digest     [sha256.Size]byte // of the file's content
	principals []principal       // in the file's order
	tokens     []Token
	rules      []Rule
}

// principal is somebody whom the file names.
type principal struct {
	name   string
	groups []string
	line   int
}

// Token is a token of a principal. Only its SHA-256 is known.
type Token struct {
	Principal string
	Note      string // what it is for; may be empty
	Line      int    // of the file
	Expires   time.Time
	digest    identity.Digest
	from      []netip.Prefix // where it may be used; nil for anywhere
	may       rightSet       // what it may be used for; nil for all that its principal may
}

// Rule allows something.
type Rule struct {
	Line      int      // of the file
	Who       []string // principals and groups
	May       []string // rights and roles, as they are written
	Types     []string // patterns; nil for all task types
	Endpoints string   // a selector; empty for all endpoints

	rights    rightSet
	types     []selector.Pattern // nil for all
	endpoints selector.Selector  // if Endpoints is not empty
	byName    bool               // endpoints looks at names alone
}

// ValidateName checks the name of a principal.
func ValidateName(name string) error {
	p := parser{reader: reader{file: ""}}
	if !p.name(0, "principal", name) {
		return tasker.Errorf(tasker.Invalid, "%s", strings.TrimPrefix(p.problems[0], ":0: "))
	}
	return nil
}

// Rights returns the rights that the rule gives.
func (r *Rule) Rights() []Right { return r.rights.list() }

// Same reports whether two policies come from the same content; either may be nil.
func (p *Policy) Same(other *Policy) bool {
	if p == nil || other == nil {
		return p == other
	}
	return p.digest == other.digest
}

// File returns the path of the file.
func (p *Policy) File() string { return p.file }

// Names returns the names of all principals, in the file's order.
func (p *Policy) Names() []string {
	names := make([]string, len(p.principals))
	for i := range p.principals {
		names[i] = p.principals[i].name
	}
	return names
}

// Tokens returns all tokens, in the file's order.
func (p *Policy) Tokens() []Token { return slices.Clone(p.tokens) }

// Rules returns the number of rules.
func (p *Policy) Rules() int { return len(p.rules) }

// Find returns a principal by name, with all rights that the rules give, or a
// [tasker.NotFound] error.
func (p *Policy) Find(name string) (Principal, error) {
	at := slices.IndexFunc(p.principals, func(known principal) bool { return known.name == name })
	if at < 0 {
		return Principal{}, tasker.Errorf(tasker.NotFound, "principal %q not found: %s does not name it", name, p.file)
	}
	found := Principal{Name: name}
	for i := range p.rules {
		if p.rules[i].names(&p.principals[at]) {
			found.rules = append(found.rules, &p.rules[i])
		}
	}
	return found, nil
}

// names reports whether a rule is for a principal.
func (r *Rule) names(p *principal) bool {
	return slices.ContainsFunc(r.Who, func(who string) bool { return who == p.name || slices.Contains(p.groups, who) })
}

// Authenticate returns the principal of a token that is used from an address. The error
// is [tasker.Unauthorized], and never contains the token. It compares hashes with all that
// there are, so that the time it takes reveals nothing.
func (p *Policy) Authenticate(token string, from netip.Addr, now time.Time) (Principal, error) {
	digest, err := identity.SumPrincipal(token)
	if err != nil {
		return Principal{}, err
	}
	at := -1
	for i := range p.tokens {
		if subtle.ConstantTimeCompare(p.tokens[i].digest[:], digest[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "invalid token: no principal has it")
	}
	t := &p.tokens[at]
	switch {
	case !now.Before(t.Expires):
		return Principal{}, tasker.Errorf(tasker.Unauthorized,
			"expired token: this one of %s ended at %s: tasker auth token prints another", t.Principal, t.Expires.Format(time.RFC3339))
	case t.from != nil && !slices.ContainsFunc(t.from, func(prefix netip.Prefix) bool { return prefix.Contains(from.Unmap()) }):
		return Principal{}, tasker.Errorf(tasker.Unauthorized, "token not valid here: this one of %s may not be used from %s",
			t.Principal, from.Unmap())
	}
	found, err := p.Find(t.Principal)
	found.Expires, found.token = t.Expires, t
	return found, err
}

// Ending returns the tokens that end within a time after now, or have ended.
func (p *Policy) Ending(now time.Time, within time.Duration) []Token {
	return slices.DeleteFunc(p.Tokens(), func(t Token) bool { return t.Expires.After(now.Add(within)) })
}

// String describes the token for people.
func (t Token) String() string {
	if t.Note == "" {
		return fmt.Sprintf("the token of %s in line %d", t.Principal, t.Line)
	}
	return fmt.Sprintf("the token of %s in line %d (%s)", t.Principal, t.Line, t.Note)
}
