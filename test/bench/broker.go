package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/test/internal/noop"
)

const (
	confirmWindow = 256
	// prefetch is the manager's default.
	prefetch = 64
)

// fanout publishes to the queues of N endpoints and consumes them, with amqp091-go
// alone, in tasker's topology: two connections, a channel per consumer, mandatory
// messages. If each message is for any endpoint, they share one queue.
type fanout struct {
	endpoints int
	copies    int // of a message
	body      []byte
	mode      uint8 // amqp.Persistent or amqp.Transient
	publishes *amqp.Connection
	consumes  *amqp.Connection
	channel   *amqp.Channel
	handled   counter // deliveries
	published int64   // messages
	consumers sync.WaitGroup
}

// takeFunc handles and acknowledges the deliveries of an endpoint until the channel
// is closed, and counts them in f.handled.
type takeFunc func(f *fanout, endpoint string, deliveries <-chan amqp.Delivery)

// each returns a takeFunc that handles one delivery after another.
func each(deliver func(endpoint string, d amqp.Delivery) error) takeFunc {
	return func(f *fanout, endpoint string, deliveries <-chan amqp.Delivery) {
		for d := range deliveries {
			if err := deliver(endpoint, d); err != nil {
				f.handled.fail(err)
				continue
			}
			f.handled.add(1)
		}
	}
}

func ackOnly(_ string, d amqp.Delivery) error { return d.Ack(false) }

func openFanout(ctx context.Context, uri string, opts options, endpoints int, take takeFunc) (*fanout, error) {
	f := &fanout{endpoints: endpoints, copies: opts.results(endpoints), mode: amqp.Transient}
	f.body = bytes.Repeat([]byte{'x'}, messageSize(opts.payload))
	if opts.persistent {
		f.mode = amqp.Persistent
	}
	if err := f.open(ctx, uri, take); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *fanout) open(ctx context.Context, uri string, take takeFunc) (err error) {
	if f.publishes, err = amqp.Dial(uri); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if f.consumes, err = amqp.Dial(uri); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	for _, conn := range []*amqp.Connection{f.publishes, f.consumes} {
		closes := conn.NotifyClose(make(chan *amqp.Error, 1))
		f.consumers.Go(func() {
			if reason := <-closes; reason != nil {
				f.handled.fail(reason)
			}
		})
	}
	if f.channel, err = f.publishes.Channel(); err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := f.channel.Confirm(false); err != nil {
		return fmt.Errorf("enable confirms: %w", err)
	}
	exchange := broker.ExchangeName(noop.Type)
	if err := f.channel.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare the exchange: %w", err)
	}
	for i := range f.endpoints {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f.consume(exchange, endpointName(i), take); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
	}
	return nil
}

// consume declares and consumes an endpoint's queue, or the shared one, until the connection is
// closed.
func (f *fanout) consume(exchange, endpoint string, take takeFunc) error {
	ch, err := f.consumes.Channel()
	if err != nil {
		return err
	}
	queue := broker.Queue{TaskType: noop.Type, Endpoint: endpoint}.Name()
	if f.copies < f.endpoints {
		queue = broker.Queue{TaskType: noop.Type, Endpoint: "shared"}.Name()
	}
	args := amqp.Table{
		amqp.QueueTypeArg:        amqp.QueueTypeClassic,
		"x-dead-letter-exchange": broker.DeadExchange,
		amqp.QueueTTLArg:         (7 * 24 * time.Hour).Milliseconds(),
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
		return err
	}
	if err := ch.QueueBind(queue, broker.KeyAll, exchange, false, nil); err != nil {
		return err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	f.consumers.Go(func() { take(f, endpoint, deliveries) })
	return nil
}

func (f *fanout) close() error {
	var errs []error
	for _, conn := range []*amqp.Connection{f.publishes, f.consumes} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	f.consumers.Wait()
	return errors.Join(errs...)
}

// publish sends the next message, with the id of a task, to all queues.
func (f *fanout) publish(ctx context.Context) (*amqp.DeferredConfirmation, error) {
	f.published++
	exchange := broker.ExchangeName(noop.Type)
	confirm, err := f.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, broker.KeyAll, true, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: f.mode,
		MessageId: messagePrefix + strconv.FormatInt(f.published, 10), Timestamp: time.Now().UTC(), Body: f.body,
	})
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return confirm, nil
}

const messagePrefix = "task-"

// taskOf returns the task id of a delivery.
func taskOf(d amqp.Delivery) (int64, error) {
	return strconv.ParseInt(strings.TrimPrefix(d.MessageId, messagePrefix), 10, 64)
}

var errNack = errors.New("the broker refused a message")

func confirmed(ctx context.Context, confirm *amqp.DeferredConfirmation) error {
	acked, err := confirm.WaitContext(ctx)
	if err == nil && !acked {
		err = errNack
	}
	return err
}

// all waits until everything published is handled.
func (f *fanout) all(ctx context.Context) (time.Time, error) {
	return f.handled.wait(ctx, f.published*int64(f.copies))
}

// latency sends one message after another, each after the previous one was
// confirmed and handled at all endpoints.
func (f *fanout) latency(ctx context.Context, samples int, limit time.Duration) (latency, error) {
	var took []time.Duration
	begin := time.Now()
	for len(took) < samples && time.Since(begin) < limit {
		start := time.Now()
		confirm, err := f.publish(ctx)
		if err == nil {
			err = confirmed(ctx, confirm)
		}
		if err != nil {
			return latency{}, err
		}
		last, err := f.all(ctx)
		if err != nil {
			return latency{}, err
		}
		took = append(took, last.Sub(start))
	}
	return latencyOf(took), nil
}

// throughput publishes for a time, with up to confirmWindow unconfirmed
// messages and up to inFlight that are not handled everywhere, and returns the
// number of deliveries and the time until the last one was handled.
func (f *fanout) throughput(ctx context.Context, d time.Duration, inFlight int) (int64, time.Duration, error) {
	before := f.published
	confirms := make(chan *amqp.DeferredConfirmation, confirmWindow)
	begin := time.Now()
	for time.Since(begin) < d {
		if _, err := f.handled.wait(ctx, (f.published-int64(inFlight)+1)*int64(f.copies)); err != nil {
			return 0, 0, err
		}
		if len(confirms) == cap(confirms) {
			if err := confirmed(ctx, <-confirms); err != nil {
				return 0, 0, err
			}
		}
		confirm, err := f.publish(ctx)
		if err != nil {
			return 0, 0, err
		}
		confirms <- confirm
	}
	for len(confirms) > 0 {
		if err := confirmed(ctx, <-confirms); err != nil {
			return 0, 0, err
		}
	}
	last, err := f.all(ctx)
	if err != nil {
		return 0, 0, err
	}
	return (f.published - before) * int64(f.copies), last.Sub(begin), nil
}

// brokerCeiling is what RabbitMQ can do without a database.
type brokerCeiling struct {
	// Fanout is the time from a publish until all N consumers have it.
	Fanout latency `json:"fanout"`
	// Deliveries counts a message once per queue.
	Deliveries float64 `json:"deliveries_per_s"`
}

func measureBroker(ctx context.Context, uri string, opts options, endpoints int) (c brokerCeiling, err error) {
	f, err := openFanout(ctx, uri, opts, endpoints, each(ackOnly))
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if _, _, err := f.throughput(ctx, opts.duration/16, confirmWindow); err != nil {
		return c, err
	}
	if c.Fanout, err = f.latency(ctx, opts.samples, opts.duration/4); err != nil {
		return c, err
	}
	deliveries, took, err := f.throughput(ctx, opts.duration/2, confirmWindow)
	c.Deliveries = rate(deliveries, took)
	return c, err
}
