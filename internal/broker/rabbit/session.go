package rabbit

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

const (
	// window limits the unconfirmed messages of a session.
	window = 256
	// apart is the window of a session for suspect messages: if RabbitMQ closes
	// its channel, it is clear which message it refused.
	apart = 1
	// copyTime is how long a busy broker may take to put a copy of a message
	// into a queue. It confirms a message for thousands of queues only when it
	// has done so for all.
	copyTime = 5 * time.Millisecond
	// renewal is the least age at which a session ends because the broker could
	// not take a message: a queue that takes none must not make the others wait
	// for one new channel after another.
	renewal = time.Second
)

// session publishes over one channel in confirm mode, until the channel ends.
//
// RabbitMQ refuses a message by closing its channel, with all unconfirmed
// messages, and does not say which one it was. So each of them is published
// again by a session with a window of one message: if its channel is closed,
// the message is refused; all others go through.
//
// The run loop is the only writer. A return (a message that no queue took)
// comes before the confirm of its message, and the client passes on both from
// one goroutine: whoever sees a confirm finds the return in the buffer of
// returns, which holds the whole window, so that the client never drops one.
//
// A message that the broker could not take (a nack) makes the session stale,
// and it is replaced before the next job: a channel opened while the leader of
// a quorum queue was down may keep to that leader, and refuse everything for
// that queue as long as it lives (seen with RabbitMQ 3.10).
//
// A channel without confirms for long, while the broker says that it accepts
// messages, may be stuck in the broker: a frozen node of a cluster blocks the
// channels of others that wait for it. The connection is then abandoned for one
// to the next node, and also if opening or closing a channel, or a declaration,
// gets no answer.
type session struct {
	opened  time.Time
	stale   atomic.Bool
	wrote   atomic.Bool // a message
	window  int
	silence time.Duration // for how long no confirm may come, besides the time for copies
	copies  atomic.Int64  // that the broker has yet to put into queues
	silent  bool          // it ended without confirms; used by the run loop only
	heard   atomic.Int64  // when the last one came, or the first message was sent, as a Duration since opened
	link    *link
	conn    *amqp.Connection
	ch      *amqp.Channel
	closes  chan *amqp.Error
	returns chan amqp.Return
	slots   chan struct{} // one for each unconfirmed message
	settles sync.WaitGroup
	closed  chan struct{} // closed when the channel has ended
	reason  *amqp.Error   // why it ended; valid when closed is closed

	// Used by the run loop only:
	tick     *time.Ticker  // when to check for silence
	tag      uint64        // of the last message published
	declares *amqp.Channel // a separate channel, since a refused declaration closes it
	declared map[string]bool

	mu       sync.Mutex
	unrouted map[string]bool // correlation ids of returned messages
}

func openSession(ctx context.Context, l *link, conn *amqp.Connection, window int, silence time.Duration) (*session, error) {
	s := &session{
		opened: time.Now(), window: window, silence: silence, link: l, conn: conn,
		slots:    make(chan struct{}, window),
		closed:   make(chan struct{}),
		declared: make(map[string]bool),
		unrouted: make(map[string]bool),
	}
	s.tick = time.NewTicker(s.silence / 4)
	var ends chan *amqp.Error
	err := s.await(func() (err error) {
		s.ch, err = l.open(ctx, conn, func(ch *amqp.Channel) error {
			s.closes = ch.NotifyClose(make(chan *amqp.Error, 1))
			ends = ch.NotifyClose(make(chan *amqp.Error, 1))
			s.returns = ch.NotifyReturn(make(chan amqp.Return, window))
			return ch.Confirm(false)
		})
		return err
	})
	if err != nil {
		s.tick.Stop()
		return nil, fmt.Errorf("open a channel to publish: %w", err)
	}
	s.settles.Go(func() {
		s.reason = <-ends
		close(s.closed)
	})
	return s, nil
}

// run publishes jobs, beginning with first if it is not nil, until ctx or the
// channel ends, and returns why it ended. Every job taken has its outcome then.
func (s *session) run(ctx context.Context, first *job, jobs <-chan *job) error {
	defer func() {
		if s.declares != nil {
			s.link.closeChannel(s.declares)
		}
		s.link.closeChannel(s.ch)
		if ctx.Err() == nil && !s.ch.IsClosed() {
			// Missing confirms would come with its end.
			s.link.abandon(s.conn, fmt.Errorf("no answer to closing a channel for %s", closeTimeout))
		}
		s.settles.Wait()
	}()
	defer s.tick.Stop()
	if first != nil {
		if err := s.publish(ctx, first); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case reason := <-s.closes:
			return endReason(reason)
		case <-s.tick.C:
			if err := s.listen(); err != nil {
				return err
			}
		case j := <-jobs:
			if s.stale.Load() {
				j.fail(0, errUnsent)
				return errNack
			}
			if err := s.publish(ctx, j); err != nil {
				return err
			}
		}
	}
}

// publish sends a job's messages. An error means the end of the session.
func (s *session) publish(ctx context.Context, j *job) error {
	for _, o := range j.needs {
		if err := s.declare(ctx, o, j.anew); err != nil {
			if s.conn.IsClosed() || !refused(err) {
				j.fail(0, errUnsent)
				return err
			}
			j.fail(0, refusal(err))
			return nil
		}
	}
	if j.bare {
		j.settle(j.keys[0], false, nil)
		return nil
	}
	for i, key := range j.keys {
		dropped, err := s.admit(ctx, j)
		if err != nil {
			j.fail(i, errUnsent)
			return err
		}
		if dropped {
			j.fail(i, errDropped)
			return nil
		}
		s.tag++
		s.wrote.Store(true)
		id := strconv.FormatUint(s.tag, 10)
		message := j.message
		message.CorrelationId = id
		confirm, err := s.ch.PublishWithDeferredConfirm(j.exchange, key, true, false, message)
		if err != nil {
			<-s.slots
			j.settle(key, false, s.unwritten())
			j.fail(i+1, errUnsent)
			return s.lost(err)
		}
		s.copies.Add(j.copies)
		if len(s.slots) == 1 { // no confirm was due until now
			s.hear()
		}
		// One goroutine per message in the window: late confirms of a large
		// fan-out must not hold up those behind it.
		s.settles.Go(func() { s.settle(j, key, id, confirm) })
	}
	return nil
}

// admit waits until a message may be written: the broker accepts messages, and
// the window has room. left is true if the job's caller left meanwhile; an
// error is the end of the session.
func (s *session) admit(ctx context.Context, j *job) (dropped bool, err error) {
	if j.ctx.Err() != nil {
		return true, nil
	}
	for {
		changed, why := s.link.ready()
		if why == nil {
			break
		}
		select {
		case <-changed:
		case reason := <-s.closes:
			return false, endReason(reason)
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-j.ctx.Done():
			return true, nil
		}
	}
	for {
		select {
		case s.slots <- struct{}{}:
			return false, nil
		case <-s.tick.C:
			if err := s.listen(); err != nil {
				return false, err
			}
		case reason := <-s.closes:
			return false, endReason(reason)
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-j.ctx.Done():
			return true, nil
		}
	}
}

func (s *session) hear() { s.heard.Store(int64(time.Since(s.opened))) }

// listen abandons the connection if it has been silent for too long. While the
// broker accepts no messages, it has nothing to confirm.
func (s *session) listen() error {
	if _, why := s.link.ready(); len(s.slots) == 0 || why != nil {
		s.hear()
		return nil
	}
	patience := s.silence + time.Duration(s.copies.Load())*copyTime
	if time.Since(s.opened)-time.Duration(s.heard.Load()) <= patience {
		return nil
	}
	s.silent = true
	err := fmt.Errorf("no confirm for %s", s.silence)
	s.link.abandon(s.conn, err)
	return err
}

// settle waits for a confirm. The end of the channel is one as well.
func (s *session) settle(j *job, key, id string, confirm *amqp.DeferredConfirmation) {
	acked := confirm.Wait()
	s.copies.Add(-j.copies)
	returned := s.cameBack(id)
	s.hear()
	<-s.slots
	switch {
	case acked:
		j.settle(key, returned, nil)
	case s.ch.IsClosed():
		j.settle(key, false, s.unconfirmed())
	default:
		if time.Since(s.opened) >= renewal {
			s.stale.Store(true)
		}
		j.settle(key, false, errNack)
	}
}

// unconfirmed returns the outcome of a message whose channel ended before its
// confirm.
func (s *session) unconfirmed() error {
	<-s.closed
	switch {
	case s.conn.IsClosed() || s.reason == nil || !refused(s.reason):
		return errLost
	case s.window == apart:
		return refusal(s.reason)
	}
	return errSuspect
}

// cameBack reports whether a confirmed message was returned.
func (s *session) cameBack(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		select {
		case r, ok := <-s.returns:
			if ok {
				s.unrouted[r.CorrelationId] = true
				continue
			}
		default:
		}
		break
	}
	returned := s.unrouted[id]
	delete(s.unrouted, id)
	return returned
}

// declare declares an object, once per session or anew.
func (s *session) declare(ctx context.Context, o object, anew bool) error {
	if s.declared[o.key] && !anew {
		return nil
	}
	if s.declares == nil || s.declares.IsClosed() {
		err := s.await(func() (err error) {
			s.declares, err = s.link.open(ctx, s.conn, func(*amqp.Channel) error { return nil })
			return err
		})
		if err != nil {
			s.declares = nil
			return fmt.Errorf("open a channel to declare: %w", err)
		}
	}
	if err := s.await(func() error { return o.declare(s.declares) }); err != nil {
		return fmt.Errorf("declare the %s: %w", o.key, err)
	}
	s.declared[o.key] = true
	return nil
}

// await waits for an answer of the broker. The client's calls have no time
// limit: without an answer, the connection is abandoned, which ends the call.
func (s *session) await(ask func() error) error {
	done := make(chan error, 1)
	if !s.link.group.run(func() { done <- ask() }) {
		return broker.ErrClosed
	}
	for since := time.Now(); ; {
		select {
		case err := <-done:
			return err
		case <-s.tick.C:
			if _, why := s.link.ready(); why != nil { // nothing to confirm
				since = time.Now()
			} else if time.Since(since) > s.silence {
				s.link.abandon(s.conn, fmt.Errorf("no answer for %s", s.silence))
			}
		}
	}
}

// unwritten returns the outcome of a message whose write failed. RabbitMQ takes
// nothing more from a channel that it closed; over a connection that was lost
// it may have received the whole message.
func (s *session) unwritten() error {
	if s.ch.IsClosed() {
		<-s.closed
		if !s.conn.IsClosed() {
			return errUnsent
		}
	}
	return errLost
}

// blamed reports whether RabbitMQ closed the channel for a message, on a live
// connection, or closed it a moment ago for a reason not known yet.
func (s *session) blamed() bool {
	select {
	case <-s.closed:
		return s.reason != nil && refused(s.reason) && s.wrote.Load() && !s.conn.IsClosed()
	default:
		return s.ch.IsClosed()
	}
}

// lost returns why a write failed: the reason of the channel's end, if known.
func (s *session) lost(err error) error {
	select {
	case reason := <-s.closes:
		return endReason(reason)
	default:
		return err
	}
}

// endReason returns the reason of a channel's end.
func endReason(reason *amqp.Error) error {
	if reason == nil {
		return amqp.ErrClosed
	}
	return reason
}
