package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/taskerhq/tasker/internal/x/tlsfault"
)

// ClientFiles are what a client needs to connect to a server with TLS. Without any it
// trusts the system's authorities, and has no certificate.
type ClientFiles struct {
	Files
	// ServerName is a name in the server's certificate; empty means the host of the
	// server's address.
	ServerName string
}

// Client connects to a server, or to the nodes of one. Its files are read again for
// the next connection when they have changed. Make one with [NewClient]. It is safe
// for concurrent use.
type Client struct {
	files   ClientFiles
	section string
	pair    *Pair
}

// NewClient returns a client with what the files say. section is the part of the
// configuration that names them, such as manager.db.tls, for the log and for errors.
// As long as changed files cannot be used, all of them, what they were before stays.
func NewClient(files ClientFiles, section string, log *slog.Logger) (*Client, error) {
	pair, err := NewPair(files.Files, func(leaf *x509.Certificate, err error) {
		switch {
		case err != nil:
			log.Error("read certificates failed: keeping the previous ones", "section", section, "err", err)
		case leaf != nil:
			log.Info("certificates changed", "section", section, "file", files.Cert, "valid_until", leaf.NotAfter)
		default:
			log.Info("certificates changed", "section", section)
		}
	})
	if err != nil {
		return nil, err
	}
	pair.period = 0 // connections are few, and the next one must have what is there now
	return &Client{files, section, pair}, nil
}

// Handshake returns one for one connection, with what the files say now.
func (c *Client) Handshake() *Handshake {
	return &Handshake{client: c, content: c.pair.look()}
}

// Handshake is that of one connection. It knows afterwards what the server asked for.
type Handshake struct {
	client  *Client
	content content
	asked   atomic.Bool // the server, whose certificate was good, asked for one
}

// Config returns the configuration of the connection, for TLS 1.2 and newer. Its
// ServerName may be empty: then the library sets it to the host.
func (h *Handshake) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    h.content.authorities,
		ServerName: h.client.files.ServerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			h.asked.Store(true)
			if h.content.certificate == nil {
				return new(tls.Certificate), nil // none
			}
			// Even one of an authority that the server does not name: its refusal says more
			// than that none was shown.
			return h.content.certificate, nil
		},
	}
}

// Uncertified reports whether the server asked for a certificate and was shown none.
// Servers may ask for one that they do not require.
func (h *Handshake) Uncertified() bool { return h.asked.Load() && h.content.certificate == nil }

// Explain returns err, which ended the handshake or came right after it, as a
// [*Refusal] if one side refused the other's certificate, or may have, and unchanged
// else. In TLS 1.3 a server refuses a client after the client's side of the handshake,
// and often all that is seen of it is a lost connection: err must not be the server's
// answer to anything that the client sent.
func (h *Handshake) Explain(err error) error {
	if e, ok := errors.AsType[net.Error](err); err == nil || ok && e.Timeout() {
		return err
	}
	if why := h.why(tlsfault.Of(err)); why != "" {
		return &Refusal{why, err}
	}
	return err
}

// why returns what was refused, and what to do.
func (h *Handshake) why(fault tlsfault.Fault) string {
	files, section := h.client.files, h.client.section
	switch fault {
	case tlsfault.UnknownAuthority:
		if files.CA == "" {
			return "the server's certificate is signed by an unknown authority: set " + section +
				".ca_file to the file with the certificate of its authority"
		}
		return "the server's certificate is signed by none of the authorities in " + files.CA + " (" + section +
			".ca_file): add the certificate of its authority"
	case tlsfault.WrongName:
		return "the server's certificate is for another name: use one of its names in the address, or set " + section +
			".server_name to one of them"
	case tlsfault.Expired:
		return "the server's certificate is not valid now: renew it there, or check the clock of this machine"
	case tlsfault.Unverified:
		return "the server's certificate is refused"
	}
	switch {
	case !h.asked.Load():
		return ""
	case h.Uncertified():
		return "the server asks for a client certificate: set " + section + ".cert_file and " + section + ".key_file"
	}
	refuses := "may refuse" // its reason is lost if the client wrote something meanwhile
	if fault == tlsfault.CertificateRefused {
		refuses = "refuses"
	}
	return "the server " + refuses + " the client certificate " + files.Cert + " (" + section +
		".cert_file): take a valid one of an authority that the server trusts"
}

// Refusal is a connection that both sides do not agree on: one refuses the other's
// certificate, or has no TLS.
type Refusal struct {
	why string
	err error
}

// NewRefusal returns a refusal with what is wrong, and what to do about it.
func NewRefusal(err error, format string, args ...any) *Refusal {
	return &Refusal{fmt.Sprintf(format, args...), err}
}

// Error says what was refused, what to do, and what the library said.
func (r *Refusal) Error() string { return r.why + ": " + r.err.Error() }

// Unwrap returns what the library said.
func (r *Refusal) Unwrap() error { return r.err }
