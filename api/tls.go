package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

// TLS names the files of a server that speaks TLS 1.3. They are read again when they
// change. Without a CertFile it speaks clear text.
type TLS struct {
	// CertFile has the certificate with its chain, and KeyFile the private key.
	CertFile, KeyFile string
	// ClientCAFile has the certificates of the authorities from one of which every
	// client must have a certificate, too; empty means that clients need none.
	ClientCAFile string
}

// On reports whether the server speaks TLS.
func (t TLS) On() bool { return t.CertFile != "" }

// Scheme returns that of the server's URLs.
func (t TLS) Scheme() string {
	if t.On() {
		return "https"
	}
	return "http"
}

func (t TLS) validate() error {
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return errors.New("must have both cert_file and key_file, or neither")
	case t.ClientCAFile != "" && !t.On():
		return errors.New("client_ca_file needs cert_file and key_file")
	}
	return nil
}

// useTLS reads the files of the certificate. Connections speak HTTP/1.1, as in clear
// text: the limits are those of connections and their requests.
func (s *Server) useTLS() error {
	files := s.cfg.TLS
	if !files.On() {
		return nil
	}
	conf, err := certfile.ServerConfig(certfile.Files{Cert: files.CertFile, Key: files.KeyFile, CA: files.ClientCAFile}, s.log)
	if err != nil {
		return fmt.Errorf("api: read the certificate (api.tls): %w", err)
	}
	s.http.TLSConfig, s.http.Protocols = conf, new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	return nil
}

// errorLog returns the log of what net/http itself says.
func errorLog(to *slog.Logger) *log.Logger {
	at := func(level slog.Level) io.Writer { return slog.NewLogLogger(to.Handler(), level).Writer() }
	return log.New(serverLog{at(slog.LevelWarn), at(slog.LevelDebug)}, "", 0)
}

// serverLog logs handshakes that failed at level debug: nobody who can only reach the
// address can fill the log with them.
type serverLog struct{ warn, debug io.Writer }

// Write implements [io.Writer].
func (l serverLog) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		return l.debug.Write(line)
	}
	return l.warn.Write(line)
}
