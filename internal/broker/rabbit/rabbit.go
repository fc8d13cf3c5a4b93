// Package rabbit is the driver for RabbitMQ, and the only package that uses
// AMQP.
//
// A Broker has two connections, made when they are first needed: one for
// publishing and one for consuming. RabbitMQ blocks publishing connections when
// memory or disk run low; the other one still delivers and takes
// acknowledgements. One loop owns each connection and dials again, forever,
// when it is lost. One loop owns each channel: when that alone is lost, it
// opens another, declares and subscribes again. The recovery of the AMQP client
// stays off, since an acknowledgement after it can settle the wrong message.
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
	group     *group
	publisher *publisher
	consumes  *link
	checker   *checker
	consuming sync.Once
}

var _ broker.Broker = (*Broker)(nil)

// New checks cfg, reads its certificates and returns a Broker. It does not connect:
// that starts with the first call that needs it. Its errors never contain a password.
func New(cfg Config, log *slog.Logger) (*Broker, error) {
	cfg, addresses, err := cfg.normalize()
	if err == nil {
		err = secure(addresses, log)
	}
	if err != nil {
		return nil, err
	}
	if !cfg.InOrder {
		// Randomize the order completely: the clients of a node that dies
		// spread over the others.
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	}
	b := &Broker{cfg: cfg, log: log, group: newGroup()}
	publishes := newLink(cfg.ConnectionName+" (publish)", cfg, addresses, b.group, log)
	b.publisher = newPublisher(publishes, cfg.ConfirmTimeout, log, b.group)
	b.consumes = newLink(cfg.ConnectionName+" (consume)", cfg, addresses, b.group, log)
	b.checker = newChecker(b.consumes, cfg.CheckTopology, log)
	return b, nil
}

func (b *Broker) startConsuming() {
	b.consuming.Do(func() {
		b.group.loop(b.consumes.run)
		b.group.loop(b.checker.run)
	})
}

// Ready implements [broker.Broker]. It is about the connection for publishing;
// the first call starts dialling it.
func (b *Broker) Ready() error { return b.publisher.ready() }

// Close implements [broker.Broker]. It closes the connections, which returns
// all unsettled deliveries to their queues. It waits for that, though not long
// for a broker that does not answer.
func (b *Broker) Close() error {
	b.group.close()
	return nil
}

// Publish implements [broker.Broker]. At most 256 messages of all calls wait
// for their confirms at a time. The body must not be changed afterwards.
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
	message := publishing(p.MessageID, p.Body)
	if p.Transient && !b.cfg.Persistent {
		message.DeliveryMode = amqp.Transient
	}
	j := newJob(ctx, exchange, keys, message, needs)
	j.copies = 1
	if len(endpoints) == 0 {
		j.copies = max(int64(p.Copies), 1)
	}
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

// unserved returns the endpoints, in order, whose keys were returned.
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

// MaxBody implements [broker.Broker]. RabbitMQ reports the limit when it
// refuses a message. It is forgotten after a while, since it may be changed.
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

// publishing returns a persistent message.
func publishing(id string, body []byte) amqp.Publishing {
	return amqp.Publishing{
		ContentType:  contentType,
		DeliveryMode: amqp.Persistent,
		MessageId:    id,
		Timestamp:    time.Now().UTC(),
		Body:         body,
	}
}
