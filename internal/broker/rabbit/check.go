package rabbit

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// checker declares again, now and then, what the running consumers need:
// RabbitMQ tells a consumer that its queue was deleted, but not that the
// exchange or a binding is gone, without which nothing reaches the queue.
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
	watched map[*object]string // with the refusal that was logged last
}

func newChecker(l *link, period time.Duration, log *slog.Logger) *checker {
	return &checker{link: l, log: log, period: period, watched: make(map[*object]string)}
}

// watch has an object checked until the function that it gives is called.
func (c *checker) watch(o object) (unwatch func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched[&o] = ""
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watched, &o)
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
	objects := make([]*object, 0, len(c.watched))
	for o := range c.watched {
		objects = append(objects, o)
	}
	c.mu.Unlock()
	var ch *amqp.Channel
	defer func() {
		if ch != nil {
			c.link.closeChannel(ch)
		}
	}()
	for _, o := range objects {
		if ch == nil || ch.IsClosed() {
			var err error
			if ch, err = c.link.open(ctx, conn, func(*amqp.Channel) error { return nil }); err != nil {
				return
			}
		}
		err := o.declare(ch)
		if ctx.Err() != nil || conn.IsClosed() {
			return
		}
		c.report(ctx, o, err)
	}
}

// report logs a refusal once, for as long as it stays the same.
func (c *checker) report(ctx context.Context, o *object, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	c.mu.Lock()
	last, watched := c.watched[o]
	if watched {
		c.watched[o] = text
	}
	c.mu.Unlock()
	if err == nil || !watched || text == last {
		return
	}
	c.log.WarnContext(ctx, "RabbitMQ refuses what a consumer needs: its queue may get no messages", "object", o.key, "error", explain(err))
}
