package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// publisher publishes through its lanes. Without a connection, jobs wait with
// their callers.
type publisher struct {
	link    *link
	silence time.Duration // see Config.ConfirmTimeout
	log     *slog.Logger
	group   *group
	starter sync.Once
	shared  *lane // of all messages
	apart   *lane // of those that RabbitMQ refused, or may have refused
	limit   bodyLimit
	events  *notifier
}

func newPublisher(l *link, silence time.Duration, log *slog.Logger, g *group) *publisher {
	return &publisher{
		link: l, silence: silence, log: log, group: g,
		shared: newLane(window), apart: newLane(apart),
		events: newNotifier(l, log),
	}
}

// start starts dialling when the first caller needs it.
func (p *publisher) start() {
	p.starter.Do(func() {
		p.group.loop(p.link.run)
		p.group.loop(func(ctx context.Context) { p.run(ctx, p.shared) })
		p.group.loop(func(ctx context.Context) { p.run(ctx, p.apart) })
		p.group.loop(p.events.run)
	})
}

// ready returns why a publish could not be sent now, or nil.
func (p *publisher) ready() error {
	p.start()
	if err := p.group.err(); err != nil {
		return err
	}
	if _, why := p.link.ready(); why != nil {
		return why
	}
	if !p.shared.open() {
		return fmt.Errorf("%w: opening its channel", broker.ErrNotConnected)
	}
	return nil
}

// publish sends a job and waits until all its messages are confirmed. Messages
// with an unknown outcome after the loss of a connection are sent again while
// the job's context lasts, and those that the broker could not take once more;
// but not if the job is to be sent once. It returns the keys that no queue
// took.
func (p *publisher) publish(j *job) (returned []string, err error) {
	ctx := j.ctx
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if limit := p.limit.bytes(); limit > 0 && len(j.message.Body) > limit && !j.apart {
		return nil, fmt.Errorf("%w: it has %d bytes, but RabbitMQ accepts at most %d (its setting max_message_size)",
			broker.ErrRefused, len(j.message.Body), limit)
	}
	p.start()
	for nacked := false; j != nil; j = j.next() {
		if err := p.hand(ctx, j); err != nil {
			return nil, err
		}
		returned = append(returned, j.returned...)
		switch {
		case errors.Is(j.err, errDropped):
			return nil, p.gaveUp(ctx)
		case j.err != nil:
			p.limit.learn(limitOf(j.err))
			return nil, j.err
		case j.once && len(j.lost) > 0:
			return nil, broker.ErrUnconfirmed
		case len(j.nacked) > 0 && (nacked || j.once):
			return nil, errNack
		}
		nacked = nacked || len(j.nacked) > 0
	}
	return returned, nil
}

// hand passes a job to the session of its lane and waits for its outcome.
func (p *publisher) hand(ctx context.Context, j *job) error {
	if err := p.offer(ctx, j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		select {
		case <-j.done: // if both, prefer the outcome
			return nil
		default:
		}
		return p.gaveUp(ctx)
	case <-p.group.closing():
		return p.group.err()
	}
}

// offer waits until a session takes the job. A job that is to be sent once does
// not wait for a broker that is not ready.
func (p *publisher) offer(ctx context.Context, j *job) error {
	jobs := p.shared.jobs
	if j.apart {
		jobs = p.apart.jobs
	}
	for {
		changed, why := p.link.ready()
		if why != nil && j.once {
			return why
		}
		if !j.once {
			changed = nil
		}
		select {
		case jobs <- j:
			return nil
		case <-changed:
		case <-ctx.Done():
			return p.gaveUp(ctx)
		case <-p.group.closing():
			return p.group.err()
		}
	}
}

// gaveUp returns the error of a publish whose context ended first.
func (p *publisher) gaveUp(ctx context.Context) error {
	if why := p.ready(); why != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), why)
	}
	return fmt.Errorf("%w before the broker confirmed the message", context.Cause(ctx))
}

// declare declares objects even if this session has done so before.
func (p *publisher) declare(ctx context.Context, objects ...object) error {
	j := newJob(ctx, "", []string{""}, amqp.Publishing{}, objects...)
	j.anew, j.bare = true, true
	_, err := p.publish(j)
	return err
}

// publishHealing publishes to a queue that is declared with its exchange: if it
// was deleted meanwhile, it is created again and the message sent again.
func (p *publisher) publishHealing(j *job) (returned []string, err error) {
	returned, err = p.publish(j)
	if err != nil || len(returned) == 0 {
		return returned, err
	}
	again := newJob(j.ctx, j.exchange, returned, j.message, j.needs...)
	again.anew, again.copies = true, j.copies
	return p.publish(again)
}

// limitMemory is how long a learned limit is used.
const limitMemory = 10 * time.Minute

// bodyLimit is the size of the largest message that RabbitMQ is known to
// accept.
type bodyLimit struct {
	mu      sync.Mutex
	limit   int
	learned time.Time
}

func (l *bodyLimit) learn(limit int) {
	if limit <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.learned = limit, time.Now()
}

// bytes returns the limit; 0 if unknown.
func (l *bodyLimit) bytes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.learned) > limitMemory {
		return 0
	}
	return l.limit
}
