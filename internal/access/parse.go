package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/selector"
	"github.com/taskerhq/tasker/internal/x/secretfile"
)

// MaxFile is the largest access file, in bytes.
const MaxFile = 1 << 20

// Read reads an access file. Nobody but its owner and group may be able to read it, and
// nobody else may have been able to change it. What is wrong with its content is an [*Error].
func Read(path string) (*Policy, error) {
	content, err := secretfile.ReadAll(path, MaxFile)
	if err != nil {
		return nil, err
	}
	return Parse(path, content)
}

// Error is everything that is wrong with an access file: a line for each mistake, which
// names the line of the file, without tokens.
type Error struct{ Problems []string }

// Error returns all mistakes.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Parse reads the content of an access file. Nothing in it is ignored: the error is an
// [*Error] with all mistakes.
func Parse(file string, content []byte) (*Policy, error) {
	p := &parser{reader: reader{file: file}, roles: map[string]rightSet{}, groups: map[string]int{}}
	p.policy = &Policy{file: file, digest: sha256.Sum256(content)}
	for name, rights := range builtIn() {
		p.roles[name] = setOf(rights)
	}
	if root := p.document(content); root != nil {
		p.whole(root)
	}
	if len(p.problems) > 0 {
		return nil, &Error{p.problems}
	}
	return p.policy, nil
}

func setOf(rights []Right) rightSet {
	set := rightSet{}
	for _, right := range rights {
		set[right] = true
	}
	return set
}

// document returns the root of the file's only document; nil, with a problem, if it
// cannot be read.
func (r *reader) document(content []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		r.add(1, "the file is empty: nobody could use the API")
		return nil
	case err != nil:
		r.problems = append(r.problems, fmt.Sprintf("%s: invalid YAML: %s", r.file, yamlError(err)))
		return nil
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		r.problems = append(r.problems, r.file+": must be a single YAML document")
		return nil
	}
	return root.Content[0]
}

var quotedContent = regexp.MustCompile("`[^`]*`")

// yamlError returns the text of a YAML error without what it quotes of the file.
func yamlError(err error) string {
	return strings.Join(strings.Fields(quotedContent.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "a value")), " ")
}

// parser reads a policy.
type parser struct {
	reader
	policy *Policy
	roles  map[string]rightSet
	groups map[string]int // the lines in which each is named first
}

// whole reads the whole file.
func (p *parser) whole(root *yaml.Node) {
	parts := p.members(root, "the file", "principals", "roles", "rules")
	if node := parts["principals"]; node != nil {
		for _, m := range p.entries(node, "principals") {
			p.principal(m)
		}
	}
	if len(p.policy.principals) == 0 && len(p.problems) == 0 {
		p.add(root.Line, "no principals: nobody could use the API")
	}
	p.checkGroups()
	if node := parts["roles"]; node != nil {
		for _, m := range p.entries(node, "roles") {
			p.role(m)
		}
	}
	if node := parts["rules"]; node != nil {
		for _, rule := range p.list(node, "rules") {
			p.rule(rule)
		}
	}
}

// namePattern is the form of the names of principals, groups and roles. The name of a
// principal is stored with its tasks.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// reserved are names that the API itself gives: to who has the token of api.token_file,
// and to all if there is no authentication.
var reserved = []string{"token", "anonymous"}

// name checks a name.
func (p *parser) name(line int, what, name string) bool {
	switch {
	case !namePattern.MatchString(name):
		p.add(line, "invalid name of a %s %s: must be 1 to 64 letters, digits, '.', '_', '@' or '-', starting with a letter or digit",
			what, shown(name))
	case slices.Contains(reserved, name):
		p.add(line, "invalid name of a %s %q: tasker uses it itself: choose another one", what, name)
	default:
		return true
	}
	return false
}

func (p *parser) principal(m member) {
	if !p.name(m.line, "principal", m.key) {
		return
	}
	found := principal{name: m.key, line: m.line}
	var parts map[string]*yaml.Node
	if m.value.ShortTag() != "!!null" {
		parts = p.members(m.value, "principal "+m.key, "groups", "tokens")
	}
	if node := parts["groups"]; node != nil {
		for _, item := range p.list(node, "groups") {
			group, ok := p.text(item, "a group")
			if !ok || !p.name(item.Line, "group", group) {
				continue
			}
			if slices.Contains(found.groups, group) {
				p.add(item.Line, "duplicate group %q", group)
				continue
			}
			found.groups = append(found.groups, group)
			if _, known := p.groups[group]; !known {
				p.groups[group] = item.Line
			}
		}
	}
	p.policy.principals = append(p.policy.principals, found)
	if node := parts["tokens"]; node != nil {
		for _, item := range p.list(node, "tokens") {
			p.token(m.key, item)
		}
	}
}

// checkGroups rejects groups with the name of a principal: a rule would be for both.
func (p *parser) checkGroups() {
	for _, known := range p.policy.principals {
		if line, ok := p.groups[known.name]; ok {
			p.add(line, "invalid group %q: line %d has a principal of this name, and a rule could mean either", known.name, known.line)
		}
	}
}

func (p *parser) token(name string, node *yaml.Node) {
	parts := p.members(node, "a token", "sha256", "expires", "from", "may", "note")
	if parts == nil {
		return
	}
	t := Token{Principal: name, Line: node.Line}
	t.digest = p.digest(node, parts["sha256"])
	if parts["expires"] == nil {
		p.add(node.Line, `missing expires: a token must end some day: give a date such as "2027-03-01", or a time with its zone`)
	} else if text, ok := p.text(parts["expires"], "expires"); ok {
		t.Expires = p.time(parts["expires"].Line, text)
	}
	if from := parts["from"]; from != nil {
		for _, item := range p.list(from, "from") {
			if text, ok := p.text(item, "an address"); ok {
				t.from = append(t.from, p.prefix(item.Line, text))
			}
		}
		if len(t.from) == 0 {
			p.add(from.Line, "no addresses in from: leave it out to allow all")
		}
	}
	if may := parts["may"]; may != nil {
		t.may, _ = p.rights(may, "may")
	}
	if note := parts["note"]; note != nil {
		t.Note, _ = p.text(note, "note")
	}
	p.policy.tokens = append(p.policy.tokens, t)
}

// digest reads the hash of a token. No message repeats it: it may be the token itself.
func (p *parser) digest(token, node *yaml.Node) (digest identity.Digest) {
	if node == nil {
		p.add(token.Line, "missing sha256: give what tasker auth token prints")
		return digest
	}
	text, ok := p.text(node, "sha256")
	if !ok {
		return digest
	}
	sum, err := hex.DecodeString(text)
	switch {
	case strings.HasPrefix(text, identity.PrincipalPrefix):
		p.add(node.Line, "invalid sha256: this is a token itself: make another one with tasker auth token, and give its SHA-256")
	case err != nil || len(sum) != len(digest):
		p.add(node.Line, "invalid sha256: must be %d hexadecimal digits, got %d characters: give what tasker auth token prints",
			2*len(digest), len(text))
	default:
		digest = identity.Digest(sum)
		if at := slices.IndexFunc(p.policy.tokens, func(t Token) bool { return t.digest == digest }); at >= 0 {
			p.add(node.Line, "duplicate sha256: %s has this one", p.policy.tokens[at])
		}
	}
	return digest
}

// time reads when a token ends. A date is its beginning in UTC.
func (p *parser) time(line int, text string) time.Time {
	for _, form := range []string{time.DateOnly, time.RFC3339Nano} {
		if at, err := time.Parse(form, text); err == nil && at.Year() >= 1970 {
			return at.UTC()
		}
	}
	p.add(line, `invalid expires %s: must be a date such as "2027-03-01", or a time with its zone such as "2027-03-01T12:00:00Z"`,
		shown(text))
	return time.Time{}
}

// prefix reads an address, or a block of them.
func (p *parser) prefix(line int, text string) netip.Prefix {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		p.add(line, "invalid address %s: must be an address, or a block such as 10.0.0.0/8", shown(text))
	case prefix != prefix.Masked():
		p.add(line, "invalid address %s: the block is %s", shown(text), prefix.Masked())
	}
	return prefix
}

func (p *parser) role(m member) {
	if !p.name(m.line, "role", m.key) {
		return
	}
	if _, known := builtIn()[m.key]; known {
		p.add(m.line, "invalid role %q: every file has it: choose another name", m.key)
		return
	}
	if slices.Contains(Rights(), Right(m.key)) {
		p.add(m.line, "invalid role %q: it is the name of a right: choose another name", m.key)
		return
	}
	set := rightSet{}
	for _, item := range p.list(m.value, "role "+m.key) {
		word, ok := p.text(item, "a right")
		switch {
		case !ok:
		case word == string(Admin):
			set = setOf(Rights())
		case !slices.Contains(Rights(), Right(word)):
			p.add(item.Line, "unknown right %s%s: must be one of %s", shown(word), meant(word, words(Rights())), joined(Rights()))
		default:
			set[Right(word)] = true
		}
	}
	p.roles[m.key] = set
}

// rights reads a list of rights and roles, and returns it as it is written, too.
func (p *parser) rights(node *yaml.Node, what string) (set rightSet, written []string) {
	set = rightSet{}
	for _, item := range p.list(node, what) {
		word, ok := p.text(item, "a right")
		if !ok {
			continue
		}
		written = append(written, word)
		if rights, isRole := p.roles[word]; isRole {
			maps.Copy(set, rights)
		} else if slices.Contains(Rights(), Right(word)) {
			set[Right(word)] = true
		} else {
			known := append(words(Rights()), slices.Sorted(maps.Keys(p.roles))...)
			p.add(item.Line, "unknown right or role %s%s: rights are %s; roles are %s", shown(word), meant(word, known), joined(Rights()),
				strings.Join(slices.Sorted(maps.Keys(p.roles)), ", "))
		}
	}
	if len(written) == 0 && len(p.problems) == 0 {
		p.add(node.Line, "no rights in %s: name at least one", what)
	}
	return set, written
}

func (p *parser) rule(node *yaml.Node) {
	parts := p.members(node, "a rule", "who", "may", "types", "endpoints")
	if parts == nil {
		return
	}
	rule := Rule{Line: node.Line}
	for _, key := range []string{"who", "may"} {
		if parts[key] == nil {
			p.add(node.Line, "missing %s: a rule says who may do what", key)
		}
	}
	if who := parts["who"]; who != nil {
		rule.Who = p.who(who)
	}
	if may := parts["may"]; may != nil {
		rule.rights, rule.May = p.rights(may, "may")
	}
	if types := parts["types"]; types != nil {
		p.types(&rule, types)
	}
	if endpoints := parts["endpoints"]; endpoints != nil {
		p.endpoints(&rule, endpoints)
	}
	p.policy.rules = append(p.policy.rules, rule)
}

// who reads whom a rule is for.
func (p *parser) who(node *yaml.Node) (who []string) {
	var known []string
	for _, found := range p.policy.principals {
		known = append(known, found.name)
	}
	known = append(known, slices.Sorted(maps.Keys(p.groups))...)
	items := p.list(node, "who")
	for _, item := range items {
		name, ok := p.text(item, "a principal or group")
		switch {
		case !ok:
		case !slices.Contains(known, name):
			p.add(item.Line, "unknown principal or group %s%s: name one of principals, or a group of one", shown(name), meant(name, known))
		default:
			who = append(who, name)
		}
	}
	if len(items) == 0 && node.Kind == yaml.SequenceNode {
		p.add(node.Line, "nobody in who: name a principal or a group")
	}
	return who
}

// types reads the patterns of task types of a rule. All of them is the same as none.
func (p *parser) types(rule *Rule, node *yaml.Node) {
	everything := false
	for _, item := range p.list(node, "types") {
		text, ok := p.text(item, "a task type")
		if !ok {
			continue
		}
		pattern, err := selector.ParsePattern(text)
		if err != nil || text == "" {
			p.add(item.Line, "invalid task type %s: must be a name, or a pattern such as deploy-*", shown(text))
			continue
		}
		everything = everything || pattern.MatchesAll()
		rule.Types, rule.types = append(rule.Types, text), append(rule.types, pattern)
	}
	switch {
	case everything:
		rule.Types, rule.types = nil, nil
	case len(rule.types) == 0:
		p.add(node.Line, "no task types in types: leave it out for all")
	default:
		for _, right := range []Right{Drain, Admin} {
			if rule.rights[right] {
				p.add(node.Line, "types in a rule with the right %s, which is not about task types: give it in a rule of its own, "+
					"without types", right)
			}
		}
	}
}

// endpoints reads the selector of a rule.
func (p *parser) endpoints(rule *Rule, node *yaml.Node) {
	text, ok := p.text(node, "endpoints")
	if !ok {
		return
	}
	chosen, err := selector.Parse(text)
	switch {
	case errors.Is(err, selector.ErrAll) && strings.TrimSpace(text) == "":
		p.add(node.Line, "no selector in endpoints: leave it out for all")
		return
	case errors.Is(err, selector.ErrAll):
		return
	case err != nil:
		p.add(node.Line, "invalid endpoints: %v", err)
		return
	}
	keys := chosen.Keys()
	for _, key := range keys {
		if key == "seen" || key == "drained" || key == "version" {
			p.add(node.Line, "invalid endpoints: %q changes with time, and rights must not: use labels, name or type", key)
		}
	}
	if rule.rights[Admin] {
		p.add(node.Line, "endpoints in a rule with the right %s, which is about all of tasker: give it in a rule of its own", Admin)
	}
	rule.Endpoints, rule.endpoints, rule.byName = chosen.String(), chosen, slices.Equal(keys, []string{"name"})
}
