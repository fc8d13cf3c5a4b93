package api_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// startTLS serves with a certificate of an authority, and returns what a client needs to
// trust it.
func startTLS(t *testing.T, files api.TLS, ca *testcerts.Authority) (*started, *tls.Config) {
	t.Helper()
	s := start(t, func(c *api.Config) { c.TLS = files })
	pool, err := certfile.Pool(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	s.scheme, s.client.Transport = "https", &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	return s, conf
}

func filesOf(certFile, keyFile string) api.TLS { return api.TLS{CertFile: certFile, KeyFile: keyFile} }

// Over TLS everything is as in clear text: requests, streams, and the end.
func TestTLS(t *testing.T) {
	ca := testcerts.New(t)
	s, conf := startTLS(t, filesOf(ca.Issue(t, "api", time.Now().Add(time.Hour))), ca)
	if status, err := s.post(t.Context(), newTask); err != nil || status != http.StatusCreated {
		t.Errorf("status %d, %v", status, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/v1/events"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if e := parseEvent(readEvent(t, bufio.NewReader(resp.Body))); resp.StatusCode != http.StatusOK || e.name != "snapshot" || resp.Proto != "HTTP/1.1" {
		t.Errorf("%s %s: event %+v", resp.Proto, resp.Status, e)
	}

	old := conf.Clone()
	old.MaxVersion = tls.VersionTLS12
	if conn, err := tls.Dial("tcp", s.server.Addr(), old); err == nil {
		_ = conn.Close()
		t.Error("a connection with TLS 1.2 was accepted")
	}

	// Clear text is answered, without reading the request, and fills no log.
	conn, err := net.Dial("tcp", s.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /worker/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || !strings.Contains(string(got), " 400 ") || !strings.Contains(string(got), "HTTPS server") {
		t.Errorf("%v: %s", err, got)
	}
	const handshake = "TLS handshake error"
	waitFor(t, func() bool { return strings.Contains(s.log.String(), "HTTP request to an HTTPS server") })
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, handshake) && !strings.Contains(line, `"level":"DEBUG"`) {
			t.Errorf("logged: %s", line)
		}
	}

	// A stop ends the stream, too.
	s.stop()
	if err := <-s.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the stream: %v", err)
	}
}

// What net/http says of anything but handshakes is still a warning.
func TestServerLog(t *testing.T) {
	log := &logBuffer{}
	api.ErrorLog(log.logger()).Print("http: Accept error: too many open files; retrying in 5ms")
	if lines := log.lines(t, "http: Accept error: too many open files; retrying in 5ms"); len(lines) != 1 || lines[0]["level"] != "WARN" {
		t.Errorf("%v", lines)
	}
}

// A client needs a certificate if there are authorities for them, for each route, and a
// token as well if there is one.
func TestClientCertificates(t *testing.T) {
	ca, clients := testcerts.New(t), testcerts.New(t)
	until := time.Now().Add(time.Hour)
	files := filesOf(ca.Issue(t, "api", until))
	files.ClientCAFile = clients.File
	s, conf := startTLS(t, files, ca)
	health := func(own *tls.Certificate) (int, error) {
		t.Helper()
		with := conf.Clone()
		if own != nil {
			with.Certificates = []tls.Certificate{*own}
		}
		transport := &http.Transport{TLSClientConfig: with}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/healthz"), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	own, err := certfile.Load(clients.Issue(t, "alice", until))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := certfile.Load(ca.Issue(t, "mallory", until))
	if err != nil {
		t.Fatal(err)
	}
	if status, err := health(own); err != nil || status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}
	for name, other := range map[string]*tls.Certificate{"none": nil, "one of another authority": foreign} {
		if status, err := health(other); err == nil {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

// A server whose certificate cannot be used does not listen.
func TestUnusableCertificate(t *testing.T) {
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "api", time.Now().Add(time.Hour))
	_, otherKey := ca.Issue(t, "other", time.Now().Add(time.Hour))
	for want, files := range map[string]api.TLS{
		"private key does not match": filesOf(certFile, otherKey),
		"/nowhere does not exist":    {CertFile: certFile, KeyFile: keyFile, ClientCAFile: "/nowhere"},
	} {
		h := newHarness(t, func(c *api.Config) { c.TLS = files })
		if err := h.server.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "api.tls") {
			t.Errorf("%v, want %q", err, want)
		}
		if h.server.Addr() != "" {
			t.Error("it listens")
		}
	}
}

// New connections get a certificate that was replaced while the server runs.
func TestRenewedCertificate(t *testing.T) {
	ca := testcerts.New(t)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	files := filesOf(ca.Issue(t, "api", until))
	s, conf := startTLS(t, files, ca)
	served := func() time.Time {
		t.Helper()
		conn, err := tls.Dial("tcp", s.server.Addr(), conf)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].NotAfter
	}
	if got := served(); !got.Equal(until) {
		t.Errorf("the certificate ends at %v, want %v", got, until)
	}
	until = until.Add(time.Hour)
	nextCert, nextKey := ca.Issue(t, "next", until)
	for from, to := range map[string]string{nextCert: files.CertFile, nextKey: files.KeyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return served().Equal(until) })
	if len(s.log.lines(t, "certificate changed")) != 1 {
		t.Error("the log does not say so")
	}
}
