// Package local is a broker inside the process, for the embedded default: the
// same contract as RabbitMQ's, with nothing to install. Messages live as long
// as the process; tasks survive in the database.
package local

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/x/signal"
)

const defaultPrefetch = 64

// Broker is a broker in this process. Make one with [New]; all that publish and
// consume must share it.
type Broker struct {
	log    *slog.Logger
	closed chan struct{}

	mu        sync.Mutex
	isClosed  bool
	queues    map[broker.Queue]*queue
	dead      []*deadLetter
	deadWake  chan struct{} // closed, and replaced, when there may be one to take
	listeners map[*listener]bool
	controls  map[*listener]bool // to hints
}

var _ broker.Broker = (*Broker)(nil)

// New returns an empty Broker.
func New(log *slog.Logger) *Broker {
	return &Broker{
		log: log, closed: make(chan struct{}), deadWake: make(chan struct{}),
		queues: make(map[broker.Queue]*queue), listeners: make(map[*listener]bool), controls: make(map[*listener]bool),
	}
}

// Ready implements [broker.Broker].
func (b *Broker) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		return broker.ErrClosed
	}
	return nil
}

// Close implements [broker.Broker]. The messages in the queues are lost.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isClosed {
		b.isClosed = true
		close(b.closed)
	}
	return nil
}

// Declare implements [broker.Broker]; it does nothing.
func (b *Broker) Declare(ctx context.Context, _ ...string) error { return b.usable(ctx) }

// DeleteQueue implements [broker.Broker].
func (b *Broker) DeleteQueue(ctx context.Context, name broker.Queue) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if q := b.queues[name]; q != nil && len(q.consumers) > 0 {
		return broker.ErrInUse
	}
	delete(b.queues, name)
	return nil
}

// MaxBody implements [broker.Broker]; there is no limit.
func (b *Broker) MaxBody() int { return 0 }

// usable returns why a call cannot be served, or nil.
func (b *Broker) usable(ctx context.Context) error {
	if err := b.Ready(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Publish implements [broker.Broker].
func (b *Broker) Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error) {
	if err := b.usable(ctx); err != nil {
		return broker.Receipt{}, fmt.Errorf("publish %q to %s: %w", p.MessageID, broker.ExchangeName(p.TaskType), err)
	}
	body := bytes.Clone(p.Body)
	var receipt broker.Receipt
	b.mu.Lock()
	defer b.mu.Unlock()
	endpoints := p.Target.Endpoints()
	switch {
	case p.Target.Any():
		b.queue(broker.Queue{TaskType: p.TaskType}).put(p.MessageID, body)
	case len(endpoints) > 0:
		for _, endpoint := range endpoints {
			q := b.queues[broker.Queue{TaskType: p.TaskType, Endpoint: endpoint}]
			if q == nil {
				receipt.Unserved = append(receipt.Unserved, endpoint)
				continue
			}
			q.put(p.MessageID, body)
		}
	default:
		receipt.Unrouted = true
		for name, q := range b.queues {
			if name.TaskType == p.TaskType && name.Endpoint != "" {
				q.put(p.MessageID, body)
				receipt.Unrouted = false
			}
		}
	}
	return receipt, nil
}

// queue returns a queue, creating it if necessary; b.mu is held.
func (b *Broker) queue(name broker.Queue) *queue {
	q := b.queues[name]
	if q == nil {
		q = &queue{}
		b.queues[name] = q
	}
	return q
}

// Consume implements [broker.Broker].
func (b *Broker) Consume(ctx context.Context, s broker.Subscription) error {
	what := "consume from queue " + s.Queue.Name()
	if s.Prefetch <= 0 {
		s.Prefetch = defaultPrefetch
	}
	c := &consumer{prefetch: s.Prefetch, wake: signal.New(), unsettled: make(map[*message]bool)}
	if err := b.Ready(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.mu.Lock()
	q := b.queue(s.Queue)
	q.add(c)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		q.remove(c)
	}()
	if s.Ready != nil {
		s.Ready(true)
		defer s.Ready(false)
	}
	for {
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-b.closed:
			return fmt.Errorf("%s: %w", what, broker.ErrClosed)
		default:
		}
		b.mu.Lock()
		m := c.take()
		b.mu.Unlock()
		if m != nil {
			s.Deliver(&delivery{broker: b, queue: q, consumer: c, message: m, name: s.Queue.Name(), redelivered: m.redelivered})
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
		case <-b.closed:
		}
	}
}
