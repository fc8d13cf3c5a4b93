// Package tlsfault tells apart why a connection with TLS failed, as its client sees
// it.
package tlsfault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// Fault is why a connection failed.
type Fault int

// The faults. A server may refuse a client without saying why.
const (
	Other              Fault = iota // another reason, or an unknown one
	NoTLS                           // the server does not speak TLS
	UnknownAuthority                // the server's certificate is signed by an authority that is not trusted
	WrongName                       // the server's certificate is for other names
	Expired                         // the server's certificate has ended, or has not begun yet
	Unverified                      // the server's certificate cannot be used for another reason
	CertificateMissing              // the server requires a certificate of the client
	CertificateRefused              // the server refuses the client's certificate
)

// Of returns why a connection failed with err.
func Of(err error) Fault {
	if err == nil {
		return Other
	}
	if errors.As(err, new(tls.RecordHeaderError)) {
		return NoTLS
	}
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return UnknownAuthority
	}
	if errors.As(err, new(x509.HostnameError)) {
		return WrongName
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return Expired
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return Unverified
	}
	// What the server says of the client's has no type, and some libraries keep the text
	// alone.
	switch text := err.Error(); {
	case strings.Contains(text, "tls: certificate required"):
		return CertificateMissing
	case strings.Contains(text, "remote error: tls: ") && strings.Contains(text, "certificate"):
		return CertificateRefused
	}
	return Other
}
