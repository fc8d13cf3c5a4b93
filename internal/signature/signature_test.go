package signature_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/signature"
)

var statement = signature.Statement{
	UID: "01KBTJ5A3V0Q4S9T8C7M6N5P4R", Type: "deploy", Identifier: "dep-7", Issued: 1796083200, Expires: 1796086800,
	Targets: "web1,web2", PayloadSHA256: "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
}

// issued is when the statement was.
var issued = time.Unix(statement.Issued, 0)

// keyOf returns a new key of a kind.
func keyOf(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil || key == nil {
		t.Fatal(kind, err)
	}
	return key
}

func signerOf(t testing.TB, key crypto.Signer) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newSigner(t testing.TB) ssh.Signer { return signerOf(t, keyOf(t, "ed25519")) }

// public returns the line of a key, such as "ssh-ed25519 AAAA...".
func public(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func sign(t testing.TB, signer ssh.Signer, s signature.Statement) signature.Parsed {
	t.Helper()
	text, err := signature.Sign(signer, s)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func parse(t testing.TB, text string) signature.Parsed {
	t.Helper()
	p, err := signature.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allowed(t testing.TB, content string) *signature.Allowed {
	t.Helper()
	a, err := signature.ParseAllowed([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The lines are a contract: people sign them with other programs.
func TestText(t *testing.T) {
	t.Parallel()
	const want = "tasker-task-v1\n01KBTJ5A3V0Q4S9T8C7M6N5P4R\ndeploy\ndep-7\n1796083200\n1796086800\nweb1,web2\n" +
		"74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b\n"
	if got := string(statement.Text()); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// Each kind of key signs, itself and through ssh-agent, and nothing but what it signed
// verifies.
func TestVerify(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		key := keyOf(t, kind)
		ring := agent.NewKeyring()
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
		signers, err := ring.Signers()
		if err != nil {
			t.Fatal(err)
		}
		for _, signer := range append(signers, signerOf(t, key)) {
			p := sign(t, signer, statement)
			if err := p.Verify(statement); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			if got, want := p.Fingerprint(), ssh.FingerprintSHA256(signer.PublicKey()); got != want {
				t.Errorf("%s: got %s, want %s", kind, got, want)
			}
			for name, change := range map[string]func(s *signature.Statement){
				"uid":        func(s *signature.Statement) { s.UID = "01KBTJ5A3V0Q4S9T8C7M6N5P4S" },
				"type":       func(s *signature.Statement) { s.Type = "backup" },
				"identifier": func(s *signature.Statement) { s.Identifier += "1" },
				"issued":     func(s *signature.Statement) { s.Issued++ },
				"expires":    func(s *signature.Statement) { s.Expires++ },
				"targets":    func(s *signature.Statement) { s.Targets = tasker.AllTargets },
				"payload":    func(s *signature.Statement) { s.PayloadSHA256 = strings.Repeat("0", 64) },
			} {
				other := statement
				change(&other)
				if err := p.Verify(other); !errors.Is(err, signature.ErrOtherText) {
					t.Errorf("%s: another %s: got %v", kind, name, err)
				}
			}
		}
	}
}

// A signature of the same lines for another purpose is none.
func TestNamespace(t *testing.T) {
	t.Parallel()
	sig, err := sshsig.Sign(strings.NewReader(string(statement.Text())), newSigner(t), sshsig.HashSHA512, "git")
	if err != nil {
		t.Fatal(err)
	}
	if err := parse(t, string(sshsig.Armor(sig))).Verify(statement); !errors.Is(err, signature.ErrOtherText) {
		t.Errorf("got %v", err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	good, err := signature.Sign(newSigner(t), statement)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(good))
	other := *block
	other.Type = "PRIVATE KEY"
	headed := *block
	headed.Headers = map[string]string{"a": "b"}
	cut := *block
	cut.Bytes = cut.Bytes[:len(cut.Bytes)-1]
	for name, text := range map[string]string{
		"empty":          "",
		"no PEM":         "U1NIU0lH",
		"another type":   string(pem.EncodeToMemory(&other)),
		"headers":        string(pem.EncodeToMemory(&headed)),
		"cut":            string(pem.EncodeToMemory(&cut)),
		"text before":    "see:\n" + good,
		"text after":     good + "bye\n",
		"two signatures": good + good,
		"large":          good + strings.Repeat("\n", signature.MaxSize),
	} {
		if _, err := signature.Parse(text); err == nil || len(text) > 100 && strings.Contains(err.Error(), text[40:60]) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"as it is": good, "with blanks around": "\n" + good + "\n", "of Windows": strings.ReplaceAll(good, "\n", "\r\n"),
		"without its last line feed": strings.TrimSpace(good),
	} {
		if err := parse(t, text).Verify(statement); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// SHA-1 signs nothing, also not with the certificate of an RSA key.
func TestSHA1(t *testing.T) {
	t.Parallel()
	key := signerOf(t, keyOf(t, "rsa"))
	cert := certify(t, newSigner(t), key.PublicKey(), nil)
	certified, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, certified, statement)
	if err := good.Verify(statement); err != nil {
		t.Error(err)
	}
	for _, signer := range []ssh.Signer{key, certified} {
		sig, err := sshsig.Sign(strings.NewReader(string(statement.Text())), sha1Signer{signer.(ssh.AlgorithmSigner)}, sshsig.HashSHA512,
			signature.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signature.Parse(string(sshsig.Armor(sig))); err == nil {
			t.Errorf("%s with SHA-1 is accepted", signer.PublicKey().Type())
		}
	}
}

type sha1Signer struct{ ssh.AlgorithmSigner }

func (s sha1Signer) SignWithAlgorithm(random io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	return s.AlgorithmSigner.SignWithAlgorithm(random, data, ssh.KeyAlgoRSA)
}

func (s sha1Signer) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

func TestCheckForm(t *testing.T) {
	t.Parallel()
	text, err := signature.Sign(newSigner(t), statement)
	if err != nil {
		t.Fatal(err)
	}
	good := tasker.Signature{UID: statement.UID, Issued: statement.Issued, Expires: statement.Expires, SSHSig: text}
	if err := signature.CheckForm(&good); err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		change func(s *tasker.Signature)
		field  string
	}{
		"no uid":          {func(s *tasker.Signature) { s.UID = "" }, "/uid"},
		"a lower-case":    {func(s *tasker.Signature) { s.UID = strings.ToLower(s.UID) }, "/uid"},
		"a path":          {func(s *tasker.Signature) { s.UID = "../../../../etc/passwd0000" }, "/uid"},
		"never issued":    {func(s *tasker.Signature) { s.Issued = 0 }, "/issued"},
		"ends at once":    {func(s *tasker.Signature) { s.Expires = s.Issued }, "/expires"},
		"ends too late":   {func(s *tasker.Signature) { s.Expires = s.Issued + 30*24*3600 + 1 }, "/expires"},
		"ends in an age":  {func(s *tasker.Signature) { s.Expires = 1<<63 - 1 }, "/expires"},
		"no signature":    {func(s *tasker.Signature) { s.SSHSig = "" }, "/sshsig"},
		"another's shape": {func(s *tasker.Signature) { s.SSHSig = "x" }, "/sshsig"},
	} {
		bad := good
		test.change(&bad)
		wrong, ok := errors.AsType[*tasker.Error](signature.CheckForm(&bad))
		if !ok || wrong.Field != test.field || wrong.Code != tasker.Invalid {
			t.Errorf("%s: got %v", name, wrong)
		}
	}
	longest := good
	longest.Expires = good.Issued + 30*24*3600
	if err := signature.CheckForm(&longest); err != nil {
		t.Error(err)
	}
}

// keygen runs ssh-keygen, and returns whether it succeeded, and its output.
func keygen(t testing.TB, stdin string, args ...string) (ok bool, out string) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen not found: install openssh-client")
	}
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	text, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return err == nil, string(text)
}

// What this package signs is good to ssh-keygen, and the reverse.
func TestSSHKeygen(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		key := keyOf(t, kind)
		signer := signerOf(t, key)
		dir := t.TempDir()
		text, err := signature.Sign(signer, statement)
		if err != nil {
			t.Fatal(err)
		}
		private, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/key", string(pem.EncodeToMemory(private)))
		write(t, dir+"/sig", text)
		write(t, dir+"/allowed", "alice "+public(signer.PublicKey())+"\n")
		ok, out := keygen(t, string(statement.Text()), "-Y", "verify", "-f", dir+"/allowed", "-I", "alice", "-n", "task@tasker",
			"-s", dir+"/sig")
		if !ok {
			t.Errorf("%s: ssh-keygen refuses the signature: %s", kind, out)
		}
		write(t, dir+"/text", string(statement.Text()))
		if ok, out := keygen(t, "", "-Y", "sign", "-f", dir+"/key", "-n", "task@tasker", dir+"/text"); !ok {
			t.Fatal(out)
		}
		theirs, err := os.ReadFile(dir + "/text.sig")
		if err != nil {
			t.Fatal(err)
		}
		p := parse(t, string(theirs))
		if err := p.Verify(statement); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if signers, err := allowed(t, "alice "+public(signer.PublicKey())).Find(p, issued); err != nil || signers[0].Name != "alice" {
			t.Errorf("%s: got %v, %v", kind, signers, err)
		}
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Clean(path), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	good, err := signature.Sign(newSigner(f), statement)
	if err != nil {
		f.Fatal(err)
	}
	fingerprint := parse(f, good).Fingerprint()
	block, _ := pem.Decode([]byte(good))
	f.Add(block.Bytes)
	f.Add([]byte("SSHSIG"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		text := string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}))
		p, err := signature.Parse(text)
		if err != nil {
			return
		}
		other := statement
		other.Identifier = "dep-8"
		if p.Verify(other) == nil && p.Fingerprint() == fingerprint {
			t.Errorf("a signature of other lines: %q", blob)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	signer := newSigner(b)
	for b.Loop() {
		sign(b, signer, statement)
	}
}

func BenchmarkVerify(b *testing.B) {
	text, err := signature.Sign(newSigner(b), statement)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := parse(b, text).Verify(statement); err != nil {
			b.Fatal(err)
		}
	}
}
