package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

const (
	// notifyBuffer limits the events waiting to be written.
	notifyBuffer = 1024
	// listenPrefetch and listenBacklog limit what waits for a slow listener, in
	// this process and at the broker, which then drops the oldest.
	listenPrefetch = 256
	listenBacklog  = 10_000
)

var errEventsFull = errors.New("too many events are waiting to be sent")

type event struct {
	exchange, key string
	body          []byte
}

// notifier writes events over a channel of its own, so that its errors do not
// affect the publisher.
type notifier struct {
	link  *link
	log   *slog.Logger
	queue chan event
}

func newNotifier(l *link, log *slog.Logger) *notifier {
	return &notifier{link: l, log: log, queue: make(chan event, notifyBuffer)}
}

// put queues an event without waiting. During the very first dial, the event
// waits for the connection.
func (n *notifier) put(e event) error {
	if _, why := n.link.ready(); why != nil && !errors.Is(why, errConnecting) {
		return why
	}
	select {
	case n.queue <- e:
		return nil
	default:
		return errEventsFull
	}
}

func (n *notifier) run(ctx context.Context) {
	pause := newRetry()
	for {
		conn, err := n.link.connection(ctx)
		if err != nil {
			return
		}
		since := time.Now()
		err = n.serve(ctx, conn)
		pause.worked(since)
		if ctx.Err() != nil {
			return
		}
		if !conn.IsClosed() {
			n.log.WarnContext(ctx, "channel for events closed by RabbitMQ, opening another", "err", explain(err))
		}
		pause.wait(ctx)
	}
}

func (n *notifier) serve(ctx context.Context, conn *amqp.Connection) error {
	var closes chan *amqp.Error
	ch, err := n.link.open(ctx, conn, func(ch *amqp.Channel) error {
		closes = ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := declareTopic(ch, broker.ControlExchange); err != nil {
			return err
		}
		return declareTopic(ch, broker.EventsExchange)
	})
	if err != nil {
		return err
	}
	defer n.link.closeChannel(ch)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case reason := <-closes:
			return endReason(reason)
		case e := <-n.queue:
			if _, why := n.link.ready(); why != nil {
				continue // events may be lost, and a blocked socket would hang
			}
			if err := ch.PublishWithContext(ctx, e.exchange, e.key, false, false, amqp.Publishing{
				ContentType: contentType, DeliveryMode: amqp.Transient, Timestamp: time.Now().UTC(), Body: e.body,
			}); err != nil {
				return err
			}
		}
	}
}

// Notify implements [broker.Broker].
func (b *Broker) Notify(ctx context.Context, key string, body []byte) error {
	if err := b.send(ctx, event{broker.EventsExchange, key, body}); err != nil {
		return fmt.Errorf("event %s: %w", key, err)
	}
	return nil
}

// SendControl implements [broker.Broker].
func (b *Broker) SendControl(ctx context.Context, endpoints []string, body []byte) error {
	for _, key := range broker.ControlKeys(endpoints) {
		if err := b.send(ctx, event{broker.ControlExchange, key, body}); err != nil {
			return fmt.Errorf("hint to %s: %w", key, err)
		}
	}
	return nil
}

func (b *Broker) send(ctx context.Context, e event) error {
	if err := b.group.err(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.publisher.start()
	return b.publisher.events.put(e)
}

// Listen implements [broker.Broker]. Up to 10,000 events wait at the broker for
// a slow listener; then the oldest are lost.
func (b *Broker) Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error {
	return b.listen(ctx, "events "+pattern, broker.EventsExchange, []string{pattern}, handle)
}

// ListenControl implements [broker.Broker], like Listen.
func (b *Broker) ListenControl(ctx context.Context, endpoints []string, handle func(body []byte)) error {
	keys := append([]string{broker.KeyAll}, broker.ControlKeys(endpoints)...)
	return b.listen(ctx, "hints to managers", broker.ControlExchange, keys, func(_ string, body []byte) { handle(body) })
}

func (b *Broker) listen(ctx context.Context, what, exchange string, patterns []string, handle func(key string, body []byte)) error {
	return b.keep(ctx, what, func(ctx context.Context, conn *amqp.Connection) error {
		var deliveries <-chan amqp.Delivery
		var closes chan *amqp.Error
		var queue string
		ch, err := b.consumes.open(ctx, conn, func(ch *amqp.Channel) (err error) {
			closes = ch.NotifyClose(make(chan *amqp.Error, 1))
			deliveries, queue, err = consumeTopic(ch, exchange, patterns)
			return err
		})
		if err != nil {
			return err
		}
		defer b.consumes.closeChannel(ch)
		_, unwatch := b.checker.watch(topicBinding(queue, exchange, patterns), "", nil)
		defer unwatch()
		return each(ctx, deliveries, closes, nil, func(d amqp.Delivery) error {
			handle(d.RoutingKey, d.Body)
			return d.Ack(false)
		})
	})
}

func consumeTopic(ch *amqp.Channel, exchange string, patterns []string) (deliveries <-chan amqp.Delivery, queue string, err error) {
	q, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{amqp.QueueMaxLenArg: listenBacklog})
	if err != nil {
		return nil, "", err
	}
	if err := topicBinding(q.Name, exchange, patterns).declare(ch); err != nil {
		return nil, "", err
	}
	if err := ch.Qos(listenPrefetch, 0, false); err != nil {
		return nil, "", err
	}
	deliveries, err = ch.Consume(q.Name, "", false, true, false, false, nil)
	return deliveries, q.Name, err
}
