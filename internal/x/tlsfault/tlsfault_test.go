package tlsfault_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/taskerhq/tasker/internal/x/tlsfault"
)

func TestOf(t *testing.T) {
	t.Parallel()
	refused := func(err error) error {
		return fmt.Errorf("dial: %w", &tls.CertificateVerificationError{Err: err})
	}
	for _, test := range []struct {
		err  error
		want tlsfault.Fault
	}{
		{nil, tlsfault.Other},
		{errors.New("connection refused"), tlsfault.Other},
		{errors.New("remote error: tls: protocol version not supported"), tlsfault.Other},
		{fmt.Errorf("dial: %w", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), tlsfault.NoTLS},
		{refused(x509.UnknownAuthorityError{}), tlsfault.UnknownAuthority},
		{refused(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a"}), tlsfault.WrongName},
		{refused(x509.CertificateInvalidError{Reason: x509.Expired}), tlsfault.Expired},
		{refused(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), tlsfault.Unverified},
		{errors.New(`Exception (501) Reason: "remote error: tls: certificate required"`), tlsfault.CertificateMissing},
		{errors.New("remote error: tls: unknown certificate authority"), tlsfault.CertificateRefused},
		{errors.New("remote error: tls: expired certificate"), tlsfault.CertificateRefused},
	} {
		if got := tlsfault.Of(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}
