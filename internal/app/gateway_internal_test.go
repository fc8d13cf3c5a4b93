package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker/local"
	"github.com/taskerhq/tasker/internal/doctor"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/internal/store/storetest"
	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// stand is a gateway on SQLite.
type stand struct {
	services
	role *gatewayRole
	conf config.GatewayServer
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// newStand returns a gateway that is not served yet.
func newStand(t *testing.T, certFile, keyFile string) *stand {
	t.Helper()
	st, err := store.Open(store.Config{URI: sqliteURI(filepath.Join(t.TempDir(), "tasker.db"))}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{services: newServices(st, local.New(testLog(t)), "", testLog(t))}
	t.Cleanup(func() { s.close(context.Background()) })
	storetest.Migrate(t, st)
	s.conf = config.GatewayServer{
		Listen: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, MaxConnections: 100, MaxConnectionsPerAddress: 100,
	}
	return s
}

// serve serves the gateway until the test ends.
func (s *stand) serve(t *testing.T) {
	t.Helper()
	var err error
	if s.role, err = s.listenGateway(t.Context(), config.Config{Gateway: s.conf}, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	s.conf.Listen = s.role.addr()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.role.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (s *stand) address() string {
	scheme := "http"
	if s.conf.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + s.conf.Listen
}

// add returns a token of an endpoint.
func (s *stand) add(t *testing.T, endpoint string) string {
	t.Helper()
	token := identity.NewToken()
	digest, err := identity.Sum(token)
	if err == nil {
		_, err = s.store.Tokens.AddToken(t.Context(), endpoint, digest[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// client returns a client of an endpoint that trusts an authority.
func (s *stand) client(t *testing.T, endpoint, token, authority string) *gateway.Client {
	t.Helper()
	conf := gateway.ClientConfig{
		Addresses: []string{s.address()},
		Tokens:    map[string]gateway.Token{endpoint: func() (string, error) { return token, nil }},
	}
	if authority != "" {
		pool, err := certfile.Pool(authority)
		if err != nil {
			t.Fatal(err)
		}
		conf.TLS = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
	}
	c, err := gateway.NewClient(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ask sends a request about an endpoint.
func ask(ctx context.Context, c *gateway.Client, endpoint string) error {
	_, _, err := c.Work.NextRetry(ctx, endpoint, "worker")
	return err
}

// A certificate can be replaced while endpoints connect: none is refused, and new
// connections get the new one.
func TestCertificateIsReplacedUnderLoad(t *testing.T) {
	ca := testcerts.New(t)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	certFile, keyFile := ca.Issue(t, "gateway", until)
	s := newStand(t, certFile, keyFile)
	s.serve(t)

	var replaced atomic.Bool
	var asked atomic.Int64
	var load sync.WaitGroup
	for i := range 4 {
		endpoint := fmt.Sprint("e", i)
		c := s.client(t, endpoint, s.add(t, endpoint), ca.File)
		load.Go(func() {
			for !replaced.Load() {
				if err := ask(t.Context(), c, endpoint); err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
				c.Close() // the next request makes a connection
			}
		})
	}
	pool, err := certfile.Pool(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	await := func(until time.Time) {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			conn, err := tls.Dial("tcp", s.conf.Listen, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool})
			if err != nil {
				t.Fatal(err)
			}
			served := conn.ConnectionState().PeerCertificates[0].NotAfter
			_ = conn.Close()
			if served.Equal(until) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the certificate that ends at %v is served, want %v", served, until)
			}
		}
	}
	await(until)
	for n := range 3 {
		until = until.Add(time.Hour)
		otherCert, otherKey := ca.Issue(t, fmt.Sprint("next", n), until)
		for from, to := range map[string]string{otherCert: certFile, otherKey: keyFile} {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		await(until)
	}
	replaced.Store(true)
	load.Wait()
	if asked.Load() == 0 {
		t.Error("nothing was asked")
	}
}

// A manager says which address has a certificate that it cannot accept, and why.
func TestRefusedCertificates(t *testing.T) {
	ca, other := testcerts.New(t), testcerts.New(t)
	ended := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, test := range map[string]struct {
		until     time.Time
		authority string
		want      string
	}{
		"expired":         {ended, ca.File, "2025-03-04T05:06:07Z"},
		"of nobody known": {time.Now().Add(time.Hour), other.File, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			certFile, keyFile := ca.Issue(t, "gateway", test.until)
			s := newStand(t, certFile, keyFile)
			s.serve(t)
			err := ask(t.Context(), s.client(t, "a", s.add(t, "a"), test.authority), "a")
			if tasker.CodeOf(err) != tasker.Unavailable || !strings.Contains(fmt.Sprint(err), s.address()) ||
				!strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("%v, want %s and %q", err, s.address(), test.want)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "gateway", time.Now().Add(time.Hour))
	s := newStand(t, certFile, keyFile)
	s.serve(t)
	pool, err := certfile.Pool(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.conf.Listen, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}) //nolint:gosec // to be refused
	if err == nil {
		_ = conn.Close()
		t.Error("a connection with TLS 1.2 was accepted")
	}
}

// An endpoint's token is its own, and stops with it.
func TestTokensAtTheGateway(t *testing.T) {
	s := newStand(t, "", "")
	s.serve(t)
	a, b := s.add(t, "a"), s.add(t, "b")
	if err := ask(t.Context(), s.client(t, "a", a, ""), "a"); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"another's": b, "an unknown one": identity.NewToken(), "none": "x"} {
		err := ask(t.Context(), s.client(t, "a", token, ""), "a")
		if code := tasker.CodeOf(err); code != tasker.Unauthorized && code != "forbidden" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.store.Removals.RemoveEndpoint(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	c := s.client(t, "a", a, "")
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := ask(t.Context(), c, "a")
		if tasker.CodeOf(err) == tasker.Unauthorized {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a removed endpoint is let in: %v", err)
		}
	}
	if err := ask(t.Context(), s.client(t, "b", b, ""), "b"); err != nil {
		t.Error(err)
	}
}

// A manager that starts waits for a gateway that is away, and ends if its token is
// refused.
func TestAwaitGateway(t *testing.T) {
	s := newStand(t, "", "")
	s.serve(t)
	listen := s.conf.Listen
	away := &stand{services: s.services, conf: s.conf}
	away.conf.Listen = freeAddress(t)
	token := s.add(t, "a")
	c := away.client(t, "a", token, "")
	waited := make(chan error, 1)
	warned := make(chan struct{})
	log := slog.New(slog.NewTextHandler(&signals{"waiting for the gateway", warned, sync.Once{}}, nil))
	go func() { waited <- awaitGateway(t.Context(), c, []string{"a"}, "worker", log) }()
	<-warned
	away.serve(t)
	if err := <-waited; err != nil {
		t.Errorf("it did not wait: %v", err)
	}
	s.conf.Listen = listen
	err := awaitGateway(t.Context(), s.client(t, "a", identity.NewToken(), ""), []string{"a"}, "worker", testLog(t))
	if err == nil || !strings.Contains(err.Error(), "the gateway refuses endpoint a: unknown token") {
		t.Error(err)
	}
}

// signals closes a channel when a text is written.
type signals struct {
	text string
	seen chan struct{}
	once sync.Once
}

func (s *signals) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.text) {
		s.once.Do(func() { close(s.seen) })
	}
	return len(p), nil
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestProbes(t *testing.T) {
	s := newStand(t, "", "")
	s.serve(t)
	get := func(path string) (status int, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.address()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(content)
	}
	defer http.DefaultClient.CloseIdleConnections()
	if status, body := get("/healthz"); status != http.StatusOK || body != `{"status":"alive","version":"1.2.3"}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get("/readyz"); status != http.StatusOK || !json.Valid([]byte(body)) || !strings.Contains(body, `"status":"ready"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get("/worker"); status != http.StatusNotFound {
		t.Errorf("the API's route answers %d", status)
	}
}

// The doctor of a machine in gateway mode needs no database, and sees the gateway
// as a manager does.
func TestDoctorOverTheGateway(t *testing.T) {
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "gateway", time.Now().Add(time.Hour))
	s := newStand(t, certFile, keyFile)
	s.serve(t)
	dir := t.TempDir()
	examine := func(token, authority string) (levels map[string]doctor.Level) {
		t.Helper()
		for name, content := range map[string]string{
			"test.config.yaml": "task_types: [worker]\nmanager:\n  mode: gateway\n  message_queue: {uri: 'amqp://u:p@127.0.0.1:1/v'}\n" +
				"  gateway: {addresses: '" + s.address() + "', token_file: '{endpoint}.token', ca_file: " + authority + "}\n",
			"a.token": token,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := config.Load(config.Options{Mode: "test", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		report, err := Doctor(t.Context(), cfg, DoctorOptions{Endpoints: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		levels = map[string]doctor.Level{}
		for _, c := range report.Checks {
			levels[c.Group+"/"+c.Name] = c.Level
		}
		return levels
	}
	token := s.add(t, "a")
	if got := examine(token, ca.File); got["gateway/connection"] != doctor.OK || got["gateway/token"] != doctor.OK ||
		got["database/all"] != doctor.Note || got["broker/connection"] != doctor.Problem {
		t.Errorf("%v", got)
	}
	if got := examine(identity.NewToken(), ca.File); got["gateway/token"] != doctor.Problem {
		t.Errorf("an unknown token: %v", got)
	}
	if got := examine(token, testcerts.New(t).File); got["gateway/connection"] != doctor.Problem {
		t.Errorf("an unknown authority: %v", got)
	}
}
