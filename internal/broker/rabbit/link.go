package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// maxCalls limits the declarations that await RabbitMQ's answer on a link. More are
// answered no sooner, and of thousands that begin at once, as after a restart of
// RabbitMQ, the last would wait longer than Config.AnswerTimeout.
const maxCalls = 8

// closeTimeout limits how long closing waits for a broker that does not answer.
const closeTimeout = 2 * time.Second

// errConnecting is why a link is down before its first dial has ended.
var errConnecting = errors.New("connecting for the first time")

// link is one supervised connection: its loop dials, watches and dials again,
// forever. Channels belong to those who use the link.
type link struct {
	name      string // as shown by RabbitMQ's management
	addresses []address
	heartbeat time.Duration
	answer    time.Duration // see Config.AnswerTimeout
	calls     chan struct{} // has an element for each call that waits
	log       *slog.Logger
	group     *group

	mu      sync.Mutex
	conn    *amqp.Connection // nil while down
	raw     net.Conn         // the socket of conn
	down    error            // why it is down; nil while up
	warned  map[string]bool  // logged as warnings since it was up
	blocked string           // why the broker accepts no publishes; empty if it does
	changed chan struct{}    // closed, and replaced, when any of these change
}

func newLink(name string, cfg Config, addresses []address, g *group, log *slog.Logger) *link {
	return &link{
		name: name, addresses: addresses, heartbeat: cfg.Heartbeat, answer: cfg.AnswerTimeout, group: g,
		calls: make(chan struct{}, maxCalls),
		log:   log.With("connection", name), down: errConnecting, changed: make(chan struct{}),
	}
}

// run keeps the link up until ctx ends.
func (l *link) run(ctx context.Context) {
	pause := newRetry()
	// After a loss, use the next address: the node may be down, or about to be.
	for i := 0; ; i++ {
		a := l.addresses[i%len(l.addresses)]
		conn, raw, err := l.dial(ctx, a)
		if err == nil {
			since := time.Now()
			err = l.serve(ctx, conn, raw, a)
			pause.worked(since)
		}
		if ctx.Err() != nil {
			l.setDown(context.Cause(ctx), "")
			return
		}
		l.setDown(fmt.Errorf("%s: %w", a.shown, err), problem(a, err))
		pause.wait(ctx)
	}
}

// dial returns the connection and its socket.
func (l *link) dial(ctx context.Context, a address) (*amqp.Connection, net.Conn, error) {
	properties := amqp.NewConnectionProperties()
	properties["product"] = "tasker"
	properties.SetClientConnectionName(l.name)
	var raw net.Conn
	var plain *greeting
	handshake, secured := a.handshake()
	unwatch := func() bool { return true }
	conn, err := amqp.DialConfig(a.uri, amqp.Config{
		Heartbeat:       l.heartbeat,
		Properties:      properties,
		TLSClientConfig: secured,
		Dial: func(network, addr string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: a.timeout}
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			// Limit the handshake as well, and abort it with ctx. The client
			// removes the deadline afterwards.
			if err := c.SetDeadline(time.Now().Add(a.timeout)); err != nil {
				_ = c.Close()
				return nil, err
			}
			raw = c
			unwatch = context.AfterFunc(ctx, func() { _ = c.Close() })
			if a.secure {
				return c, nil
			}
			plain = &greeting{Conn: c}
			return plain, nil
		},
	})
	unwatch()
	if err != nil {
		if raw != nil {
			_ = raw.Close()
		}
		if ctx.Err() == nil {
			err = explainTLS(err, handshake, plain)
		}
		return nil, nil, err
	}
	return conn, raw, nil
}

// serve watches a connection until it ends, and returns why.
func (l *link) serve(ctx context.Context, conn *amqp.Connection, raw net.Conn, a address) error {
	closes := conn.NotifyClose(make(chan *amqp.Error, 1))
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	// If a write hangs in a dead socket, so does the client's own shutdown:
	// closing the socket frees both.
	defer func() { _ = raw.Close() }()
	l.setUp(conn, raw, a)
	for {
		select {
		case <-ctx.Done():
			_ = conn.CloseDeadline(time.Now().Add(closeTimeout))
			return context.Cause(ctx)
		case reason := <-closes:
			if reason == nil {
				return amqp.ErrClosed
			}
			return reason
		case b, ok := <-blocks:
			if !ok {
				blocks = nil
				continue
			}
			l.setBlocked(b.Active, b.Reason)
		}
	}
}

func (l *link) setUp(conn *amqp.Connection, raw net.Conn, a address) {
	l.log.Info("connected to RabbitMQ", "address", a.shown)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.raw, l.down, l.blocked, l.warned = conn, raw, nil, "", nil
	l.notify()
}

// problem describes what is wrong with an address, the same each time: the
// whole error may contain a port that changes.
func problem(a address, err error) string {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return fmt.Sprint(a.shown, " ", e.Code)
	}
	return a.shown
}

// setDown logs each problem of an outage once as a warning, so that wrong
// credentials at one node show beside another that does not answer, and further
// failures at debug level.
func (l *link) setDown(why error, problem string) {
	l.mu.Lock()
	first := !l.warned[problem]
	if l.warned == nil {
		l.warned = make(map[string]bool)
	}
	l.warned[problem] = true
	l.conn, l.raw, l.down, l.blocked = nil, nil, why, ""
	l.notify()
	l.mu.Unlock()
	switch {
	case errors.Is(why, broker.ErrClosed):
	case first:
		l.log.Warn("cannot connect to RabbitMQ: retrying", "err", why)
	default:
		l.log.Debug("still cannot connect to RabbitMQ", "err", why)
	}
}

// abandon closes a broken connection without a word to the broker, so that the
// next node is tried.
func (l *link) abandon(conn *amqp.Connection, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == conn && l.raw != nil {
		l.log.Warn("abandoning the connection to RabbitMQ", "err", why)
		_ = l.raw.Close()
	}
}

func (l *link) setBlocked(blocked bool, reason string) {
	if blocked {
		if reason == "" {
			reason = "no reason given"
		}
		l.log.Warn("RabbitMQ accepts no messages for now", "reason", reason)
	} else {
		reason = ""
		l.log.Info("RabbitMQ accepts messages again")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = reason
	l.notify()
}

// notify wakes those waiting for a change; l.mu is held.
func (l *link) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// connection waits for an open connection, until ctx ends.
func (l *link) connection(ctx context.Context) (*amqp.Connection, error) {
	for {
		l.mu.Lock()
		conn, changed := l.conn, l.changed
		l.mu.Unlock()
		if conn != nil && !conn.IsClosed() {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ready returns why a publish could not be sent now, or nil. The channel is
// closed when the answer may have changed.
func (l *link) ready() (changed <-chan struct{}, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.down != nil:
		return l.changed, fmt.Errorf("%w: %w", broker.ErrNotConnected, l.down)
	case l.conn.IsClosed():
		return l.changed, fmt.Errorf("%w: connection lost", broker.ErrNotConnected)
	case l.blocked != "":
		return l.changed, fmt.Errorf("%w: %s", broker.ErrBlocked, l.blocked)
	}
	return l.changed, nil
}

// open opens a channel and prepares it with setup; see [callWithTimeout].
func (l *link) open(ctx context.Context, conn *amqp.Connection, setup func(*amqp.Channel) error) (*amqp.Channel, error) {
	return callWithTimeout(ctx, l, conn, func() (*amqp.Channel, error) {
		ch, err := conn.Channel()
		if err == nil {
			if err = setup(ch); err != nil {
				_ = ch.Close()
			}
		}
		return ch, err
	}, func(late *amqp.Channel) { _ = late.Close() })
}

// callWithTimeout makes a call of the client's that waits for RabbitMQ's answer
// and does not take a context, after a turn among [maxCalls]. If ctx ends first, it
// returns, and what the call returns is discarded. If there is no answer for too
// long, it abandons the connection: a node that hangs in part, as in a cluster that
// loses one, might never answer.
func callWithTimeout[T any](
	ctx context.Context, l *link, conn *amqp.Connection, call func() (T, error), discard func(T),
) (value T, err error) {
	type result struct {
		value T
		err   error
	}
	select {
	case l.calls <- struct{}{}:
		defer func() { <-l.calls }()
	case <-ctx.Done():
		return value, context.Cause(ctx)
	}
	done, over := make(chan result), make(chan struct{})
	defer close(over)
	started := l.group.run(func() {
		v, err := call()
		select {
		case done <- result{v, err}:
		case <-over:
			if err == nil {
				discard(v)
			}
		}
	})
	if !started {
		return value, broker.ErrClosed
	}
	limit := time.NewTimer(l.answer)
	defer limit.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return value, context.Cause(ctx)
	case <-limit.C:
		err := fmt.Errorf("no answer to a declaration for %s", l.answer)
		l.abandon(conn, err)
		return value, err
	}
}

// closeChannel closes ch and waits for that, though not for long.
func (l *link) closeChannel(ch *amqp.Channel) {
	done := make(chan struct{})
	if !l.group.run(func() { defer close(done); _ = ch.Close() }) {
		return // the connection is being closed, and the channel with it
	}
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
