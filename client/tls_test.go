package client_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// serveTLS runs a fake API that speaks TLS, and returns its URL. With authorities of
// clients it requires a certificate from one of them.
func serveTLS(t *testing.T, certFile, keyFile, clientCA string) string {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"types":[]}`)
	}))
	own, err := certfile.Load(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*own}}
	if clientCA != "" {
		server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		if server.TLS.ClientCAs, err = certfile.Pool(clientCA); err != nil {
			t.Fatal(err)
		}
	}
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// ask sends a request to an API.
func ask(t *testing.T, url string, options ...client.Option) error {
	t.Helper()
	c, err := client.New(url, "", append(options, client.WithTries(1))...)
	if err != nil {
		t.Fatal(err)
	}
	return c.Get(t.Context(), nil, nil, "v1", "task-types")
}

func TestWithTLS(t *testing.T) {
	t.Parallel()
	ca, clients, until := testcerts.New(t), testcerts.New(t), time.Now().Add(time.Hour)
	pool, err := certfile.Pool(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	with := func(own ...tls.Certificate) client.Option {
		return client.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: own})
	}
	named := func(name string) client.Option {
		return client.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: name})
	}
	load := func(certFile, keyFile string) tls.Certificate {
		own, err := certfile.Load(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return *own
	}
	certFile, keyFile := ca.Issue(t, "api", until)
	open, closed := serveTLS(t, certFile, keyFile, ""), serveTLS(t, certFile, keyFile, clients.File)
	endedCert, endedKey := ca.Issue(t, "ended", time.Now().Add(-time.Hour))
	ended := serveTLS(t, endedCert, endedKey, "")
	for name, test := range map[string]struct {
		url     string
		options []client.Option
		want    string // empty if it answers
	}{
		"the authority is given":     {open, []client.Option{with()}, ""},
		"the last option counts":     {open, []client.Option{with(), client.WithRoundTripper(nil)}, "unknown authority"},
		"an unknown authority":       {open, nil, "signed by an unknown authority: give the file with the certificate of its authority (--ca, TASKER_API_CA)"},
		"another name":               {open, []client.Option{named("api.example")}, "its certificate is for another name"},
		"a certificate that ended":   {ended, []client.Option{with()}, "its certificate is refused"},
		"no certificate of its own":  {closed, []client.Option{with()}, "it requires a client certificate"},
		"one of another authority":   {closed, []client.Option{with(load(ca.Issue(t, "mallory", until)))}, "certificate"},
		"one of the right authority": {closed, []client.Option{with(load(clients.Issue(t, "alice", until)))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := ask(t, test.url, test.options...)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || tasker.CodeOf(err) != tasker.Unavailable):
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// A URL with the wrong scheme is an error of the caller, and says which is right.
func TestWrongScheme(t *testing.T) {
	t.Parallel()
	ca := testcerts.New(t)
	certFile, keyFile := ca.Issue(t, "api", time.Now().Add(time.Hour))
	secure := serveTLS(t, certFile, keyFile, "")
	err := ask(t, strings.Replace(secure, "https://", "http://", 1))
	if tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "the server speaks TLS: use https://") {
		t.Errorf("clear text to TLS: %v", err)
	}
	err = ask(t, strings.Replace(devURL, "http://", "https://", 1))
	if tasker.CodeOf(err) != tasker.Invalid || !strings.Contains(err.Error(), "the server speaks no TLS: use http://") {
		t.Errorf("TLS to clear text: %v", err)
	}
}

// Proxies say it in a page of their own. An error of the API is none of theirs, whatever
// it contains.
func TestClearTextToAProxy(t *testing.T) {
	t.Parallel()
	const nginx = "The plain HTTP request was sent to HTTPS port"
	answer := func(kind, body string) error {
		return ask(t, "http://api", client.WithRoundTripper(roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusBadRequest, Status: "400", Header: http.Header{"Content-Type": {kind}},
				Body: io.NopCloser(strings.NewReader(body)),
			}, nil
		})))
	}
	for _, page := range []string{nginx, "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"} {
		if err := answer("text/html", "<html>"+page+"</html>"); err == nil || !strings.Contains(err.Error(), "use https://") {
			t.Errorf("%s: %v", page, err)
		}
	}
	var p *client.Problem
	err := answer("application/problem+json", `{"status":400,"code":"invalid","detail":"`+nginx+`"}`)
	if !errors.As(err, &p) || p.Detail != nginx {
		t.Errorf("a problem: %v", err)
	}
}
