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
	// window bounds the messages of a session that wait for their confirm.
	window = 256
	// apart is the window of a session for messages under suspicion: when
	// RabbitMQ closes its channel, there is one message that it refused.
	apart = 1
	// renewal is the least age at which a session ends for a message that the
	// broker could not take: a queue that takes none must not make the others
	// wait for one channel after another.
	renewal = time.Second
)

// session publishes over one channel in confirm mode, until the channel ends.
//
// RabbitMQ refuses a message by closing its channel, with everything on it that
// is not confirmed yet, and does not say which message it was. So each of them
// is published again by a session whose window is one message: what ends that
// one's channel is refused, and all others go on.
//
// Its run loop is the only one that writes. A return (a message that no queue
// took) comes before the confirm of its message, and the client hands both
// over from one goroutine: so whoever sees a confirm finds the return in the
// buffer of returns, which is large enough for the whole window and therefore
// never makes the client drop one.
//
// A message that the broker could not take (a nack) makes the session stale, to
// be replaced before the next job: a channel that was opened while the leader
// of a quorum queue was down may hold on to that leader, and refuse at once all
// that goes to the queue, for as long as it lives (seen with RabbitMQ 3.10).
//
// A channel that confirms nothing for long, while the broker says that it takes
// messages, may be stuck in the broker: a frozen node of a cluster takes along
// those channels of the others that wait for it. The connection is given up
// then, for one to the next node, and so it is where a channel is not opened,
// not closed, or does not say whether it has declared something.
type session struct {
	opened  time.Time
	stale   atomic.Bool
	wrote   atomic.Bool // a message
	window  int
	silence time.Duration // how long no confirm may come
	silent  bool          // it ended since none came; of the run loop
	heard   atomic.Int64  // when the last one came, or the first message went, as a Duration since opened
	link    *link
	conn    *amqp.Connection
	ch      *amqp.Channel
	closes  chan *amqp.Error
	returns chan amqp.Return
	slots   chan struct{} // one for each message without a confirm
	settles sync.WaitGroup
	over    chan struct{} // closed when the channel has ended
	reason  *amqp.Error   // why it has; valid when over is closed

	// Of the run loop alone:
	tick     *time.Ticker  // when to look for silence; made with the session
	tag      uint64        // of the message published last
	declares *amqp.Channel // another channel, since a refused declaration closes it
	declared map[string]bool

	mu       sync.Mutex
	unrouted map[string]bool // correlation ids that came back
}

func openSession(ctx context.Context, l *link, conn *amqp.Connection, window int, silence time.Duration) (*session, error) {
	s := &session{
		opened: time.Now(), window: window, silence: silence, link: l, conn: conn,
		slots:    make(chan struct{}, window),
		over:     make(chan struct{}),
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
		close(s.over)
	})
	return s, nil
}

// run publishes jobs, beginning with first if it is not nil, until ctx or the
// channel ends, and returns why it ended. Every job that it took has its
// outcome then.
func (s *session) run(ctx context.Context, first *job, jobs <-chan *job) error {
	defer func() {
		if s.declares != nil {
			s.link.closeChannel(s.declares)
		}
		s.link.closeChannel(s.ch)
		if ctx.Err() == nil && !s.ch.IsClosed() {
			// The confirms that are waited for would come with its end.
			s.link.abandon(s.conn, fmt.Errorf("it has not closed a channel for %s", closeTimeout))
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
			return ended(reason)
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
		if len(s.slots) == 1 { // nothing was waited for until now
			s.hear()
		}
		// One goroutine for each message in the window: the confirms of a
		// large fan-out come late and must not hold up those behind it.
		s.settles.Go(func() { s.settle(j, key, id, confirm) })
	}
	return nil
}

// admit waits until a message may be written: the broker takes messages, and
// the window has room. It tells if the job's caller left meanwhile; an error
// is the end of the session.
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
			return false, ended(reason)
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
			return false, ended(reason)
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-j.ctx.Done():
			return true, nil
		}
	}
}

func (s *session) hear() { s.heard.Store(int64(time.Since(s.opened))) }

// listen gives up the connection if it has been silent for too long. While the
// broker takes no messages, it has nothing to say.
func (s *session) listen() error {
	if _, why := s.link.ready(); len(s.slots) == 0 || why != nil {
		s.hear()
		return nil
	}
	if time.Since(s.opened)-time.Duration(s.heard.Load()) <= s.silence {
		return nil
	}
	s.silent = true
	err := fmt.Errorf("it has confirmed nothing for %s", s.silence)
	s.link.abandon(s.conn, err)
	return err
}

// settle waits for a confirm, which the end of the channel gives as well.
func (s *session) settle(j *job, key, id string, confirm *amqp.DeferredConfirmation) {
	acked := confirm.Wait()
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
	<-s.over
	switch {
	case s.conn.IsClosed() || s.reason == nil || !refused(s.reason):
		return errLost
	case s.window == apart:
		return refusal(s.reason)
	}
	return errSuspect
}

// cameBack tells whether the message, whose confirm was seen, was returned.
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

// declare makes an object exist, once in a session or anew.
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

// await waits for something that the broker is asked for. The client's calls
// know no time limit: where no answer comes, the connection is given up, which
// ends the call.
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
			if _, why := s.link.ready(); why != nil { // it has nothing to say
				since = time.Now()
			} else if time.Since(since) > s.silence {
				s.link.abandon(s.conn, fmt.Errorf("it has not answered for %s", s.silence))
			}
		}
	}
}

// unwritten returns the outcome of a message whose write failed. RabbitMQ takes
// nothing more of a channel that it closed; of a connection that was lost it may
// have the whole message.
func (s *session) unwritten() error {
	if s.ch.IsClosed() {
		<-s.over
		if !s.conn.IsClosed() {
			return errUnsent
		}
	}
	return errLost
}

// blamed reports whether RabbitMQ closed the channel, of a connection that
// lives, for a message, or has closed it a moment ago for a reason that is not
// known yet.
func (s *session) blamed() bool {
	select {
	case <-s.over:
		return s.reason != nil && refused(s.reason) && s.wrote.Load() && !s.conn.IsClosed()
	default:
		return s.ch.IsClosed()
	}
}

// lost is why a write failed: the reason of the channel's end, if it is there.
func (s *session) lost(err error) error {
	select {
	case reason := <-s.closes:
		return ended(reason)
	default:
		return err
	}
}

// ended is the reason that a channel's end came with.
func ended(reason *amqp.Error) error {
	if reason == nil {
		return amqp.ErrClosed
	}
	return reason
}
