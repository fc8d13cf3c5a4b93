package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// checker declares what the running consumers need again, now and then:
// RabbitMQ tells a consumer that its queue was deleted, but not that the
// exchange or a binding is gone, without which nothing reaches the queue. It
// never creates the queue of a consumer: RabbitMQ does not always tell the consumer
// of a queue that was deleted and created again, but counts it as one of the new
// queue and keeps the messages for it, so that it would wait for ever. A consumer
// whose queue is gone is ended, and subscribes again. So is one that RabbitMQ has forgotten,
// as may happen in a cluster when a node hangs: in two rounds in a row, the
// queue has no consumer, or has messages but delivers none to a consumer that
// has settled all.
//
// It uses a channel of its own, since a refused declaration closes the channel.
// It declares one object after the other, so that a process with many consumers
// does not burden RabbitMQ. Messages published while a binding was missing did
// not reach the queue; the manager finds those tasks in the database.
type checker struct {
	link   *link
	log    *slog.Logger
	period time.Duration // the mean time between two rounds

	mu      sync.Mutex
	watched map[*watched]bool
}

// watched is what a running consumer needs. All but the first three fields are
// the checker's.
type watched struct {
	object
	queue string        // that it consumes from; "" if nobody else can create it
	flow  *flow         // nil if unknown
	stale chan struct{} // closed when the consumer must subscribe again

	refusal   string // logged last
	neglected bool   // in the last round
	taken     int64  // in the last round
}

// flow counts the deliveries of a consumer and how many of them it has settled.
type flow struct{ taken, settled atomic.Int64 }

func newChecker(l *link, period time.Duration, log *slog.Logger) *checker {
	return &checker{link: l, log: log, period: period, watched: make(map[*watched]bool)}
}

// watch has an object checked until the returned function is called. The
// channel is closed if queue, unless empty, is gone or has forgotten its
// consumer.
func (c *checker) watch(o object, queue string, consumed *flow) (stale <-chan struct{}, unwatch func()) {
	w := &watched{object: o, queue: queue, flow: consumed, stale: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched[w] = true
	return w.stale, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watched, w)
	}
}

// run makes rounds until ctx ends. Their times are random, so that the managers
// of a fleet do not act together.
func (c *checker) run(ctx context.Context) {
	for {
		timer := time.NewTimer(c.period/2 + rand.N(c.period))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		conn, err := c.link.connection(ctx)
		if err != nil {
			return
		}
		c.round(ctx, conn)
	}
}

// round declares all watched objects, until ctx or the connection ends.
func (c *checker) round(ctx context.Context, conn *amqp.Connection) {
	c.mu.Lock()
	all := make([]*watched, 0, len(c.watched))
	for w := range c.watched {
		all = append(all, w)
	}
	c.mu.Unlock()
	var ch *amqp.Channel
	defer func() {
		if ch != nil {
			c.link.closeChannel(ch)
		}
	}()
	for _, w := range all {
		if ch == nil || ch.IsClosed() {
			var err error
			if ch, err = c.link.open(ctx, conn, func(*amqp.Channel) error { return nil }); err != nil {
				return
			}
		}
		ended, err := callWithTimeout(ctx, c.link, conn, func() (bool, error) { return c.check(ch, w) }, func(bool) {})
		if ctx.Err() != nil || conn.IsClosed() {
			return
		}
		if ended {
			continue
		}
		if err == nil || refused(err) { // not that the channel was closed by a refusal just before
			c.report(ctx, w, err)
		}
	}
}

// check declares what a consumer needs. If its queue is gone, or has forgotten it,
// it ends the consumer, and reports that.
func (c *checker) check(ch *amqp.Channel, w *watched) (ended bool, err error) {
	if w.queue == "" {
		return false, w.declare(ch)
	}
	q, err := ch.QueueDeclarePassive(w.queue, true, false, false, false, nil)
	if err == nil && !w.neglects(q) {
		return false, w.declare(ch) // fails if the queue was deleted just now: the next round finds it gone
	}
	var refusal *amqp.Error
	if err != nil && (!errors.As(err, &refusal) || refusal.Code != amqp.NotFound) {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched[w] {
		delete(c.watched, w)
		close(w.stale)
	}
	return true, nil
}

// neglects notes a queue's state, and reports whether the queue has neglected
// its consumer since the last round. One round is not enough: a delivery may be
// on its way, and a quorum queue without a leader has no consumers for a
// moment.
func (w *watched) neglects(q amqp.Queue) bool {
	neglected := q.Consumers == 0
	var taken int64
	if w.flow != nil {
		taken = w.flow.taken.Load()
		neglected = neglected || q.Messages > 0 && taken == w.flow.settled.Load()
	}
	again := neglected && w.neglected && taken == w.taken
	w.neglected, w.taken = neglected, taken
	return again
}

// report logs a refusal once while it stays the same.
func (c *checker) report(ctx context.Context, w *watched, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	c.mu.Lock()
	current, last := c.watched[w], w.refusal
	w.refusal = text
	c.mu.Unlock()
	if err == nil || !current || text == last {
		return
	}
	c.log.WarnContext(ctx, "RabbitMQ refuses a declaration: the queue may get no messages", "object", w.key, "err", explain(err))
}
