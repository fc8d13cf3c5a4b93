package config

import (
	"slices"
	"time"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

const (
	apiCertKey     = "api.tls.cert_file"
	apiKeyKey      = "api.tls.key_file"
	apiClientCAKey = "api.tls.client_ca_file"
)

// tlsKeys are those of the API's certificate.
func tlsKeys(d *draft) []key {
	t := &d.API.TLS
	return []key{
		{
			apiCertKey, forAPI, "file with the API's certificate and its chain (PEM), read again when it changes; " +
				"without one the API speaks clear text",
			text(&t.CertFile),
		},
		{apiKeyKey, forAPI, "file with its private key (PEM), read again when it changes", text(&t.KeyFile)},
		{
			apiClientCAKey, forAPI, "file with the certificates (PEM) of authorities, read again when it changes: " +
				"every client, probes and browsers too, must have a certificate from one of them",
			text(&t.ClientCAFile),
		},
	}
}

// Certificate is that of a server, or tasker's own at a server, as it was when the
// configuration was read.
type Certificate struct {
	Key, File  string // where it was set, and the path
	Begin, End time.Time
}

// Certificates returns those of the API and of the gateway, and those that the
// database and RabbitMQ are shown, as far as there are any and the command uses them.
func (c Config) Certificates() []Certificate { return slices.Clone(c.certificates) }

// certificate checks a certificate and its private key.
func (c *checker) certificate(certKey, certFile, keyKey, keyFile string) {
	switch {
	case certFile == "" && keyFile == "":
	case keyFile == "":
		c.missing(keyKey, "the file with the private key of "+certKey)
	case certFile == "":
		c.missing(certKey, "the file with the certificate of "+keyKey)
	default:
		pair, err := certfile.Load(certFile, keyFile)
		if err != nil {
			c.invalid(certKey, "%v", err)
			return
		}
		c.certificates = append(c.certificates, Certificate{certKey, certFile, pair.Leaf.NotBefore, pair.Leaf.NotAfter})
	}
}

// checkTLS checks the files of the API's certificate, and of its clients'.
func (c *checker) checkTLS() {
	t := &c.API.TLS
	t.CertFile, t.KeyFile = c.path(apiCertKey, t.CertFile), c.path(apiKeyKey, t.KeyFile)
	t.ClientCAFile = c.path(apiClientCAKey, t.ClientCAFile)
	c.certificate(apiCertKey, t.CertFile, apiKeyKey, t.KeyFile)
	switch {
	case t.ClientCAFile == "":
	case t.CertFile == "" && t.KeyFile == "":
		c.invalid(apiClientCAKey, "clients show no certificate in clear text: set %s and %s", apiCertKey, apiKeyKey)
	default:
		if _, err := certfile.Pool(t.ClientCAFile); err != nil {
			c.invalid(apiClientCAKey, "%v", err)
		}
	}
}

// warnOfCertificates warns of certificates that the other side refuses, or will soon.
func (w *warner) warnOfCertificates(now time.Time) {
	refuse := map[string]string{
		apiCertKey: "clients refuse", gatewayCertKey: "endpoints refuse",
		databaseTLS + ".cert_file": "the database refuses", brokerTLS + ".cert_file": "RabbitMQ refuses",
	}
	for _, c := range w.certificates {
		switch left := c.End.Sub(now); {
		case left <= 0:
			w.warn(c.Key, "%s ended at %s: %s it: renew it", c.File, c.End.Format(time.RFC3339), refuse[c.Key])
		case now.Before(c.Begin):
			w.warn(c.Key, "%s begins at %s: %s it until then, or this machine's clock is wrong",
				c.File, c.Begin.Format(time.RFC3339), refuse[c.Key])
		case left < 7*day:
			w.warn(c.Key, "%s ends at %s: renew it", c.File, c.End.Format(time.RFC3339))
		}
	}
}
