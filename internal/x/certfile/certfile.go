// Package certfile reads certificates from files, and reads them again when these
// have changed.
package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/taskerhq/tasker/internal/x/secretfile"
	"github.com/taskerhq/tasker/internal/x/trust"
)

// maxFile bounds a file with certificates.
const maxFile = 4 << 20

// Load returns the certificate of two files: its chain, and its private key. Only
// the owner and the group of the key's file may be able to read it.
func Load(certFile, keyFile string) (*tls.Certificate, error) {
	chain, err := read(certFile)
	if err != nil {
		return nil, err
	}
	key, err := secretfile.Read(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("%s: %w", certFile, err)
		}
	}
	return &pair, nil
}

// Pool returns the certificates of a file, as those of authorities.
func Pool(path string) (*x509.CertPool, error) {
	content, err := read(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s has no certificate in the form of PEM", path)
	}
	return pool, nil
}

// read reads a file that nobody else may have been able to change.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist", path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is too large for certificates", path)
	}
	if err := trust.Check(path); err != nil {
		return nil, fmt.Errorf("%s is not trusted: %w", path, err)
	}
	return os.ReadFile(path) //nolint:gosec // the path is the configuration's
}

// Pair is the certificate of a server, from two files. When they change it is read
// again; as long as they do not fit together, the one before stays. Make one with
// [NewPair].
type Pair struct {
	certFile, keyFile string
	changed           func(leaf *x509.Certificate, err error)
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	looked  time.Time
	loaded  [2]os.FileInfo // of what is current
	failed  [2]os.FileInfo // of what could not be loaded
}

// period is the time between two looks at the files.
const period = time.Second

// NewPair returns the certificate of two files. It calls changed when it has read
// them again, or when it could not: then err is why.
func NewPair(certFile, keyFile string, changed func(leaf *x509.Certificate, err error)) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, changed: changed, now: time.Now}
	p.looked, p.loaded = p.now(), p.states()
	var err error
	p.current, err = Load(certFile, keyFile)
	return p, err
}

// Certificate returns the certificate for a handshake, as
// [tls.Config.GetCertificate] asks for it.
func (p *Pair) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now(); now.Sub(p.looked) >= period {
		p.looked = now
		p.look()
	}
	return p.current, nil
}

// look loads the files if they have changed. The caller holds the lock.
func (p *Pair) look() {
	states := p.states()
	if same(states, p.loaded) || same(states, p.failed) {
		return
	}
	next, err := Load(p.certFile, p.keyFile)
	if err != nil {
		p.failed = states
		p.changed(nil, err)
		return
	}
	p.current, p.loaded, p.failed = next, states, [2]os.FileInfo{}
	p.changed(next.Leaf, nil)
}

// states returns what tells whether the files have changed. Links are followed.
func (p *Pair) states() (states [2]os.FileInfo) {
	for i, path := range []string{p.certFile, p.keyFile} {
		if info, err := os.Stat(path); err == nil {
			states[i] = info
		}
	}
	return states
}

func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil || !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() ||
			!a[i].ModTime().Equal(b[i].ModTime()) || a[i].Mode() != b[i].Mode() {
			return false
		}
	}
	return true
}
