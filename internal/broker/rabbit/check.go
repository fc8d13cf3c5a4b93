package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// checker declares again, now and then, what the running consumers need:
// RabbitMQ tells a consumer that its queue was deleted, but not that the
// exchange or a binding is gone, without which nothing reaches the queue. It
// never makes a queue anew: RabbitMQ does not tell the consumer of a quorum
// queue that was deleted if somebody has made it anew already, and the consumer
// would wait for ever. One whose queue is gone is ended, and subscribes again.
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
	stale chan struct{} // closed when the queue is gone

	refusal string // that was logged last
}

func newChecker(l *link, period time.Duration, log *slog.Logger) *checker {
	return &checker{link: l, log: log, period: period, watched: make(map[*watched]bool)}
}

// watch has an object checked until the function that it gives is called, and
// tells by the channel when queue, unless empty, is gone.
func (c *checker) watch(o object, queue string) (stale <-chan struct{}, unwatch func()) {
	w := &watched{object: o, queue: queue, stale: make(chan struct{})}
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
		if c.gone(ch, w) {
			continue
		}
		err := w.declare(ch)
		if ctx.Err() != nil || conn.IsClosed() {
			return
		}
		if err == nil || refused(err) { // not that the channel is closed, by a refusal just before
			c.report(ctx, w, err)
		}
	}
}

// gone tells whether the queue does not exist, and ends its consumer then.
func (c *checker) gone(ch *amqp.Channel, w *watched) bool {
	if w.queue == "" {
		return false
	}
	_, err := ch.QueueDeclarePassive(w.queue, true, false, false, false, nil)
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.NotFound {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched[w] {
		delete(c.watched, w)
		close(w.stale)
	}
	return true
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
