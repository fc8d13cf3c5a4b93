package tasker

import (
	"strings"
	"time"
)

const (
	// MaxSignatureValidity bounds how long after it was issued a signature may expire.
	MaxSignatureValidity = 30 * 24 * time.Hour
	// MaxSignedTargets bounds the names of the endpoints that a signed task lists, in
	// bytes, since each of these endpoints reads all of them.
	MaxSignedTargets = 16 << 10
	// AllTargets are the targets of a task that lists no endpoints.
	AllTargets = "*"
)

// Signature is the signature of a task by the person who wants it done. Endpoints check
// it before they call a handler, by keys in files of their own. Its JSON is what a task
// shows of it.
type Signature struct {
	// UID is made by the signer, and no two tasks have the same: an endpoint remembers
	// what it has run by it.
	UID string `json:"uid"`
	// Issued and Expires are seconds since 1970, as they were signed. No attempt begins
	// after Expires.
	Issued  int64 `json:"issued"`
	Expires int64 `json:"expires"`
	// Key is the fingerprint of the key, as ssh-keygen -l shows it.
	Key string `json:"key,omitempty"`
	// Targets are the endpoints for which the task was signed: see [SignedTargets].
	Targets string `json:"-"`
	// SSHSig is the signature itself, as ssh-keygen -Y sign writes it.
	SSHSig string `json:"-"`
}

// SignedTargets returns the targets of a task as they are signed: the names of the
// endpoints that it lists, which are sorted, joined by commas, or [AllTargets].
func SignedTargets(endpoints []string) string {
	if len(endpoints) == 0 {
		return AllTargets
	}
	return strings.Join(endpoints, ",")
}

// Time returns when the task was signed.
func (s *Signature) Time() time.Time { return time.Unix(s.Issued, 0).UTC() }

// Until returns when the signature expires.
func (s *Signature) Until() time.Time { return time.Unix(s.Expires, 0).UTC() }

// For reports whether the task was signed for an endpoint.
func (s *Signature) For(endpoint string) bool {
	if s.Targets == AllTargets {
		return true
	}
	for name := range strings.SplitSeq(s.Targets, ",") {
		if name == endpoint {
			return true
		}
	}
	return false
}
