package rabbit

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// reopening is how long it may take to replace a channel that RabbitMQ
	// closed for a message, before the broker counts as not ready.
	reopening = 2 * time.Second
	// maxGrowth limits how much the confirm timeout grows: a multiple of
	// Config.ConfirmTimeout.
	maxGrowth = 8
)

// lane passes jobs to one session after another, over one channel at a time.
type lane struct {
	window  int
	jobs    chan *job
	session atomic.Pointer[session]
	blamed  atomic.Int64 // when RabbitMQ closed the last channel for a message, in Unix nanoseconds, or 0
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
	pause := newRetry()
	for factor := 1; ; {
		conn, first, err := p.begin(ctx, l)
		if err != nil {
			return
		}
		since := time.Now()
		s, err := openSession(ctx, p.link, conn, l.window, time.Duration(factor)*p.silence)
		if err == nil {
			l.session.Store(s)
			l.blamed.Store(0)
			err = s.run(ctx, first, l.jobs)
			factor = nextTimeout(factor, s)
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
			p.log.WarnContext(ctx, "channel closed because RabbitMQ refused a message: the others continue over another",
				"err", explain(err))
			continue // the message's fault: do not wait
		}
		l.session.Store(nil)
		if errors.Is(err, errNack) {
			p.log.InfoContext(ctx, "RabbitMQ could not take a message, publishing over a new channel")
			continue // no sooner than renewal after the last
		}
		if !conn.IsClosed() {
			p.log.WarnContext(ctx, "channel for publishing closed by RabbitMQ, opening another", "err", err)
		}
		pause.wait(ctx)
	}
}

// nextTimeout returns the confirm timeout of the session after s: doubled if s
// ended without confirms. RabbitMQ may be busy with messages for thousands of
// queues, and publishing them again makes it busier.
func nextTimeout(factor int, s *session) int {
	if s.silent {
		return min(2*factor, maxGrowth)
	}
	return 1
}

// begin waits for what a session needs: a connection and, in the lane for
// suspect messages, a first message.
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
