package rabbit

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/x/certfile"
	"github.com/taskerhq/tasker/internal/x/tlsfault"
)

// tlsSection is the part of the configuration with the certificates.
const tlsSection = "manager.message_queue.tls"

// filesOf returns the files for connections to an address: those that its parameters
// name, and for the rest those of the configuration.
func (cfg Config) filesOf(uri amqp.URI) certfile.ClientFiles {
	files := cfg.TLS
	files.CA = cmp.Or(uri.CACertFile, files.CA)
	files.ServerName = cmp.Or(uri.ServerName, files.ServerName)
	if uri.CertFile != "" || uri.KeyFile != "" {
		files.Cert, files.Key = uri.CertFile, uri.KeyFile
	}
	return files
}

// secure reads the files for the addresses with TLS.
func secure(addresses []address, log *slog.Logger) error {
	clients := map[certfile.ClientFiles]*certfile.Client{} // so that the log has one line for a change
	for i := range addresses {
		a := &addresses[i]
		if !a.secure {
			continue
		}
		if clients[a.files] == nil {
			client, err := certfile.NewClient(a.files, tlsSection, log)
			if err != nil {
				return fmt.Errorf("rabbitmq: read the certificates (%s): %w", tlsSection, err)
			}
			clients[a.files] = client
		}
		a.client = clients[a.files]
	}
	return nil
}

// handshake returns one for a connection, with its configuration; both are nil for an
// address without TLS.
func (a address) handshake() (*certfile.Handshake, *tls.Config) {
	if a.client == nil {
		return nil, nil
	}
	h := a.client.Handshake()
	return h, h.Config()
}

// explainTLS returns the error of a dial with what to do about it, if RabbitMQ and
// tasker do not agree on TLS. handshake is nil for an address without TLS.
func explainTLS(err error, handshake *certfile.Handshake, plain *greeting) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && (e.Server || e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed) {
		return err // RabbitMQ answered
	}
	switch {
	case handshake == nil && plain.isAlert():
		return certfile.NewRefusal(err, "the port speaks TLS: use amqps:// in manager.message_queue.uri")
	case handshake == nil:
		return err
	case tlsfault.Of(err) == tlsfault.NoTLS:
		return certfile.NewRefusal(err, "the port speaks no TLS: use that of RabbitMQ's TLS listener, as a rule 5671, "+
			"in manager.message_queue.uri, or amqp://")
	}
	return handshake.Explain(err)
}

// greeting notes with which byte a server begins.
type greeting struct {
	net.Conn
	first atomic.Int32 // 0 until it is known
}

// Read implements [net.Conn].
func (g *greeting) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if n > 0 {
		g.first.CompareAndSwap(0, int32(b[0]))
	}
	return n, err
}

// isAlert reports whether the server sent an alert of TLS, as servers with TLS do that
// get something else.
func (g *greeting) isAlert() bool {
	const alert = 21 // the content type; frames of AMQP have 1, 2, 3 or 8
	return g != nil && g.first.Load() == alert
}
