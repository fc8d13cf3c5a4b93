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

// Probe inspects one node over a connection of its own, and changes nothing. It
// is not safe for concurrent use.
type Probe struct {
	address address
	conn    *amqp.Connection
	raw     net.Conn
	ch      *amqp.Channel
}

// Probes returns a Probe for each address of cfg, without connecting. Its
// errors are those of [New].
func Probes(cfg Config) ([]*Probe, error) {
	_, addresses, err := cfg.normalize()
	if err == nil {
		err = secure(addresses, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return nil, err
	}
	probes := make([]*Probe, len(addresses))
	for i, a := range addresses {
		probes[i] = &Probe{address: a}
	}
	return probes, nil
}

// Arguments returns the arguments of an endpoint's queue and of the queue of
// the dead letters. Its errors are those of [New].
func Arguments(cfg Config) (endpoint, dead map[string]any, err error) {
	cfg, _, err = cfg.normalize()
	if err != nil {
		return nil, nil, err
	}
	return cfg.argsOf(broker.Queue{Endpoint: "any endpoint"}), cfg.queueArgs(), nil
}

// Address returns the node's address without the password.
func (p *Probe) Address() string { return p.address.shown }

// Connect connects as tasker does, and returns the version of RabbitMQ. The
// error is [tasker.Unauthorized] if RabbitMQ refuses the user, the password or
// the virtual host, and [tasker.Unavailable] if there is no answer.
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

// failed returns why there is no connection.
func (p *Probe) failed(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed) {
		return tasker.WrapError(tasker.Unauthorized, err,
			"RabbitMQ at "+p.address.shown+" refuses the user, the password or the virtual host")
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return tasker.WrapError(tasker.Unavailable, err, "cannot connect to RabbitMQ at "+p.address.shown)
}

// Exchange reports whether an exchange exists.
func (p *Probe) Exchange(ctx context.Context, name string) (exists bool, err error) {
	return p.look(ctx, "exchange "+name, func(ch *amqp.Channel) error {
		// RabbitMQ ignores the settings in a passive declaration.
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeDirect, true, false, false, false, nil)
	})
}

// Queue reports whether a queue exists, and returns its numbers of waiting
// messages and of consumers.
func (p *Probe) Queue(ctx context.Context, name string) (messages, consumers int, exists bool, err error) {
	exists, err = p.look(ctx, "queue "+name, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		messages, consumers = q.Messages, q.Consumers
		return err
	})
	return messages, consumers, exists, err
}

// look makes a call on the channel, which RabbitMQ closes if the object does
// not exist. The client's calls take no context: when ctx ends, the socket is
// closed.
func (p *Probe) look(ctx context.Context, what string, ask func(*amqp.Channel) error) (exists bool, err error) {
	if p.conn == nil {
		return false, fmt.Errorf("inspect %s: not connected", what)
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
		return false, fmt.Errorf("inspect %s: %w", what, explain(err))
	}
	return true, nil
}

// Close closes the connection, if there is one.
func (p *Probe) Close() {
	if p.conn == nil {
		return
	}
	_ = p.conn.CloseDeadline(time.Now().Add(closeTimeout))
	_ = p.raw.Close()
	p.conn = nil
}
