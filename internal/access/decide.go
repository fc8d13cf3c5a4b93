package access

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskerhq/tasker/internal/selector"
	"github.com/taskerhq/tasker/internal/x/text"
)

// Principal is somebody who acts. The zero Principal may do nothing.
type Principal struct {
	Name string
	// Expires is when the token ends that was shown; zero means never.
	Expires time.Time

	everything bool
	rules      []*Rule
	token      *Token // that was shown; nil if the principal is asked about by name
}

// Unlimited returns a principal who may do everything, without a rule.
func Unlimited(name string) Principal { return Principal{Name: name, everything: true} }

// Rules returns the rules that are for the principal, in the file's order.
func (p Principal) Rules() []*Rule { return slices.Clone(p.rules) }

// Act is what somebody wants to do.
type Act struct {
	Right Right
	// Type is the task type; empty means all of them, or that the right is not about any.
	Type string
	// Endpoints are those that it is about. Nil means every endpoint of the type, also one
	// that registers later, or that they are not known yet.
	Endpoints []Endpoint
}

// Endpoint is an endpoint that an act is about.
type Endpoint struct {
	selector.Endpoint
	// Registered reports that its labels are known. Of others only the name counts.
	Registered bool
}

// Decision says whether a principal may do something, and why.
type Decision struct {
	Allowed bool
	// Rules are those that allow it. There are several if each of them is for some of the
	// endpoints, and none if the principal may do everything.
	Rules []*Rule

	act     Act
	who     Principal
	partial []*Rule  // give the right at some endpoints only
	outside []string // endpoints that none of them is for
}

// Decide decides about an act.
func (p Principal) Decide(act Act) Decision {
	d := Decision{act: act, who: p}
	if p.everything {
		d.Allowed = true
		return d
	}
	if !p.tokenMay(act.Right) {
		return d
	}
	for _, r := range p.rules {
		switch {
		case !r.gives(act.Right, act.Type):
		case r.Endpoints == "" || !act.Right.ofEndpoints():
			d.Allowed, d.Rules, d.partial = true, []*Rule{r}, nil
			return d
		default:
			d.partial = append(d.partial, r)
		}
	}
	if len(d.partial) == 0 || act.Endpoints == nil {
		return d
	}
	used := map[*Rule]bool{}
	for i := range act.Endpoints {
		at := slices.IndexFunc(d.partial, func(r *Rule) bool { return r.covers(&act.Endpoints[i]) })
		if at < 0 {
			d.outside = append(d.outside, act.Endpoints[i].Name)
			continue
		}
		used[d.partial[at]] = true
	}
	if d.Allowed = len(d.outside) == 0; d.Allowed {
		d.Rules = slices.DeleteFunc(slices.Clone(d.partial), func(r *Rule) bool { return len(used) > 0 && !used[r] })
	}
	return d
}

// tokenMay reports whether the token that was shown can be used for a right.
func (p Principal) tokenMay(right Right) bool {
	return p.token == nil || p.token.may == nil || p.token.may[right]
}

// Knows reports whether a principal has any right for a task type: to others it does not
// exist.
func (p Principal) Knows(taskType string) bool {
	return slices.ContainsFunc(Rights(), func(right Right) bool {
		return right.ofType() && p.Decide(Act{Right: right, Type: taskType}).Somewhere()
	})
}

// HasAny reports whether a principal has a right for at least one task type, as far as the
// rules say.
func (p Principal) HasAny(right Right) bool {
	return p.everything || p.tokenMay(right) && slices.ContainsFunc(p.rules, func(r *Rule) bool { return r.rights[right] })
}

// Somewhere reports whether the act is allowed, or would be at some endpoints.
func (d Decision) Somewhere() bool { return d.Allowed || len(d.partial) > 0 }

// gives reports whether a rule gives a right for a task type, at least at some endpoints.
func (r *Rule) gives(right Right, taskType string) bool {
	if !r.rights[right] {
		return false
	}
	if r.types == nil {
		return true
	}
	return taskType != "" && slices.ContainsFunc(r.types, func(p selector.Pattern) bool { return p.Match(taskType) })
}

// covers reports whether a rule that is limited to some endpoints is for one. It is not if
// that could only be said since the endpoint lacks a label, or is not registered.
func (r *Rule) covers(e *Endpoint) bool {
	if !e.Registered && !r.byName {
		return false
	}
	found := r.endpoints.Match(e.Endpoint, time.Time{}) // no rule is about times
	return found.Matched && found.Lacks == ""
}

// maxOutside is how many endpoints a message names.
const maxOutside = 10

// Missing says why an act is not allowed, and what to ask for.
func (d Decision) Missing() string {
	if d.Allowed {
		return ""
	}
	who, right := d.who.Name, d.act.Right
	lacks := fmt.Sprintf("%s does not have the right %s%s", who, right, d.subject())
	switch {
	case !d.who.tokenMay(right):
		return fmt.Sprintf("%s: the token that was sent is for %s only: use another one", lacks, joined(d.who.token.may.list()))
	case len(d.partial) == 0:
		return fmt.Sprintf("%s: ask for a rule in the access file with %s", lacks, d.wanted())
	case d.act.Endpoints == nil:
		return fmt.Sprintf("%s at all of its endpoints, but at some (%s): list the endpoints, or choose them with select and without "+
			"a later start, or ask for a rule with %s and without endpoints", lacks, rulesAt(d.partial), d.wanted())
	}
	return fmt.Sprintf(
		"%s at %d of the %d endpoints: %s (others are allowed by %s): leave them out, or ask for a rule that is for them, too", lacks,
		len(d.outside), len(d.act.Endpoints), text.Some(d.outside, maxOutside), rulesAt(d.partial))
}

// MissingAny says that a principal has a right for no task type, and what to ask for.
func (p Principal) MissingAny(right Right) string {
	d := Decision{act: Act{Right: right}, who: p}
	if !p.tokenMay(right) {
		return d.Missing()
	}
	return fmt.Sprintf("%s does not have the right %s for any task type: ask for a rule in the access file with who: [%s], may: [%s]",
		p.Name, right, p.Name, right)
}

// subject says what the act is about.
func (d Decision) subject() string {
	switch {
	case d.act.Type != "":
		return fmt.Sprintf(" for task type %q", d.act.Type)
	case d.act.Right.ofType():
		return " for all task types"
	}
	return ""
}

// wanted returns what a rule would have to say.
func (d Decision) wanted() string {
	rule := fmt.Sprintf("who: [%s], may: [%s]", d.who.Name, d.act.Right)
	switch {
	case d.act.Type != "":
		rule += fmt.Sprintf(", types: [%s]", d.act.Type)
	case d.act.Right.ofType():
		rule += " and without types"
	}
	return rule
}

// rulesAt names rules.
func rulesAt(rules []*Rule) string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = fmt.Sprintf("line %d: %s", r.Line, r.Endpoints)
	}
	return text.Some(names, maxOutside)
}

// String returns the rule in one line.
func (r *Rule) String() string {
	out := fmt.Sprintf("line %d: who: [%s], may: [%s]", r.Line, strings.Join(r.Who, ", "), strings.Join(r.May, ", "))
	if r.Types != nil {
		out += fmt.Sprintf(", types: [%s]", strings.Join(r.Types, ", "))
	}
	if r.Endpoints != "" {
		out += fmt.Sprintf(", endpoints: %s", r.Endpoints)
	}
	return out
}
