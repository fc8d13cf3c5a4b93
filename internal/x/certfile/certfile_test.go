package certfile_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// A certificate is read again when its files have changed. While only one of
// them has, and while what is there cannot be used, the one before stays.
func TestPair(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	certFile, keyFile := ca.Issue(t, "a", until)
	var changes []string
	pair, err := certfile.NewPair(certfile.Files{Cert: certFile, Key: keyFile}, func(leaf *x509.Certificate, err error) {
		if err != nil {
			changes = append(changes, err.Error())
			return
		}
		changes = append(changes, leaf.NotAfter.UTC().Format(time.RFC3339))
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	pair.SetNow(func() time.Time { return now })
	want := func(until time.Time, n int) {
		t.Helper()
		now = now.Add(time.Minute)
		for range 3 {
			c, err := pair.Certificate(nil)
			if err != nil || !c.Leaf.NotAfter.Equal(until) {
				t.Fatalf("the certificate ends at %v, %v; want %v", c.Leaf.NotAfter, err, until)
			}
		}
		if len(changes) != n {
			t.Fatalf("changes %q, want %d", changes, n)
		}
	}
	want(until, 0)

	next := until.Add(time.Hour)
	otherCert, otherKey := ca.Issue(t, "b", next)
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	rename(otherCert, certFile)
	want(until, 1)
	if !strings.Contains(changes[0], "private key does not match") {
		t.Errorf("reported %q", changes[0])
	}
	rename(otherKey, keyFile)
	want(next, 2)
	if changes[1] != next.UTC().Format(time.RFC3339) {
		t.Errorf("reported %q", changes[1])
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	want(next, 3)
}

// A server with a file of authorities lets in who has a certificate from one of them,
// as the file is now, and nobody by an earlier connection.
func TestClientAuthorities(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	servers, ours, others := testcerts.New(t), testcerts.New(t), testcerts.New(t)
	certFile, keyFile := servers.Issue(t, "server", until)
	changes := 0
	pair, err := certfile.NewPair(certfile.Files{Cert: certFile, Key: keyFile, CA: ours.File}, func(*x509.Certificate, error) { changes++ })
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	pair.SetNow(func() time.Time { return now })
	conf := pair.Config()
	client := func(a *testcerts.Authority) *tls.Config {
		pool, err := certfile.Pool(servers.File)
		if err != nil {
			t.Fatal(err)
		}
		c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		if a != nil {
			own, err := certfile.Load(a.Issue(t, "client", until))
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{*own}
		}
		return c
	}
	nobody, friend, foe := client(nil), client(ours), client(others)
	want := func(who string, client *tls.Config, in bool) {
		t.Helper()
		for range 2 {
			resumed, err := connect(t, conf, client)
			if (err == nil) != in || resumed {
				t.Errorf("%s: %v, resumed %t; want let in %t", who, err, resumed, in)
			}
		}
	}
	want("nobody", nobody, false)
	want("a friend", friend, true)
	want("a foe", foe, false)

	now = now.Add(time.Minute)
	content, err := os.ReadFile(others.File)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(content []byte) {
		t.Helper()
		next := ours.File + ".next"
		if err := errors.Join(os.WriteFile(next, content, 0o600), os.Rename(next, ours.File)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	replace([]byte("no certificate"))
	want("a friend, and a broken file", friend, true)
	want("a foe, and a broken file", foe, false)
	if changes != 1 {
		t.Errorf("%d changes, want 1", changes)
	}
	replace(content)
	want("who was a friend", friend, false)
	want("who was a foe", foe, true)
	want("still nobody", nobody, false)
}

// connect makes a connection from a client to a server. In TLS 1.3 a client hears that
// it was refused when it reads.
func connect(t *testing.T, server, client *tls.Config) (resumed bool, err error) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write([]byte("x")) // with the handshake before it
			_ = conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		resumed = conn.ConnectionState().DidResume
		_ = conn.Close()
	}
	<-served
	return resumed, err
}

func TestWrongFiles(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "a", time.Now().Add(time.Hour))
	_, otherKey := ca.Issue(t, "b", time.Now().Add(time.Hour))
	open := filepath.Join(t.TempDir(), "open.key")
	content, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, content, 0o644); err != nil { //nolint:gosec // what is to be refused
		t.Fatal(err)
	}
	for _, test := range []struct{ cert, key, want string }{
		{certFile, "/nowhere", "/nowhere does not exist"},
		{"/nowhere", keyFile, "/nowhere does not exist"},
		{certFile, otherKey, "private key does not match"},
		{certFile, open, "accessible to every user"},
		{keyFile, keyFile, "failed to find certificate PEM data"},
		{filepath.Dir(certFile), keyFile, "not a regular file"},
	} {
		if _, err := certfile.Load(test.cert, test.key); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %s: %v, want %q", test.cert, test.key, err, test.want)
		}
	}
	if _, err := certfile.ServerConfig(certfile.Files{Cert: certFile, Key: keyFile, CA: keyFile}, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "no certificate") {
		t.Error(err)
	}
	if _, err := certfile.Pool(ca.File); err != nil {
		t.Error(err)
	}
	if _, err := certfile.Pool(keyFile); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Error(err)
	}
}
