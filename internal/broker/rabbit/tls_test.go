package rabbit_test

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/broker/rabbitadmin"
	"github.com/taskerhq/tasker/internal/testcerts"
	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/internal/testservices"
	"github.com/taskerhq/tasker/internal/x/certfile"
)

// securedNode is a RabbitMQ with TLS, whose clients need a certificate.
type securedNode struct {
	*testnodes.RabbitMQ
	uri                         string // with TLS
	servers, clients, strangers *testcerts.Authority
	files                       testnodes.TLSFiles // of the server
	until                       time.Time
}

func newSecuredNode(t *testing.T) *securedNode {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	dir := t.TempDir()
	n := &securedNode{
		servers: testcerts.New(t), clients: testcerts.New(t), strangers: testcerts.New(t), until: time.Now().Add(time.Hour),
		files: testnodes.TLSFiles{Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")},
	}
	n.files.CA = n.clients.File
	cert, key := n.servers.Issue(t, "server", n.until)
	n.install(t, cert, key)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var err error
	if n.RabbitMQ, err = testnodes.StartRabbitMQ(ctx, t.TempDir(), testnodes.RabbitMQOptions{TLS: &n.files}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	n.uri = n.with("amqps", n.SecureAddr())
	return n
}

// install replaces the certificate of the server.
func (n *securedNode) install(t *testing.T, cert, key string) {
	t.Helper()
	testcerts.Copy(t, cert, n.files.Cert, key, n.files.Key)
}

// with returns the node's address with another scheme and port.
func (n *securedNode) with(scheme, host string) string {
	u, err := url.Parse(n.URI())
	if err != nil {
		panic(err)
	}
	u.Scheme, u.Host = scheme, host
	return u.String()
}

// client returns the files of a client with a certificate of an authority.
func (n *securedNode) client(t *testing.T, a *testcerts.Authority, name string) certfile.ClientFiles {
	t.Helper()
	cert, key := a.Issue(t, name, n.until)
	return certfile.ClientFiles{Files: certfile.Files{CA: n.servers.File, Cert: cert, Key: key}}
}

// reach connects, once.
func reach(t *testing.T, uri string, files certfile.ClientFiles) error {
	t.Helper()
	probes, err := rabbit.Probes(rabbit.Config{URIs: []string{uri}, TLS: files})
	if err != nil {
		t.Fatal(err)
	}
	defer probes[0].Close()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	_, err = probes[0].Connect(ctx)
	return err
}

// TestTLS: both sides check the other's certificate.
func TestTLS(t *testing.T) {
	n := newSecuredNode(t)
	t.Run("refusals", n.testRefusals)
	t.Run("external", n.testExternal)
	t.Run("rotation", n.testRotation)
}

// testRefusals: an error says which key to set.
func (n *securedNode) testRefusals(t *testing.T) {
	good, foreign := n.client(t, n.clients, "tasker"), n.client(t, n.strangers, "tasker")
	misplaced := foreign
	misplaced.CA = n.strangers.File
	with := func(change func(*certfile.ClientFiles)) certfile.ClientFiles {
		files := good
		change(&files)
		return files
	}
	parameters := url.Values{"cacertfile": {good.CA}, "certfile": {good.Cert}, "keyfile": {good.Key}, "server_name_indication": {"localhost"}}
	for name, test := range map[string]struct {
		uri   string
		files certfile.ClientFiles
		want  string // empty if it connects
	}{
		"well":                    {n.uri, good, ""},
		"parameters":              {n.uri + "?" + parameters.Encode(), certfile.ClientFiles{}, ""},
		"parameters before files": {n.uri + "?" + parameters.Encode(), misplaced, ""},
		"a name of the server's":  {n.uri, with(func(f *certfile.ClientFiles) { f.ServerName = "localhost" }), ""},
		"an unknown authority": {
			n.uri, with(func(f *certfile.ClientFiles) { f.CA = "" }),
			"the server's certificate is signed by an unknown authority: set manager.message_queue.tls.ca_file to the file with",
		},
		"a wrong authority": {
			n.uri, with(func(f *certfile.ClientFiles) { f.CA = n.strangers.File }),
			"signed by none of the authorities in " + n.strangers.File + " (manager.message_queue.tls.ca_file)",
		},
		"a wrong name": {
			n.uri, with(func(f *certfile.ClientFiles) { f.ServerName = "mq.example" }),
			"is for another name: use one of its names in the address, or set manager.message_queue.tls.server_name to one of them",
		},
		"no certificate": {
			n.uri, with(func(f *certfile.ClientFiles) { f.Cert, f.Key = "", "" }),
			"asks for a client certificate: set manager.message_queue.tls.cert_file and manager.message_queue.tls.key_file",
		},
		"a certificate of another authority": {
			n.uri, foreign, " the client certificate " + foreign.Cert + " (manager.message_queue.tls.cert_file)",
		},
		"clear text to the port with TLS": {
			n.with("amqp", n.SecureAddr()), good, "the port speaks TLS: use amqps:// in manager.message_queue.uri",
		},
		"TLS to the port without": {n.with("amqps", n.Addr()), good, "the port speaks no TLS: use that of RabbitMQ's TLS listener"},
	} {
		n.check(t, name, reach(t, test.uri, test.files), test.want)
	}

	cert, key := n.servers.Issue(t, "expired", time.Now().Add(-time.Hour))
	n.install(t, cert, key)
	n.check(t, "a certificate that has ended", reach(t, n.uri, good), "the server's certificate is not valid now: renew it there")
	cert, key = n.servers.Issue(t, "server", n.until)
	n.install(t, cert, key)
	n.check(t, "renewed", reach(t, n.uri, good), "")
}

// check checks the error of a connection, which TLS prevents for a reason; none if
// that is empty.
func (n *securedNode) check(t *testing.T, name string, err error, reason string) {
	t.Helper()
	switch {
	case reason == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case reason == "":
	case tasker.CodeOf(err) != tasker.Unavailable || !strings.Contains(err.Error(), reason):
		t.Errorf("%s: %v, want %q", name, err, reason)
	case strings.Contains(err.Error(), ":pw@"):
		t.Errorf("%s: the error shows the password: %v", name, err)
	}
}

// testExternal: a certificate alone says who the user is.
func (n *securedNode) testExternal(t *testing.T) {
	admin, err := url.Parse(n.ManagementURI())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := admin.User.Password()
	client, err := rabbitadmin.New("http://"+admin.Host, admin.User.Username(), password)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.EnsureUser(t.Context(), "console1", "not used"); err != nil {
		t.Fatal(err)
	}
	if err := client.SetPermissions(t.Context(), "tasker", "console1", rabbitadmin.Least()); err != nil {
		t.Fatal(err)
	}
	uri := "amqps://" + n.SecureAddr() + "/tasker?auth_mechanism=EXTERNAL"
	b := newBroker(t, rabbit.Config{URIs: []string{uri}, TLS: n.client(t, n.clients, "console1")})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := b.Declare(ctx, "worker"); err != nil {
		t.Errorf("the user of the certificate: %v", err)
	}
	// That is RabbitMQ's answer, and no refusal of the certificate.
	err = reach(t, uri, n.client(t, n.clients, "console2"))
	if tasker.CodeOf(err) != tasker.Unauthorized || strings.Contains(err.Error(), "guest") || strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate without a user: %v", err)
	}
}

// testRotation: the authority of the server, and all certificates, are replaced while
// the broker is connected, and the next connection uses what is there then.
func (n *securedNode) testRotation(t *testing.T) {
	files, dir := n.client(t, n.clients, "tasker"), t.TempDir()
	own := certfile.ClientFiles{Files: certfile.Files{
		CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "own.pem"), Key: filepath.Join(dir, "own.key"),
	}}
	testcerts.Copy(t, files.CA, own.CA, files.Cert, own.Cert, files.Key, own.Key)
	proxy, uri := testservices.Proxied(t, n.uri)
	b := newBroker(t, rabbit.Config{URIs: []string{uri}, TLS: own})
	eventually(t, "it is connected", func() bool { return b.Ready() == nil })

	refused := func(why string) func() bool {
		return func() bool {
			err := b.Ready()
			return err != nil && strings.Contains(err.Error(), why)
		}
	}
	next := testcerts.New(t)
	proxy.Cut()
	cert, key := next.Issue(t, "server", n.until)
	n.install(t, cert, key)
	proxy.Restore()
	eventually(t, "the new server is refused", refused("signed by none of the authorities in "+own.CA))
	cert, key = n.strangers.Issue(t, "tasker", n.until)
	testcerts.Copy(t, cert, own.Cert, key, own.Key, next.File, own.CA)
	eventually(t, "the server refuses the new certificate", refused(" the client certificate "+own.Cert))
	cert, key = n.clients.Issue(t, "tasker", n.until)
	testcerts.Copy(t, cert, own.Cert, key, own.Key)
	eventually(t, "it is connected again", func() bool { return b.Ready() == nil })
}

// TestUnusableTLSFiles: a broker with files that cannot be used is not made.
func TestUnusableTLSFiles(t *testing.T) {
	cfg := rabbit.Config{URIs: []string{"amqps://u:s3cret@127.0.0.1/v"}}
	cfg.TLS.CA = "/nowhere"
	_, err := rabbit.Probes(cfg)
	if err == nil || !strings.Contains(err.Error(), "manager.message_queue.tls") || !strings.Contains(err.Error(), "/nowhere does not exist") ||
		strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	cfg.URIs = []string{"amqp://u:s3cret@127.0.0.1/v"} // needs none
	if _, err := rabbit.Probes(cfg); err != nil {
		t.Error(err)
	}
}
