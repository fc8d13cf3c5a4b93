// Package certfile reads certificates from files, and reads them again when these
// have changed.
package certfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
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

// Files are those of a server, or of a client.
type Files struct {
	Cert string // its own certificate, with the chain; a client may have none
	Key  string // the private key
	// CA has the certificates of the authorities from one of which the other side must
	// have a certificate. Empty means that a server's clients need none, and that a
	// client trusts the system's authorities.
	CA string
}

// paths returns those that are set.
func (f Files) paths() []string {
	return slices.DeleteFunc([]string{f.Cert, f.Key, f.CA}, func(path string) bool { return path == "" })
}

// content is what the files say.
type content struct {
	certificate *tls.Certificate // nil without one
	authorities *x509.CertPool   // of the other side; nil without a file
}

func (f Files) load() (c content, err error) {
	if f.Cert != "" || f.Key != "" {
		if c.certificate, err = Load(f.Cert, f.Key); err != nil {
			return c, err
		}
	}
	if f.CA != "" {
		c.authorities, err = Pool(f.CA)
	}
	return c, err
}

// leaf returns the certificate itself; nil without one.
func (c content) leaf() *x509.Certificate {
	if c.certificate == nil {
		return nil
	}
	return c.certificate.Leaf
}

// ServerConfig returns the configuration of a server, for TLS 1.3. The files are read
// again when they change, for new connections, and the log says so. Until they can be
// used, all of them, what they were before stays.
func ServerConfig(files Files, log *slog.Logger) (*tls.Config, error) {
	pair, err := NewPair(files, func(leaf *x509.Certificate, err error) {
		if err != nil {
			log.Error("read certificate failed: keeping the previous one", "file", files.Cert, "err", err)
			return
		}
		log.Info("certificate changed", "file", files.Cert, "valid_until", leaf.NotAfter)
	})
	if err != nil {
		return nil, err
	}
	return pair.Config(), nil
}

// Pair is what the files of a server or a client say. When they change they are read
// again; as long as they do not fit together, what they were before stays. Make one
// with [NewPair].
type Pair struct {
	files   Files
	changed func(leaf *x509.Certificate, err error)
	now     func() time.Time
	period  time.Duration // between two looks at the files

	mu      sync.Mutex
	current content
	looked  time.Time
	loaded  []os.FileInfo // of what is current
	failed  []os.FileInfo // of what could not be loaded
}

// serverPeriod is the time between two looks at a server's files, which may have many
// handshakes.
const serverPeriod = time.Second

// NewPair returns what files say. It calls changed when it has read them again, with
// the certificate if there is one, or when it could not: then err is why.
func NewPair(files Files, changed func(leaf *x509.Certificate, err error)) (*Pair, error) {
	p := &Pair{files: files, changed: changed, now: time.Now, period: serverPeriod}
	p.looked, p.loaded = p.now(), p.states()
	var err error
	p.current, err = files.load()
	return p, err
}

// Config returns the configuration of a server with the certificate. See
// [ServerConfig].
func (p *Pair) Config() *tls.Config {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: p.Certificate}
	if p.files.CA == "" {
		return conf
	}
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	conf.SessionTicketsDisabled = true // who resumes a session does not show a certificate again
	each := conf.Clone()
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		own := each.Clone()
		own.ClientCAs = p.look().authorities
		return own, nil
	}
	return conf
}

// Certificate returns the certificate for a handshake, as
// [tls.Config.GetCertificate] asks for it.
func (p *Pair) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.look().certificate, nil
}

// look returns what the files say, which it reads again if they have changed.
func (p *Pair) look() content {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now(); now.Sub(p.looked) >= p.period {
		p.looked = now
		p.reload()
	}
	return p.current
}

// reload loads the files if they have changed. The caller holds the lock.
func (p *Pair) reload() {
	states := p.states()
	if same(states, p.loaded) || same(states, p.failed) {
		return
	}
	next, err := p.files.load()
	if err != nil {
		p.failed = states
		p.changed(nil, err)
		return
	}
	p.current, p.loaded, p.failed = next, states, nil
	p.changed(next.leaf(), nil)
}

// states returns what tells whether the files have changed. Links are followed.
func (p *Pair) states() []os.FileInfo {
	paths := p.files.paths()
	states := make([]os.FileInfo, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			states[i] = info
		}
	}
	return states
}

func same(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b os.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
	})
}
