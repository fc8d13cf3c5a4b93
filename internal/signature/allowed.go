package signature

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Allowed are the keys whose signatures count, as a file in OpenSSH's form of allowed
// signers has them. Make one with [ParseAllowed].
type Allowed struct {
	lines  []line
	digest string
}

// line is a line of the file.
type line struct {
	principals patterns
	key        ssh.PublicKey
	authority  bool     // it signs certificates, and no tasks
	namespaces patterns // nil accepts all
	// after and before bound when the key may sign, both inclusive; zero does not.
	after, before time.Time
}

// MaxAllowed bounds the file, in bytes.
const MaxAllowed = 4 << 20

// ParseAllowed reads the content of a file. A line that cannot be read is an error, which
// names its number: a key that was meant to end, and does not, would be worse.
func ParseAllowed(content []byte) (*Allowed, error) {
	a := &Allowed{digest: string(content)}
	number := 0
	for text := range bytes.Lines(content) {
		number++
		one := strings.Trim(string(text), " \t\r\n")
		if one == "" || one[0] == '#' {
			continue
		}
		l, err := parseLine(one)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		a.lines = append(a.lines, l)
	}
	if len(a.lines) == 0 {
		return nil, errors.New(`no keys: a line is such as alice namespaces="` + Namespace + `" ssh-ed25519 AAAA`)
	}
	return a, nil
}

// Equal reports whether two have the same content.
func (a *Allowed) Equal(b *Allowed) bool {
	return a == b || a != nil && b != nil && a.digest == b.digest
}

// keyTypes are the types of keys that a line may have.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519,
	ssh.KeyAlgoSKECDSA256,
}

func parseLine(text string) (l line, err error) {
	names, text := cutWord(text)
	if l.principals, err = parsePatterns(names); err != nil {
		return l, fmt.Errorf("invalid principals: %w", err)
	}
	keyType, text := cutWord(text)
	if !slices.Contains(keyTypes, keyType) {
		if err := l.readOptions(keyType); err != nil {
			return l, err
		}
		keyType, text = cutWord(text)
	}
	if !slices.Contains(keyTypes, keyType) {
		return l, fmt.Errorf("no key after principals and options: must be one of %s", strings.Join(keyTypes, ", "))
	}
	encoded, _ := cutWord(text)
	blob, err := base64.StdEncoding.DecodeString(encoded)
	if err == nil {
		l.key, err = ssh.ParsePublicKey(blob)
	}
	if err != nil || l.key.Type() != keyType {
		return l, fmt.Errorf("invalid key: not one of type %s", keyType)
	}
	return l, nil
}

// cutWord cuts the first word from a text, and the blanks after it. Blanks between double
// quotes belong to it.
func cutWord(text string) (word, rest string) {
	quoted := false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			return text[:i], strings.TrimLeft(text[i:], " \t")
		}
	}
	return text, ""
}

// readOptions reads the options of a line, which are joined by commas.
func (l *line) readOptions(text string) error {
	seen := map[string]bool{}
	for text != "" {
		name, value, hasValue, rest, err := cutOption(text)
		if err != nil {
			return err
		}
		text = rest
		if seen[name] {
			return fmt.Errorf("duplicate option %s", name)
		}
		seen[name] = true
		switch {
		case name == "cert-authority" && !hasValue:
			l.authority = true
		case name == "namespaces" && hasValue:
			if l.namespaces, err = parsePatterns(value); err != nil {
				return fmt.Errorf("invalid namespaces: %w", err)
			}
		case name == "valid-after" && hasValue:
			l.after, err = parseStamp(value)
		case name == "valid-before" && hasValue:
			l.before, err = parseStamp(value)
		default:
			return fmt.Errorf("invalid option %.40q: must be cert-authority, namespaces=\"...\", valid-after=\"...\" or "+
				"valid-before=\"...\", joined by commas", name)
		}
		if err != nil {
			return fmt.Errorf("invalid %s: %w", name, err)
		}
	}
	if !l.after.IsZero() && !l.before.IsZero() && !l.after.Before(l.before) {
		return errors.New("valid-after must be before valid-before")
	}
	return nil
}

var errOption = errors.New(`invalid options: must be such as namespaces="` + Namespace + `",valid-before="20270630Z"`)

// cutOption cuts the first option from a text, with the comma after it.
func cutOption(text string) (name, value string, hasValue bool, rest string, err error) {
	end := strings.IndexAny(text, "=,")
	if end < 0 {
		return strings.ToLower(text), "", false, "", nil
	}
	name, hasValue = strings.ToLower(text[:end]), text[end] == '='
	if rest = text[end+1:]; hasValue {
		quoted, opens := strings.CutPrefix(rest, `"`)
		var closes bool
		if value, rest, closes = strings.Cut(quoted, `"`); !opens || !closes {
			return "", "", false, "", errOption
		}
		if rest == "" {
			return name, value, true, "", nil
		}
		var more bool
		if rest, more = strings.CutPrefix(rest, ","); !more {
			return "", "", false, "", errOption
		}
	}
	if rest == "" { // a comma at the end
		return "", "", false, "", errOption
	}
	return name, value, hasValue, rest, nil
}

// parseStamp reads a time as OpenSSH has it: in UTC if it ends with Z, otherwise in the
// zone of this machine.
func parseStamp(text string) (time.Time, error) {
	digits, utc := strings.CutSuffix(strings.ToUpper(text), "Z")
	zone := time.Local
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) != len(layout) {
			continue
		}
		if at, err := time.ParseInLocation(layout, digits, zone); err == nil && at.Unix() > 0 {
			return at, nil
		}
	}
	return time.Time{}, errors.New("must be YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, followed by Z for UTC")
}

// Signer is somebody whose signature counts.
type Signer struct {
	// Name is the principal, or all of the line's if they are several or patterns.
	Name string
	// names are the principals that the key has without doubt; with a line of patterns
	// there may be others, which as decides.
	names []string
	as    patterns
}

// Is reports whether the signer may sign as one of the principals that a pattern selects.
func (s Signer) Is(pattern string) bool {
	if slices.ContainsFunc(s.names, func(name string) bool { return match(pattern, name) }) {
		return true
	}
	return !strings.ContainsAny(pattern, "*?") && s.as.match(pattern)
}

// Find returns those whose signatures with the key of p count at a time. The error says
// why there are none.
func (a *Allowed) Find(p Parsed, now time.Time) ([]Signer, error) {
	var found []Signer
	unknown := fmt.Errorf("signed by an unknown key %s", p.Fingerprint())
	why := unknown
	for i := range a.lines {
		l := &a.lines[i]
		signer, ok, err := l.signer(p, now)
		switch {
		case err != nil:
			why = err
		case ok:
			found = append(found, signer)
		}
	}
	if len(found) == 0 {
		return nil, why
	}
	return found, nil
}

// signer returns who has signed, if the line has the key. The error says why the key does
// not count.
func (l *line) signer(p Parsed, now time.Time) (s Signer, ok bool, err error) {
	key := p.sig.PublicKey
	if cert, isCert := key.(*ssh.Certificate); isCert && l.authority {
		if !sameKey(cert.SignatureKey, l.key) {
			return s, false, nil
		}
		if s.names = l.certified(cert, now); len(s.names) == 0 {
			return s, false, fmt.Errorf("signed with the certificate of %s, which is not valid here and now", p.Fingerprint())
		}
		s.Name = strings.Join(s.names, ",")
	} else if l.authority || !sameKey(key, l.key) {
		return s, false, nil
	} else {
		s.Name, s.names, s.as = l.principals.String(), l.principals.plain(), l.principals
	}
	switch {
	case l.namespaces != nil && !l.namespaces.match(Namespace):
		return s, false, fmt.Errorf("%s's key %s may not sign tasks (namespaces)", s.Name, p.Fingerprint())
	case !l.after.IsZero() && now.Before(l.after):
		return s, false, fmt.Errorf("%s's key begins on %s", s.Name, l.after.UTC().Format(time.DateOnly))
	case !l.before.IsZero() && now.After(l.before):
		return s, false, fmt.Errorf("%s's key ended on %s", s.Name, l.before.UTC().Format(time.DateOnly))
	}
	return s, true, nil
}

// certified returns the principals of a certificate for which the authority of the line
// may vouch, none if it is not valid at a time.
func (l *line) certified(cert *ssh.Certificate, now time.Time) (names []string) {
	if _, limited := cert.CriticalOptions["source-address"]; limited || cert.CertType != ssh.UserCert {
		return nil
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return now }}
	for _, name := range cert.ValidPrincipals {
		if l.principals.match(name) && checker.CheckCert(name, cert) == nil {
			names = append(names, name)
		}
	}
	return names
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
