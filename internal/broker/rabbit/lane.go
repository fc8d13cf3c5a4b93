package rabbit

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// reopening is how long a channel may take to be opened in the place of one
	// that RabbitMQ closed for a message, until the broker is not ready.
	reopening = 2 * time.Second
	// mostPatient bounds the growth of the time without a confirm: a multiple of
	// Config.ConfirmTimeout.
	mostPatient = 8
)

// lane hands jobs to one session after another, over one channel at a time.
type lane struct {
	window  int
	jobs    chan *job
	session atomic.Pointer[session]
	blamed  atomic.Int64 // when RabbitMQ closed the last channel for a message, as Unix time in ns; else 0
}

func newLane(window int) *lane { return &lane{window: window, jobs: make(chan *job)} }

// open reports whether messages are published, or will be in a moment.
func (l *lane) open() bool {
	if s := l.session.Load(); s != nil && (!s.ch.IsClosed() || s.blamed()) {
		return true
	}
	blamed := l.blamed.Load()
	return blamed != 0 && time.Since(time.Unix(0, blamed)) < reopening
}

// run publishes a lane's jobs until ctx ends.
func (p *publisher) run(ctx context.Context, l *lane) {
	var pause backoff
	for patience := 1; ; {
		conn, first, err := p.begin(ctx, l)
		if err != nil {
			return
		}
		since := time.Now()
		s, err := openSession(ctx, p.link, conn, l.window, time.Duration(patience)*p.silence)
		if err == nil {
			l.session.Store(s)
			l.blamed.Store(0)
			err = s.run(ctx, first, l.jobs)
			patience = nextPatience(patience, s)
		} else if first != nil {
			first.fail(0, errUnsent)
		}
		if ctx.Err() != nil {
			l.session.Store(nil)
			return
		}
		pause.worked(since)
		if s != nil && s.blamed() {
			l.blamed.Store(time.Now().UnixNano())
			l.session.Store(nil)
			p.log.WarnContext(ctx, "RabbitMQ refused a message and closed its channel: the others go on by another one", "error", explain(err))
			continue // it is the message's fault: there is nothing to wait for
		}
		l.session.Store(nil)
		if errors.Is(err, errNack) {
			p.log.InfoContext(ctx, "RabbitMQ could not take a message, publishing over a new channel")
			continue // no sooner than a renewal after the last
		}
		if !conn.IsClosed() {
			p.log.WarnContext(ctx, "RabbitMQ closed the channel that publishes, opening another", "error", err)
		}
		pause.wait(ctx)
	}
}

// nextPatience returns the patience of the session after s: twice as much where
// s ended for the lack of confirms. RabbitMQ may be busy with messages for
// thousands of queues, and to publish them again makes it busier.
func nextPatience(patience int, s *session) int {
	if s.silent {
		return min(2*patience, mostPatient)
	}
	return 1
}

// begin waits for what a session needs: a connection and, where messages are
// published apart, which is seldom, the first of them.
func (p *publisher) begin(ctx context.Context, l *lane) (conn *amqp.Connection, first *job, err error) {
	for {
		conn, err = p.link.connection(ctx)
		if err != nil || l.window != apart {
			return conn, nil, err
		}
		changed, _ := p.link.ready()
		if conn.IsClosed() {
			continue
		}
		select {
		case first := <-l.jobs:
			return conn, first, nil
		case <-changed:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}
