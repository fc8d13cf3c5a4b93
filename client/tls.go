package client

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/x/tlsfault"
)

// WithTLS sets the configuration of connections to an https URL: the authorities of the
// API's certificate (RootCAs), where those of the system do not include them, and the
// client's own certificate (Certificates), where the API requires one. It replaces
// [WithRoundTripper], and is replaced by it: the last one counts.
func WithTLS(conf *tls.Config) Option {
	return func(t *transport) {
		network := http.DefaultTransport.(*http.Transport).Clone()
		network.TLSClientConfig = conf.Clone()
		t.http.Transport = network
	}
}

// unreachable is the error of a request that got no answer. A server that does not speak
// the protocol of the URL is no outage: the URL is wrong.
func (t *transport) unreachable(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	at := t.base.String()
	if errors.Is(err, http.ErrSchemeMismatch) {
		return tasker.Errorf(tasker.Invalid, "invalid API URL %s: the server speaks no TLS: use http://", at)
	}
	if why := refusedCertificate(err); why != "" {
		return tasker.WrapError(tasker.Unavailable, err, "no secure connection to the API at "+at+": "+why)
	}
	return tasker.WrapError(tasker.Unavailable, err, "cannot reach the API at "+at+": check that it runs, and that the address is right")
}

// refusedCertificate returns what to do about a certificate that one of both sides
// refuses; empty if the error is about something else.
func refusedCertificate(err error) string {
	switch tlsfault.Of(err) {
	case tlsfault.UnknownAuthority:
		return "its certificate is signed by an unknown authority: give the file with the certificate of its authority (--ca, " +
			"TASKER_API_CA)"
	case tlsfault.WrongName:
		return "its certificate is for another name: use one of the names in it"
	case tlsfault.Expired, tlsfault.Unverified:
		return "its certificate is refused"
	case tlsfault.CertificateMissing:
		return "it requires a client certificate: give its file and that of its key " +
			"(--cert and --key, TASKER_API_CERT and TASKER_API_CERT_KEY)"
	case tlsfault.CertificateRefused:
		return "it refuses the client certificate"
	}
	return ""
}

// clearTextRefusals are what servers that speak TLS answer in clear text.
var clearTextRefusals = [][]byte{
	[]byte("Client sent an HTTP request to an HTTPS server"),    // Go, and so tasker
	[]byte("The plain HTTP request was sent to HTTPS port"),     // nginx
	[]byte("speaking plain HTTP to an SSL-enabled server port"), // Apache
}

// speaksTLS reports whether a response says that the server speaks TLS.
func (t *transport) speaksTLS(response *http.Response) bool {
	if t.base.Scheme == "https" || response.StatusCode != http.StatusBadRequest || isProblem(response) {
		return false
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	for _, text := range clearTextRefusals {
		if bytes.Contains(body, text) {
			return true
		}
	}
	return false
}
