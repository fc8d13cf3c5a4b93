// Package signature signs tasks with the SSH keys that people have, and verifies that:
// in the format of ssh-keygen -Y, for the namespace task@tasker, against a file of
// allowed signers in OpenSSH's form. What is signed are lines of text, so that everybody
// can check them by hand with ssh-keygen.
package signature

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/taskerhq/tasker"
)

const (
	// Namespace keeps signatures of other things, such as commits, from being
	// signatures of tasks.
	Namespace = "task@tasker"
	// MaxSize bounds a signature, in bytes of its text.
	MaxSize = 16 << 10
	// MaxSkew is how far ahead the clock of a signer may be.
	MaxSkew = 5 * time.Minute
	// header names the form of the lines.
	header = "tasker-task-v1"
)

// Statement is what is signed about a task.
type Statement struct {
	UID, Type, Identifier string
	Issued, Expires       int64  // seconds since 1970
	Targets               string // see [tasker.SignedTargets]
	PayloadSHA256         string // of the payload's bytes, in lower-case hexadecimal
}

// Of returns what is signed about a task with a signature.
func Of(task *tasker.Task, payloadSHA256 string) Statement {
	s := task.Signature
	return Statement{
		UID: s.UID, Type: task.Type, Identifier: task.Identifier, Issued: s.Issued, Expires: s.Expires, Targets: s.Targets,
		PayloadSHA256: payloadSHA256,
	}
}

// Text returns the lines that are signed. No field contains a line feed.
func (s Statement) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s\n%s\n%s\n%d\n%d\n%s\n%s\n",
		header, s.UID, s.Type, s.Identifier, s.Issued, s.Expires, s.Targets, s.PayloadSHA256)
	return b.Bytes()
}

// NewUID returns a new UID.
func NewUID() string { return ulid.Make().String() }

// CheckForm checks what can be seen of a signature alone. The error is a
// [tasker.Invalid] with the field.
func CheckForm(s *tasker.Signature) error {
	const most = int64(tasker.MaxSignatureValidity / time.Second)
	_, err := ulid.ParseStrict(s.UID)
	switch {
	case err != nil || strings.ToUpper(s.UID) != s.UID:
		return tasker.FieldErrorf("/uid", "invalid uid: must be a ULID of 26 characters, new for each task, such as %s", exampleUID)
	case s.Issued <= 0:
		return tasker.FieldErrorf("/issued", "invalid issued: must be the time in seconds since 1970")
	case s.Expires <= s.Issued:
		return tasker.FieldErrorf("/expires", "invalid expires: must be later than issued")
	case s.Expires-s.Issued > most:
		return tasker.FieldErrorf("/expires", "invalid expires: must be at most 30 days after issued")
	}
	if _, err := Parse(s.SSHSig); err != nil {
		return tasker.FieldErrorf("/sshsig", "invalid sshsig: %v", err)
	}
	return nil
}

const exampleUID = "01KBTJ5A3V0Q4S9T8C7M6N5P4R"

// Parsed is a signature that was read, and not verified yet.
type Parsed struct{ sig *sshsig.Signature }

var (
	errForm = errors.New("must be what ssh-keygen -Y sign writes: -----BEGIN SSH SIGNATURE----- and the rest of it")
	errSHA1 = errors.New("made with SHA-1: sign with rsa-sha2-512, as ssh-keygen -Y sign does")
)

// Parse reads a signature, and nothing but that.
func Parse(text string) (Parsed, error) {
	if len(text) > MaxSize {
		return Parsed{}, fmt.Errorf("too large: the limit is %d bytes", MaxSize)
	}
	text = strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n") + "\n"
	block, rest := pem.Decode([]byte(text))
	if !strings.HasPrefix(text, "-----BEGIN "+sshsig.PEMType+"-----\n") || block == nil ||
		block.Type != sshsig.PEMType || len(block.Headers) > 0 || len(rest) > 0 {
		return Parsed{}, errForm
	}
	sig, err := sshsig.ParseSignature(block.Bytes)
	if err != nil {
		return Parsed{}, errForm
	}
	if plain(sig.PublicKey).Type() == ssh.KeyAlgoRSA && sig.Signature.Format == ssh.KeyAlgoRSA {
		return Parsed{}, errSHA1
	}
	return Parsed{sig}, nil
}

// plain returns the key of a certificate, and any other key itself.
func plain(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// Fingerprint returns the fingerprint of the key, as ssh-keygen -l shows it.
func (p Parsed) Fingerprint() string { return ssh.FingerprintSHA256(plain(p.sig.PublicKey)) }

// ErrOtherText is the error of a signature that is not one of the text, or not for tasks.
var ErrOtherText = errors.New("not a signature of these lines for " + Namespace)

// Verify returns nil if the holder of the key signed the statement. Whether the key may
// be trusted is not looked at.
func (p Parsed) Verify(s Statement) error {
	if sshsig.Verify(bytes.NewReader(s.Text()), p.sig, p.sig.PublicKey, p.sig.HashAlgorithm, Namespace) != nil {
		return ErrOtherText
	}
	return nil
}

// Sign signs a statement.
func Sign(signer ssh.Signer, s Statement) (string, error) {
	key := signer.PublicKey()
	if _, isCert := key.(*ssh.Certificate); isCert && plain(key).Type() == ssh.KeyAlgoRSA {
		if able, ok := signer.(ssh.AlgorithmSigner); ok {
			signer = sha512Signer{able}
		}
	}
	sig, err := sshsig.Sign(bytes.NewReader(s.Text()), signer, sshsig.HashSHA512, Namespace)
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", ssh.FingerprintSHA256(plain(key)), err)
	}
	return string(sshsig.Armor(sig)), nil
}

// sha512Signer signs with the certificate of an RSA key as with the key itself, and not
// with SHA-1.
type sha512Signer struct{ ssh.AlgorithmSigner }

// Sign implements [ssh.Signer].
func (s sha512Signer) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, ssh.KeyAlgoRSASHA512)
}
