package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/testcerts"
)

func TestAPITLS(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "api", time.Now().Add(100*24*time.Hour))
	_, otherKey := ca.Issue(t, "other", time.Now().Add(time.Hour))
	pair := "cert_file: " + certFile + ", key_file: " + keyFile
	for name, test := range map[string]struct {
		keys    string
		without config.Part
		want    string // empty if it is valid
	}{
		"a certificate":              {pair, ofAPI, ""},
		"clients' too":               {pair + ", client_ca_file: " + ca.File, ofAPI, ""},
		"no key":                     {"cert_file: " + certFile, ofAPI, "missing api.tls.key_file"},
		"no certificate":             {"key_file: " + keyFile, ofAPI, "missing api.tls.cert_file"},
		"another's key":              {"cert_file: " + certFile + ", key_file: " + otherKey, ofAPI, "invalid api.tls.cert_file: "},
		"no such file":               {"cert_file: none, key_file: " + keyFile, ofAPI, "none does not exist"},
		"clients' in clear text":     {"client_ca_file: " + ca.File, ofAPI, "clients show no certificate in clear text: set api.tls.cert_file and api.tls.key_file"},
		"a key for clients'":         {pair + ", client_ca_file: " + keyFile, ofAPI, "invalid api.tls.client_ca_file: "},
		"no file of clients'":        {pair + ", client_ca_file: none", ofAPI, "none does not exist"},
		"not of the manager":         {"cert_file: none", ofManager | config.PartAPI, ""},
		"a key that is not known":    {"cert_fil: x", ofAPI, `unknown key "api.tls.cert_fil": did you mean "api.tls.cert_file"?`},
		"the check looks at it, too": {"cert_file: none, key_file: none", ofCheck, "none does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := loadAs(t.TempDir(), minimal+"api: {tls: {"+test.keys+"}}\n", test.without)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if name == "clients' too" && (!c.API.TLS.On() || c.API.TLS.ClientCAFile != ca.File || len(c.Certificates()) != 1) {
				t.Errorf("%+v, %+v", c.API.TLS, c.Certificates())
			}
		})
	}
}

// Paths of the file are relative to its directory.
func TestAPITLSPaths(t *testing.T) {
	t.Parallel()
	certFile, keyFile := testcerts.New(t).Issue(t, "api", time.Now().Add(100*24*time.Hour))
	c, err := loadAs(filepath.Dir(certFile), minimal+"api: {tls: {cert_file: api.pem, key_file: api.key}}\n", ofAPI)
	if err != nil || c.API.TLS.CertFile != certFile || c.API.TLS.KeyFile != keyFile {
		t.Errorf("%+v, %v", c.API.TLS, err)
	}
}

func TestAPITLSWarnings(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	const (
		open     = "listen: 0.0.0.0, token_file: token"
		insecure = "listen: 0.0.0.0, insecure: true"
	)
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		keys    string
		left    time.Duration // of the certificate; 0 means that there is none
		clients bool
		want    string // what the warnings contain; empty if there are none
	}{
		"clear text":              {open, 0, false, "set api.tls.cert_file and api.tls.key_file, or put a proxy with TLS in front"},
		"TLS":                     {open, 8 * day, false, ""},
		"no token":                {insecure, 8 * day, false, "anybody who can reach 0.0.0.0 may run tasks"},
		"clients' certificates":   {insecure, 8 * day, true, ""},
		"a certificate that ends": {open, day, false, "api.tls.cert_file: FILE ends at"},
		"one that has ended":      {open, -time.Hour, false, "api.tls.cert_file: FILE ended at"},
		"one that has not begun":  {open, 900 * time.Hour, false, "api.tls.cert_file: FILE begins at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, keys, certFile := t.TempDir(), test.keys, ""
			write(t, dir, "token", "0123456789abcdef0123456789abcdef")
			if test.left != 0 {
				var keyFile string
				certFile, keyFile = testcerts.New(t).Issue(t, "api", time.Now().Add(test.left))
				keys += ", tls: {cert_file: " + certFile + ", key_file: " + keyFile
				if test.clients {
					keys += ", client_ca_file: " + ca.File
				}
				keys += "}"
			}
			c, err := loadAs(dir, minimal+"api: {"+keys+"}\n", ofAPI)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(c.Warnings(), "\n")
			want := strings.Replace(test.want, "FILE", certFile, 1)
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
