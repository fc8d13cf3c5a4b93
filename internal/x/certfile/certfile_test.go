package certfile_test

import (
	"crypto/x509"
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
	pair, err := certfile.NewPair(certFile, keyFile, func(leaf *x509.Certificate, err error) {
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
	if _, err := certfile.Pool(ca.File); err != nil {
		t.Error(err)
	}
	if _, err := certfile.Pool(keyFile); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Error(err)
	}
}
