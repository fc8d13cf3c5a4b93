package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

// tlsSection is the part of the configuration with the certificates.
const tlsSection = "manager.db.tls"

// Error numbers about how a client connects.
const (
	erAccessDenied      = 1045
	erInsecureTransport = 3159 // the server runs with --require_secure_transport
)

// mysqlConnector opens connections to MySQL. Its errors say what to do if the server
// and tasker do not agree on TLS.
type mysqlConnector struct {
	driver.Connector
	config *mysqldriver.Config
	client *certfile.Client // nil unless the address has tls=true
}

// newConnector returns a connector for the configuration of the driver. Each of its
// connections uses the certificates that are in their files then.
func newConnector(c *mysqldriver.Config, files certfile.ClientFiles, log *slog.Logger) (mysqlConnector, error) {
	plain, err := mysqldriver.NewConnector(c)
	if err != nil {
		return mysqlConnector{}, fmt.Errorf("invalid database address: %w", err)
	}
	connector := mysqlConnector{Connector: plain, config: c}
	if c.TLSConfig == "true" {
		if connector.client, err = certfile.NewClient(files, tlsSection, log); err != nil {
			return mysqlConnector{}, fmt.Errorf("database: read the certificates (%s): %w", tlsSection, err)
		}
	}
	return connector, nil
}

// Connect implements [driver.Connector].
func (c mysqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.client == nil {
		conn, err := c.Connector.Connect(ctx)
		if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok && e.Number == erInsecureTransport {
			return nil, certfile.NewRefusal(err, "the server requires TLS: add ?tls=true to manager.db.uri")
		}
		return conn, err
	}
	handshake, lost := c.client.Handshake(), &lastError{}
	own := c.config.Clone()
	own.TLS, own.Logger = handshake.Config(), lost
	connector, err := mysqldriver.NewConnector(own)
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	return nil, explainTLS(handshake, err, lost.get())
}

// explainTLS returns an error of a connection with TLS with what to do about it. lost
// is what ended the connection, if known.
func explainTLS(handshake *certfile.Handshake, err, lost error) error {
	if e, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		if e.Number == erAccessDenied && handshake.Uncertified() {
			return certfile.NewRefusal(err, "the account may require a client certificate (%s.cert_file and %s.key_file)",
				tlsSection, tlsSection)
		}
		return err
	}
	if errors.Is(err, mysqldriver.ErrNoTLS) {
		return certfile.NewRefusal(err, "turn TLS on at the server (ssl_cert, ssl_key), or remove ?tls=true from manager.db.uri")
	}
	if lost != nil {
		err = fmt.Errorf("%w: %w", err, lost)
	}
	return handshake.Explain(err)
}

// lastError keeps the last error that the driver logs: it returns another one in its
// place when a connection is lost.
type lastError struct {
	mu  sync.Mutex
	err error
}

// Print implements [mysqldriver.Logger].
func (l *lastError) Print(values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range values {
		if err, ok := v.(error); ok {
			l.err = err
		}
	}
}

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
