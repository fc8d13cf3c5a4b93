package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

// Probe looks at what one node shows, over a connection of its own, and
// changes nothing. It is not safe for concurrent use.
type Probe struct {
	address address
	conn    *amqp.Connection
	raw     net.Conn
	ch      *amqp.Channel
}

// Probes makes a Probe for each address of cfg, without connecting. Its errors
// are those of [New].
func Probes(cfg Config) ([]*Probe, error) {
	_, addresses, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	probes := make([]*Probe, len(addresses))
	for i, a := range addresses {
		probes[i] = &Probe{address: a}
	}
	return probes, nil
}

// Arguments are those with which the queue of an endpoint, and the one of the
// dead letters, are declared. Its errors are those of [New].
func Arguments(cfg Config) (endpoint, dead map[string]any, err error) {
	cfg, _, err = cfg.normalize()
	if err != nil {
		return nil, nil, err
	}
	return cfg.argsOf(broker.Queue{Endpoint: "any endpoint"}), cfg.queueArgs(), nil
}

// Address is the node's address without the password.
func (p *Probe) Address() string { return p.address.shown }

// Connect connects as tasker does, and gives the version of RabbitMQ. The
// error is [tasker.Unauthorized] where RabbitMQ refuses the user, the password
// or the virtual host, and [tasker.Unavailable] where nothing answers.
func (p *Probe) Connect(ctx context.Context) (version string, err error) {
	l := newLink("tasker doctor", Config{Heartbeat: DefaultHeartbeat}, nil, nil, slog.New(slog.DiscardHandler))
	conn, raw, err := l.dial(ctx, p.address)
	if err != nil {
		return "", p.failed(ctx, err)
	}
	p.conn, p.raw = conn, raw
	version, _ = conn.Properties["version"].(string)
	return version, nil
}

// failed says why there is no connection.
func (p *Probe) failed(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed) {
		return tasker.WrapError(tasker.Unauthorized, err, "RabbitMQ at "+p.address.shown+" refuses the user, the password or the virtual host")
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return tasker.WrapError(tasker.Unavailable, err, "no connection to RabbitMQ at "+p.address.shown)
}

// Exchange tells whether an exchange exists.
func (p *Probe) Exchange(ctx context.Context, name string) (exists bool, err error) {
	return p.look(ctx, "exchange "+name, func(ch *amqp.Channel) error {
		// RabbitMQ compares no settings of a passive declaration.
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeDirect, true, false, false, false, nil)
	})
}

// Queue tells whether a queue exists, and how many messages wait in it and how
// many consumers it has.
func (p *Probe) Queue(ctx context.Context, name string) (messages, consumers int, exists bool, err error) {
	exists, err = p.look(ctx, "queue "+name, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		messages, consumers = q.Messages, q.Consumers
		return err
	})
	return messages, consumers, exists, err
}

// look asks for something on the channel, which RabbitMQ closes where there is
// no such thing. The client's calls know no context: when ctx ends, the socket
// is closed below them.
func (p *Probe) look(ctx context.Context, what string, ask func(*amqp.Channel) error) (exists bool, err error) {
	if p.conn == nil {
		return false, fmt.Errorf("look at %s: not connected", what)
	}
	unwatch := context.AfterFunc(ctx, func() { _ = p.raw.Close() })
	defer unwatch()
	if p.ch == nil || p.ch.IsClosed() {
		if p.ch, err = p.conn.Channel(); err != nil {
			return false, p.failed(ctx, err)
		}
	}
	err = ask(p.ch)
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Server && e.Code == amqp.NotFound {
		return false, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return false, fmt.Errorf("look at %s: %w", what, explain(err))
	}
	return true, nil
}

// Close ends the connection, if there is one.
func (p *Probe) Close() {
	if p.conn == nil {
		return
	}
	_ = p.conn.CloseDeadline(time.Now().Add(closeTimeout))
	_ = p.raw.Close()
	p.conn = nil
}
