package certfile_test

import (
	"bytes"
	"crypto/tls"
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

// A client uses for each connection what its files say then. While they do not fit
// together, and while one is missing, it uses what they said before, and logs that
// once.
func TestClientFiles(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	ca, clients, others := testcerts.New(t), testcerts.New(t), testcerts.New(t)
	serverCert, serverKey := ca.Issue(t, "server", until)
	pair, err := certfile.NewPair(certfile.Files{Cert: serverCert, Key: serverKey, CA: clients.File}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	own := certfile.Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "own.pem"), Key: filepath.Join(dir, "own.key")}
	good, goodKey := clients.Issue(t, "tasker", until)
	bad, badKey := others.Issue(t, "tasker", until)
	testcerts.Copy(t, ca.File, own.CA, good, own.Cert, goodKey, own.Key)
	var log bytes.Buffer
	client, err := certfile.NewClient(certfile.ClientFiles{Files: own}, "manager.db.tls", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	dial := func(name, want string) {
		t.Helper()
		for range 2 {
			handshake := client.Handshake()
			_, err := connect(t, pair.Config(), handshake.Config())
			err = handshake.Explain(err)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	lines := func(n int, last string) {
		t.Helper()
		all := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(all) != n || !strings.Contains(all[n-1], last) {
			t.Errorf("the log has %q, want %d lines, the last with %q", all, n, last)
		}
	}
	dial("as they are", "")
	testcerts.Copy(t, others.File, own.CA)
	dial("another authority", "signed by none of the authorities in "+own.CA+" (manager.db.tls.ca_file)")
	lines(1, "certificates changed")
	testcerts.Copy(t, ca.File, own.CA)
	dial("the first again", "")
	testcerts.Copy(t, bad, own.Cert)
	dial("a certificate without its key", "")
	lines(3, "private key does not match")
	testcerts.Copy(t, badKey, own.Key)
	dial("one of another authority", "the server refuses the client certificate "+own.Cert+" (manager.db.tls.cert_file)")
	lines(4, "certificates changed")
	testcerts.Copy(t, good, own.Cert, goodKey, own.Key)
	dial("the first again", "")
	if err := os.Remove(own.CA); err != nil {
		t.Fatal(err)
	}
	dial("a missing file", "")
	lines(6, "does not exist")
}

// A client says what is missing, in the words of the configuration.
func TestRefusals(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	ca, clients := testcerts.New(t), testcerts.New(t)
	conf := func(name string, until time.Time, clientCA string) *tls.Config {
		t.Helper()
		cert, key := ca.Issue(t, name, until)
		pair, err := certfile.NewPair(certfile.Files{Cert: cert, Key: key, CA: clientCA}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Config()
	}
	open, closed, ended := conf("open", until, ""), conf("closed", until, clients.File), conf("ended", time.Now().Add(-time.Hour), "")
	trusting := certfile.ClientFiles{Files: certfile.Files{CA: ca.File}}
	named := trusting
	named.ServerName = "db.example"
	for name, test := range map[string]struct {
		server *tls.Config
		files  certfile.ClientFiles
		want   string // empty if it connects
	}{
		"well":                 {open, trusting, ""},
		"an unknown authority": {open, certfile.ClientFiles{}, "signed by an unknown authority: set s.ca_file to the file with the certificate of its authority: "},
		"another name":         {open, named, "is for another name: use one of its names in the address, or set s.server_name to one of them: "},
		"ended":                {ended, trusting, "is not valid now: renew it there, or check the clock of this machine: "},
		"no certificate":       {closed, trusting, "the server asks for a client certificate: set s.cert_file and s.key_file: "},
	} {
		client, err := certfile.NewClient(test.files, "s", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		handshake := client.Handshake()
		_, err = connect(t, test.server, handshake.Config())
		explained := handshake.Explain(err)
		switch refusal, refused := errors.AsType[*certfile.Refusal](explained); {
		case test.want == "" && explained != nil:
			t.Errorf("%s: %v", name, explained)
		case test.want == "":
		case !refused || !strings.Contains(refusal.Error(), test.want) || !errors.Is(explained, err):
			t.Errorf("%s: %v, want %q", name, explained, test.want)
		}
		if asked := test.server == closed; handshake.Uncertified() != asked {
			t.Errorf("%s: asked for a certificate: %t", name, handshake.Uncertified())
		}
	}
	if _, err := certfile.NewClient(certfile.ClientFiles{Files: certfile.Files{CA: "/nowhere"}}, "s", nil); err == nil ||
		!strings.Contains(err.Error(), "/nowhere does not exist") {
		t.Error(err)
	}
	// What has nothing to do with certificates stays as it is.
	client, err := certfile.NewClient(trusting, "s", nil)
	if err != nil {
		t.Fatal(err)
	}
	if lost := errors.New("connection reset by peer"); client.Handshake().Explain(lost) != lost || client.Handshake().Explain(nil) != nil { //nolint:errorlint // the same error
		t.Error("an error of the network changed")
	}
}
