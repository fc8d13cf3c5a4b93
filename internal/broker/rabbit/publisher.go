package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// publisher publishes through one session after another. Jobs are handed to
// the session of the moment; while there is none, they wait with their
// callers.
type publisher struct {
	link    *link
	silence time.Duration // see Config.ConfirmTimeout
	log     *slog.Logger
	group   *group
	life    context.Context // the Broker's life, which outlasts each call
	starter sync.Once
	jobs    chan *job
	session atomic.Pointer[session]
	events  *notifier
}

func newPublisher(life context.Context, l *link, silence time.Duration, log *slog.Logger, g *group) *publisher {
	return &publisher{
		link: l, silence: silence, log: log, group: g, life: life, jobs: make(chan *job),
		events: newNotifier(l, log),
	}
}

// start dials, when the first one needs it.
func (p *publisher) start() {
	p.starter.Do(func() {
		p.group.run(func() { p.link.run(p.life) })
		p.group.run(func() { p.run(p.life) })
		p.group.run(func() { p.events.run(p.life) })
	})
}

func (p *publisher) run(ctx context.Context) {
	var pause backoff
	for {
		conn, err := p.link.connection(ctx)
		if err != nil {
			return
		}
		since := time.Now()
		err = p.serve(ctx, conn)
		pause.worked(since)
		if ctx.Err() != nil {
			return
		}
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

func (p *publisher) serve(ctx context.Context, conn *amqp.Connection) error {
	s, err := openSession(ctx, p.link, conn, p.silence)
	if err != nil {
		return err
	}
	p.session.Store(s)
	defer p.session.Store(nil)
	return s.run(ctx, p.jobs)
}

// ready says why a publish could not be sent now, nil if it could.
func (p *publisher) ready() error {
	p.start()
	if p.life.Err() != nil {
		return context.Cause(p.life)
	}
	if _, why := p.link.ready(); why != nil {
		return why
	}
	if s := p.session.Load(); s == nil || s.ch.IsClosed() {
		return fmt.Errorf("%w: its channel is being opened", broker.ErrNotConnected)
	}
	return nil
}

// publish sends a job and waits until all its messages are confirmed. What a
// lost connection leaves open is sent again, while the job's context lasts, and
// what the broker could not take once more. It gives the keys that no queue
// took.
func (p *publisher) publish(j *job) (returned []string, err error) {
	ctx := j.ctx
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.start()
	for nacked := false; ; {
		if err := p.hand(ctx, j); err != nil {
			return nil, err
		}
		returned = append(returned, j.returned...)
		if errors.Is(j.err, errDropped) {
			return nil, p.gaveUp(ctx)
		}
		if j.err != nil {
			return nil, j.err
		}
		if len(j.nacked) > 0 {
			if nacked {
				return nil, errNack
			}
			nacked = true
			j.lost = append(j.lost, j.nacked...)
		}
		if len(j.lost) == 0 {
			return returned, nil
		}
		j = j.again()
	}
}

// hand gives a job to the session and waits for its outcome.
func (p *publisher) hand(ctx context.Context, j *job) error {
	select {
	case p.jobs <- j:
	case <-ctx.Done():
		return p.gaveUp(ctx)
	case <-p.life.Done():
		return context.Cause(p.life)
	}
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		select {
		case <-j.done: // both at once: the outcome is worth more
			return nil
		default:
		}
		return p.gaveUp(ctx)
	case <-p.life.Done():
		return context.Cause(p.life)
	}
}

// gaveUp is the error of a publish whose context ended first.
func (p *publisher) gaveUp(ctx context.Context) error {
	if why := p.ready(); why != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), why)
	}
	return fmt.Errorf("%w before the broker confirmed the message", context.Cause(ctx))
}

// declare makes objects exist, even if this session has seen them before.
func (p *publisher) declare(ctx context.Context, objects ...object) error {
	j := newJob(ctx, "", []string{""}, amqp.Publishing{}, objects...)
	j.anew, j.bare = true, true
	_, err := p.publish(j)
	return err
}

// publishHealing publishes to a queue that is declared with its exchange: if
// it was deleted meanwhile, it is made anew and the message sent again.
func (p *publisher) publishHealing(j *job) (returned []string, err error) {
	returned, err = p.publish(j)
	if err != nil || len(returned) == 0 {
		return returned, err
	}
	again := newJob(j.ctx, j.exchange, returned, j.message, j.needs...)
	again.anew = true
	return p.publish(again)
}
