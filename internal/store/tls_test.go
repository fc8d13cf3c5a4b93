package store_test

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// securedDatabase is a MariaDB with TLS, whose user needs a certificate.
type securedDatabase struct {
	uri                         string // with TLS
	do                          func(statements ...string)
	servers, clients, strangers *testcerts.Authority
	// cert, key and ca are the files of the server, which FLUSH SSL has it read again.
	cert, key, ca string
	until         time.Time
}

const secretPassword = "hunter2"

func newSecuredDatabase(t *testing.T) *securedDatabase {
	t.Helper()
	dir := t.TempDir()
	d := &securedDatabase{
		servers: testcerts.New(t), clients: testcerts.New(t), strangers: testcerts.New(t), until: time.Now().Add(time.Hour),
		cert: filepath.Join(dir, "server.pem"), key: filepath.Join(dir, "server.key"), ca: filepath.Join(dir, "clients.pem"),
	}
	cert, key := d.servers.Issue(t, "server", d.until)
	testcerts.Copy(t, cert, d.cert, key, d.key, d.clients.File, d.ca)
	f, do := ownServer(t, "ssl_cert = "+d.cert, "ssl_key = "+d.key, "ssl_ca = "+d.ca)
	d.do = do
	do("CREATE USER secure@'127.0.0.1' IDENTIFIED BY '"+secretPassword+"' REQUIRE X509", "GRANT ALL ON tasker.* TO secure@'127.0.0.1'")
	u, err := url.Parse(f.uri)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.RawQuery = url.UserPassword("secure", secretPassword), "tls=true"
	d.uri = u.String()
	return d
}

// files returns those of a client with a certificate of an authority.
func (d *securedDatabase) files(t *testing.T, a *testcerts.Authority) certfile.ClientFiles {
	t.Helper()
	cert, key := a.Issue(t, "tasker", d.until)
	return certfile.ClientFiles{Files: certfile.Files{CA: d.servers.File, Cert: cert, Key: key}}
}

// ping connects, once.
func ping(t *testing.T, uri string, files certfile.ClientFiles) error {
	t.Helper()
	s, err := store.Open(store.Config{URI: uri, TLS: files}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return s.Ping(ctx)
}

// unavailable checks the error of a connection that TLS prevents.
func unavailable(t *testing.T, name string, err error, want ...string) {
	t.Helper()
	if tasker.CodeOf(err) != tasker.Unavailable {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", name, err, text)
		}
	}
	if strings.Contains(err.Error(), secretPassword) {
		t.Errorf("%s: the error shows the password: %v", name, err)
	}
}

// TestTLSToMySQL: both sides check the other's certificate.
func TestTLSToMySQL(t *testing.T) {
	d := newSecuredDatabase(t)
	t.Run("refusals", d.testRefusals)
	t.Run("rotation", d.testRotation)
}

// testRefusals: an error says which key to set.
func (d *securedDatabase) testRefusals(t *testing.T) {
	good, foreign := d.files(t, d.clients), d.files(t, d.strangers)
	with := func(change func(*certfile.ClientFiles)) certfile.ClientFiles {
		files := good
		change(&files)
		return files
	}
	for name, test := range map[string]struct {
		files certfile.ClientFiles
		want  []string // nothing if it connects
	}{
		"well":                   {good, nil},
		"a name of the server's": {with(func(f *certfile.ClientFiles) { f.ServerName = "localhost" }), nil},
		"an unknown authority": {
			with(func(f *certfile.ClientFiles) { f.CA = "" }),
			[]string{"the server's certificate is signed by an unknown authority: set manager.db.tls.ca_file to the file with"},
		},
		"a wrong authority": {
			with(func(f *certfile.ClientFiles) { f.CA = d.strangers.File }),
			[]string{"signed by none of the authorities in " + d.strangers.File + " (manager.db.tls.ca_file)"},
		},
		"a wrong name": {
			with(func(f *certfile.ClientFiles) { f.ServerName = "db.example" }),
			[]string{"is for another name", "set manager.db.tls.server_name to one of them", "localhost, not db.example"},
		},
		"no certificate": {
			with(func(f *certfile.ClientFiles) { f.Cert, f.Key = "", "" }),
			[]string{"may require a client certificate (manager.db.tls.cert_file and manager.db.tls.key_file)"},
		},
		"a certificate of another authority": {
			foreign, []string{"refuse", " the client certificate " + foreign.Cert + " (manager.db.tls.cert_file)"},
		},
	} {
		err := ping(t, d.uri, test.files)
		if len(test.want) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		unavailable(t, name, err, test.want...)
	}

	unavailable(t, "clear text", ping(t, strings.TrimSuffix(d.uri, "?tls=true"), certfile.ClientFiles{}), "Access denied")

	cert, key := d.servers.Issue(t, "expired", time.Now().Add(-time.Hour))
	d.install(t, cert, key, d.clients)
	unavailable(t, "a certificate that has ended", ping(t, d.uri, good), "the server's certificate is not valid now: renew it there")
	cert, key = d.servers.Issue(t, "server", d.until)
	d.install(t, cert, key, d.clients)
	if err := ping(t, d.uri, good); err != nil {
		t.Errorf("renewed: %v", err)
	}
}

// install replaces the files of the server.
func (d *securedDatabase) install(t *testing.T, cert, key string, clients *testcerts.Authority) {
	t.Helper()
	testcerts.Copy(t, cert, d.cert, key, d.key, clients.File, d.ca)
	d.do("FLUSH SSL")
}

// TestTLSToPlainMySQL: a server without TLS is not used in clear text.
func TestTLSToPlainMySQL(t *testing.T) {
	t.Parallel()
	uri := testservices.MySQL(t)
	unavailable(t, "a server without TLS", ping(t, uri+"?tls=true", certfile.ClientFiles{}),
		"turn TLS on at the server (ssl_cert, ssl_key), or remove ?tls=true from manager.db.uri")
}

// testRotation: all authorities and certificates are replaced while the store is open,
// and its next connection uses what is there then.
func (d *securedDatabase) testRotation(t *testing.T) {
	files, dir := d.files(t, d.clients), t.TempDir()
	own := certfile.ClientFiles{Files: certfile.Files{
		CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "own.pem"), Key: filepath.Join(dir, "own.key"),
	}}
	testcerts.Copy(t, files.CA, own.CA, files.Cert, own.Cert, files.Key, own.Key)
	s, err := store.Open(store.Config{URI: d.uri, TLS: own}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	s.Pool().SetMaxIdleConns(0) // each call connects
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}

	next, nextClients := testcerts.New(t), testcerts.New(t)
	cert, key := next.Issue(t, "server", d.until)
	d.install(t, cert, key, nextClients)
	unavailable(t, "the server's are new", s.Ping(t.Context()), "signed by none of the authorities in "+own.CA)
	testcerts.Copy(t, next.File, own.CA)
	unavailable(t, "its authority, too", s.Ping(t.Context()), " the client certificate "+own.Cert)
	cert, key = nextClients.Issue(t, "tasker", d.until)
	testcerts.Copy(t, cert, own.Cert, key, own.Key)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("with all files replaced: %v", err)
	}
}

// TestUnusableTLSFiles: a store with files that cannot be used is not opened.
func TestUnusableTLSFiles(t *testing.T) {
	t.Parallel()
	files := certfile.ClientFiles{Files: certfile.Files{CA: "/nowhere"}}
	_, err := store.Open(store.Config{URI: "mysql://u:" + secretPassword + "@127.0.0.1/d?tls=true", TLS: files}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "manager.db.tls") || !strings.Contains(err.Error(), "/nowhere does not exist") ||
		strings.Contains(err.Error(), secretPassword) {
		t.Error(err)
	}
}
