package signature_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/taskerhq/tasker/internal/signature"
)

// certify returns a certificate of a key, for principals, valid for an hour around when
// the statement was issued, which change may change before it is signed.
func certify(t testing.TB, authority ssh.Signer, key ssh.PublicKey, change func(c *ssh.Certificate), principals ...string) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: principals,
		ValidAfter: uint64(statement.Issued - 1800), ValidBefore: uint64(statement.Issued + 1800),
	}
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	return cert
}

func certSigner(t testing.TB, cert *ssh.Certificate, key ssh.Signer) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// Lines are as strict as OpenSSH's, or stricter: what cannot be read is an error.
func TestParseAllowed(t *testing.T) {
	t.Parallel()
	key := public(newSigner(t).PublicKey())
	rsa := public(signerOf(t, keyOf(t, "rsa")).PublicKey())
	_, blob, _ := strings.Cut(key, " ")
	for name, content := range map[string]string{
		"a key":               "alice " + key,
		"a comment":           "# people\n\n  # more\n\talice\t" + key + " alice at home\r\n",
		"several":             "alice,bob@example.com,*@ops " + key + "\ncarol " + rsa,
		"an option":           `alice namespaces="task@tasker" ` + key,
		"blanks in an option": `alice namespaces="git,task@*",valid-before="20270630Z" ` + key,
		"all options":         `alice CERT-authority,valid-after="202601010000",valid-before="20270101000000Z",Namespaces="*" ` + key,
	} {
		if _, err := signature.ParseAllowed([]byte(content)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, test := range map[string]struct{ content, want string }{
		"nothing":               {"# nobody\n", "no keys"},
		"a principal alone":     {"alice", "line 1: no key"},
		"no principal":          {"# x\n" + key, "line 2: "},
		"another key's blob":    {"alice ssh-rsa " + blob, "invalid key"},
		"no blob":               {"alice ssh-ed25519", "invalid key"},
		"a cut blob":            {"alice " + key[:len(key)-4], "invalid key"},
		"an unknown type":       {"alice ssh-dss " + blob, "invalid option"},
		"an unknown option":     {"alice no-touch-required " + key, `invalid option "no-touch-required"`},
		"a mistyped option":     {`alice valid-befor="20270630Z" ` + key, `invalid option "valid-befor"`},
		"an option twice":       {`alice valid-after="20260101",valid-after="20270101" ` + key, "duplicate option valid-after"},
		"a value for nothing":   {`alice cert-authority="x" ` + key, "invalid option"},
		"no value":              {"alice namespaces " + key, "invalid option"},
		"no quotes":             {"alice namespaces=git " + key, "invalid options"},
		"an open quote":         {`alice namespaces="git ` + key, "invalid options"},
		"text after a quote":    {`alice namespaces="git"x ` + key, "invalid options"},
		"a comma at the end":    {`alice namespaces="git", ` + key, "invalid options"},
		"a comma alone":         {`alice cert-authority, ` + key, "invalid options"},
		"an empty namespace":    {`alice namespaces="" ` + key, "invalid namespaces"},
		"no date":               {`alice valid-before="soon" ` + key, "invalid valid-before"},
		"no such date":          {`alice valid-before="20270631Z" ` + key, "invalid valid-before"},
		"a window that is none": {`alice valid-after="20270101Z",valid-before="20270101Z" ` + key, "must be before"},
		"an empty principal":    {"alice,,bob " + key, "invalid principals"},
		"a quoted principal":    {`"alice" ` + key, "invalid principals"},
		"only excluded":         {"! " + key, "invalid principals"},
		"the second line":       {"alice " + key + "\nbob " + blob, "line 2: "},
	} {
		if _, err := signature.ParseAllowed([]byte(test.content)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// TestAllowedLikeOpenSSH compares whose signatures count with what ssh-keygen says.
func TestAllowedLikeOpenSSH(t *testing.T) {
	t.Parallel()
	alice, bob, authority := newSigner(t), newSigner(t), newSigner(t)
	key, ca := public(alice.PublicKey()), public(authority.PublicKey())
	certified := certSigner(t, certify(t, authority, alice.PublicKey(), nil, "alice@ops", "root"), alice)
	ended := certSigner(t, certify(t, authority, alice.PublicKey(), func(c *ssh.Certificate) {
		c.ValidBefore = uint64(statement.Issued - 60)
	}, "alice@ops"), alice)
	host := certSigner(t, certify(t, authority, alice.PublicKey(), func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, "alice@ops"), alice)
	nobody := certSigner(t, certify(t, authority, alice.PublicKey(), nil), alice)
	stranger := certSigner(t, certify(t, bob, alice.PublicKey(), nil, "alice@ops"), alice)
	day := func(shift time.Duration) string { return issued.Add(shift).UTC().Format("20060102150405Z") }
	for name, test := range map[string]struct {
		file      string
		signer    ssh.Signer
		principal string
		want      bool
		why       string // the error, if nobody may sign with the key
	}{
		"a key":                 {"alice " + key, alice, "alice", true, ""},
		"another's name":        {"alice " + key, alice, "bob", false, ""},
		"another's key":         {"alice " + key, bob, "alice", false, "unknown key SHA256:"},
		"one of several":        {"bob,alice " + key, alice, "alice", true, ""},
		"a pattern":             {"*@ops " + key, alice, "alice@ops", true, ""},
		"another pattern":       {"*@ops " + key, alice, "alice@dev", false, ""},
		"one character":         {"a?ice " + key, alice, "alice", true, ""},
		"excluded":              {"*,!alice " + key, alice, "alice", false, ""},
		"not excluded":          {"*,!alice " + key, alice, "bob", true, ""},
		"the namespace":         {`alice namespaces="task@tasker" ` + key, alice, "alice", true, ""},
		"a pattern of it":       {`alice namespaces="git,task@*" ` + key, alice, "alice", true, ""},
		"another namespace":     {`alice namespaces="git" ` + key, alice, "alice", false, "alice's key SHA256:"},
		"it has begun":          {`alice valid-after="` + day(-time.Hour) + `" ` + key, alice, "alice", true, ""},
		"it begins now":         {`alice valid-after="` + day(0) + `" ` + key, alice, "alice", true, ""},
		"it has not begun":      {`alice valid-after="` + day(time.Second) + `" ` + key, alice, "alice", false, "alice's key begins on 2026-12-01"},
		"it ends":               {`alice valid-before="` + day(time.Hour) + `" ` + key, alice, "alice", true, ""},
		"it ends now":           {`alice valid-before="` + day(0) + `" ` + key, alice, "alice", true, ""},
		"it has ended":          {`alice valid-before="` + day(-time.Second) + `" ` + key, alice, "alice", false, "alice's key ended on 2026-11-30"},
		"it has ended, by day":  {`alice valid-before="20261130Z" ` + key, alice, "alice", false, "alice's key ended on 2026-11-30"},
		"a second line":         {"bob " + public(bob.PublicKey()) + "\nalice " + key, alice, "alice", true, ""},
		"a line that has ended": {`alice valid-before="20260101Z" ` + key + "\nalice " + key, alice, "alice", true, ""},

		"an authority":           {"*@ops cert-authority " + ca, certified, "alice@ops", true, ""},
		"not for that principal": {"*@ops cert-authority " + ca, certified, "root", false, ""},
		"not in the certificate": {"*@ops cert-authority " + ca, certified, "bob@ops", false, ""},
		"not its principals":     {"*@dev cert-authority " + ca, certified, "alice@ops", false, "certificate"},
		"a certificate's end":    {"*@ops cert-authority " + ca, ended, "alice@ops", false, "certificate"},
		"a host's":               {"*@ops cert-authority " + ca, host, "alice@ops", false, "certificate"},
		"for nobody":             {"*@ops cert-authority " + ca, nobody, "alice@ops", false, "certificate"},
		"a stranger's":           {"*@ops cert-authority " + ca, stranger, "alice@ops", false, "unknown key"},
		"an authority itself":    {"*@ops cert-authority " + ca, authority, "alice@ops", false, "unknown key"},
		"no authority":           {"alice@ops " + ca, certified, "alice@ops", false, "unknown key"},
		"its key, in a line":     {"alice@ops " + key, certified, "alice@ops", false, "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text, err := signature.Sign(test.signer, statement)
			if err != nil {
				t.Fatal(err)
			}
			signers, err := allowed(t, test.file).Find(parse(t, text), issued)
			got := slices.ContainsFunc(signers, func(s signature.Signer) bool { return s.Is(test.principal) })
			if got != test.want {
				t.Errorf("got %v of %v, want %v", got, signers, test.want)
			}
			if test.why == "" && err != nil || test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)) {
				t.Errorf("got %v, want %q", err, test.why)
			}
			write(t, dir+"/allowed", test.file+"\n")
			write(t, dir+"/sig", text)
			theirs, out := keygen(t, string(statement.Text()), "-Y", "verify", "-f", dir+"/allowed", "-I", test.principal, "-n", "task@tasker",
				"-s", dir+"/sig", "-Overify-time="+day(0))
			if theirs != test.want {
				t.Errorf("ssh-keygen says %v, want %v: %s", theirs, test.want, out)
			}
			finds, out := keygen(t, "", "-Y", "find-principals", "-f", dir+"/allowed", "-n", "task@tasker", "-s", dir+"/sig",
				"-Overify-time="+day(0))
			if finds != (err == nil) && !strings.Contains(test.file, "namespaces") { // which find-principals does not look at
				t.Errorf("ssh-keygen finds %v, and here the error is %v: %s", finds, err, out)
			}
		})
	}
}

// A certificate that is limited to addresses says nothing about who signed.
func TestLimitedCertificate(t *testing.T) {
	t.Parallel()
	alice, authority := newSigner(t), newSigner(t)
	for _, option := range []string{"source-address", "force-command"} {
		cert := certify(t, authority, alice.PublicKey(), func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{option: "10.0.0.0/8"}
		}, "alice")
		a := allowed(t, "alice cert-authority "+public(authority.PublicKey()))
		if signers, err := a.Find(sign(t, certSigner(t, cert, alice), statement), issued); err == nil {
			t.Errorf("%s: got %v", option, signers)
		}
	}
}

func TestPermits(t *testing.T) {
	t.Parallel()
	key := newSigner(t)
	signer := func(principals string) signature.Signer {
		signers, err := allowed(t, principals+" "+public(key.PublicKey())).Find(sign(t, key, statement), issued)
		if err != nil {
			t.Fatal(err)
		}
		return signers[0]
	}
	alice := signer("alice")
	for name, test := range map[string]struct {
		rules    string // separated by ;
		signer   signature.Signer
		endpoint string
		want     bool
	}{
		"no rules":              {"", alice, "db1", true},
		"named":                 {"bob;alice", alice, "db1", true},
		"not named":             {"bob", alice, "db1", false},
		"a part of the name":    {"alic", alice, "db1", false},
		"a pattern":             {"al*", alice, "db1", true},
		"at this endpoint":      {"alice at db*,web1", alice, "db1", true},
		"at another":            {"alice at db*,web1", alice, "web2", false},
		"excluded there":        {"alice at *,!db1", alice, "db1", false},
		"by another rule":       {"alice at db*;alice at web2", alice, "web2", true},
		"excluded":              {"*,!alice", alice, "db1", false},
		"one that is no rule":   {"alice at", alice, "db1", false},
		"one of several":        {"bob", signer("alice,bob"), "db1", true},
		"a key of a pattern":    {"alice@ops", signer("*@ops"), "db1", true},
		"a key of another one":  {"alice@dev", signer("*@ops"), "db1", false},
		"patterns of both":      {"*@ops", signer("*@ops"), "db1", false},
		"a key excluded for it": {"alice", signer("*,!alice"), "db1", false},
	} {
		var rules []string
		if test.rules != "" {
			rules = strings.Split(test.rules, ";")
		}
		if got := signature.Permits(rules, test.signer, test.endpoint); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for _, text := range []string{"", "alice bob", "alice at ", "al,,ice", `"alice"`, "alice at db1 at db2"} {
		if _, err := signature.ParseRule(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzParseAllowed(f *testing.F) {
	key := public(newSigner(f).PublicKey())
	for _, line := range []string{
		"alice " + key, `alice,*@x namespaces="git,task@tasker",valid-after="20260101" ` + key + " comment",
		`* cert-authority,valid-before="20270101000000Z" ` + key, "# x\n\n", `a namespaces="\"" ` + key,
	} {
		f.Add([]byte(line))
	}
	p := sign(f, newSigner(f), statement)
	f.Fuzz(func(t *testing.T, content []byte) {
		a, err := signature.ParseAllowed(content)
		if err != nil {
			return
		}
		if signers, err := a.Find(p, issued); err == nil {
			t.Errorf("a key that nobody has is %v's", signers)
		}
	})
}
