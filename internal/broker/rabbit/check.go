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

// checker declares again, now and then, what the running consumers need:
// RabbitMQ tells a consumer that its queue was deleted, but not that the
// exchange or a binding is gone, without which nothing reaches the queue. It
// never makes a queue anew: RabbitMQ does not tell the consumer of a quorum
// queue that was deleted if somebody has made it anew already, and the consumer
// would wait for ever. One whose queue is gone is ended, and subscribes again.
// So is one that RabbitMQ has forgotten, as it may in a cluster when a node
// hangs: two rounds in a row, the queue has no consumer, or has messages and
// gives none to one that has settled all that it got.
//
// It works on a channel of its own, since a refused declaration closes the
// channel, and declares one object after the other, so that a process with
// many consumers asks no more at once than one with a single consumer. What
// was published while a binding was missing did not reach its queue; whoever
// consumes has to find that elsewhere.
type checker struct {
	link   *link
	log    *slog.Logger
	period time.Duration // the mean time between two rounds

	mu      sync.Mutex
	watched map[*watched]bool
}

// watched is what a running consumer needs. Its fields but the first three are
// the checker's.
type watched struct {
	object
	queue string        // that it consumes from; "" where nobody else can make it
	flow  *flow         // nil where it is not known
	stale chan struct{} // closed when the consumer has to subscribe again

	refusal   string // that was logged last
	neglected bool   // in the last round
	taken     int64  // likewise
}

// flow counts what a consumer was given and what it has settled of it.
type flow struct{ taken, settled atomic.Int64 }

func newChecker(l *link, period time.Duration, log *slog.Logger) *checker {
	return &checker{link: l, log: log, period: period, watched: make(map[*watched]bool)}
}

// watch has an object checked until the function that it gives is called, and
// tells by the channel when queue, unless empty, is gone or has forgotten its
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

// run makes one round after another until ctx ends. Their times are random, so
// that the managers of a fleet do not ask all at once.
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

// round declares all that is watched, until ctx or the connection ends.
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
		gone, err := answered(ctx, c.link, conn, func() (gone bool, err error) {
			if gone = c.gone(ch, w); !gone {
				err = w.declare(ch)
			}
			return gone, err
		}, func(bool) {})
		if ctx.Err() != nil || conn.IsClosed() {
			return
		}
		if gone {
			continue
		}
		if err == nil || refused(err) { // not that the channel is closed, by a refusal just before
			c.report(ctx, w, err)
		}
	}
}

// gone tells whether the queue does not exist, or has forgotten its consumer,
// and ends the consumer then.
func (c *checker) gone(ch *amqp.Channel, w *watched) bool {
	if w.queue == "" {
		return false
	}
	q, err := ch.QueueDeclarePassive(w.queue, true, false, false, false, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	var refusal *amqp.Error
	missing := errors.As(err, &refusal) && refusal.Code == amqp.NotFound
	if !missing && (err != nil || !w.neglects(q)) {
		return false
	}
	if c.watched[w] {
		delete(c.watched, w)
		close(w.stale)
	}
	return true
}

// neglects takes notice of a queue's state, and tells whether the queue has
// neglected its consumer since the last round. One round is not enough: a
// delivery may be on its way, and a quorum queue without a leader has no
// consumers for a moment.
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

// report logs a refusal once, for as long as it stays the same.
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
	c.log.WarnContext(ctx, "RabbitMQ refuses what a consumer needs: its queue may get no messages", "object", w.key, "error", explain(err))
}
