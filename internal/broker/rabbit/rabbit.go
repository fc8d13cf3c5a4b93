// Package rabbit is the driver for RabbitMQ. All that tasker knows of AMQP is
// here.
//
// A Broker has two connections, each made when it is first needed: one that
// publishes and one that consumes, so that a broker which takes no messages
// for now (RabbitMQ blocks publishing connections when memory or disk run low)
// still delivers and takes acknowledgements. One loop owns each connection and
// dials again, forever, when it is lost; one loop owns each channel and opens
// another, declares and subscribes again, when that is lost alone. The AMQP
// client's own recovery stays off: after it, an acknowledgement can settle
// another message than the one it was meant for.
package rabbit

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

const contentType = "application/json"

// Broker is RabbitMQ. Make one with [New].
type Broker struct {
	cfg       Config
	log       *slog.Logger
	life      context.Context // until Close
	end       context.CancelCauseFunc
	group     *group
	publisher *publisher
	consumes  *link
	checker   *checker
	consuming sync.Once
}

var _ broker.Broker = (*Broker)(nil)

// New checks cfg and makes a Broker of it, without any I/O: that begins when
// the first call needs it. Its errors never show a password.
func New(cfg Config, log *slog.Logger) (*Broker, error) {
	cfg, addresses, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	if !cfg.InOrder {
		// All of the order is random: the clients of a node that dies spread
		// over the others.
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	}
	b := &Broker{cfg: cfg, log: log, group: &group{}}
	b.life, b.end = context.WithCancelCause(context.Background())
	publishes := newLink(cfg.ConnectionName+" (publish)", cfg, addresses, b.group, log)
	b.publisher = newPublisher(b.life, publishes, cfg.ConfirmTimeout, log, b.group)
	b.consumes = newLink(cfg.ConnectionName+" (consume)", cfg, addresses, b.group, log)
	b.checker = newChecker(b.consumes, cfg.CheckTopology, log)
	return b, nil
}

func (b *Broker) startConsuming() {
	b.consuming.Do(func() {
		b.group.run(func() { b.consumes.run(b.life) })
		b.group.run(func() { b.checker.run(b.life) })
	})
}

// Ready implements [broker.Broker]. It speaks of the connection that
// publishes; the first call begins to dial it.
func (b *Broker) Ready() error { return b.publisher.ready() }

// Close implements [broker.Broker]. It ends the connections, which gives all
// unsettled deliveries back to their queues, and waits for that, though not
// long for a broker that does not answer.
func (b *Broker) Close() error {
	b.end(broker.ErrClosed)
	b.group.close()
	return nil
}

// Publish implements [broker.Broker]. At most 256 messages wait for their
// confirms at a time, those of other calls included; what is more waits. The
// body must not be changed afterwards.
func (b *Broker) Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error) {
	exchange := broker.ExchangeName(p.TaskType)
	keys, needs := []string{broker.KeyAll}, typeExchange(p.TaskType)
	endpoints := p.Target.Endpoints()
	switch {
	case p.Target.Any():
		keys, needs = []string{broker.KeyAny}, b.cfg.queue(broker.Queue{TaskType: p.TaskType})
	case len(endpoints) > 0:
		keys = make([]string, len(endpoints))
		for i, endpoint := range endpoints {
			keys[i] = broker.EndpointKey(endpoint)
		}
	}
	j := newJob(ctx, exchange, keys, publishing(p.MessageID, p.Body), needs)
	j.once, j.apart = p.Once, p.Apart
	publish := b.publisher.publish
	if p.Target.Any() {
		publish = b.publisher.publishHealing
	}
	returned, err := publish(j)
	if err != nil {
		return broker.Receipt{}, fmt.Errorf("publish %q to %s: %w", p.MessageID, exchange, err)
	}
	if len(endpoints) == 0 {
		return broker.Receipt{Unrouted: len(returned) > 0}, nil
	}
	return broker.Receipt{Unserved: unserved(endpoints, returned)}, nil
}

// unserved are the endpoints, in their order, whose keys were returned.
func unserved(endpoints, returned []string) []string {
	if len(returned) == 0 {
		return nil
	}
	keys := make(map[string]bool, len(returned))
	for _, key := range returned {
		keys[key] = true
	}
	names := make([]string, 0, len(returned))
	for _, endpoint := range endpoints {
		if keys[broker.EndpointKey(endpoint)] {
			names = append(names, endpoint)
		}
	}
	return names
}

// MaxBody implements [broker.Broker]. RabbitMQ tells it when it refuses a
// message; it is forgotten after a while, since it can be changed there.
func (b *Broker) MaxBody() int { return b.publisher.limit.bytes() }

// Declare implements [broker.Broker].
func (b *Broker) Declare(ctx context.Context, taskTypes ...string) error {
	objects := []object{b.cfg.deadLetters()}
	for _, t := range taskTypes {
		objects = append(objects, typeExchange(t))
	}
	if err := b.publisher.declare(ctx, objects...); err != nil {
		return fmt.Errorf("declare the exchanges: %w", err)
	}
	return nil
}

// publishing is a persistent message.
func publishing(id string, body []byte) amqp.Publishing {
	return amqp.Publishing{
		ContentType:  contentType,
		DeliveryMode: amqp.Persistent,
		MessageId:    id,
		Timestamp:    time.Now().UTC(),
		Body:         body,
	}
}
