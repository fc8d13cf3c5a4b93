package rabbit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// testTimeout is how long a failing test waits.
const testTimeout = time.Minute

var queue = broker.Queue{TaskType: "worker", Endpoint: "console1"}

// consume starts a consumer that ends with the test, and returns its deliveries
// and readiness.
func consume(t *testing.T, b broker.Broker, q broker.Queue) (<-chan broker.Delivery, <-chan bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	deliveries, ready := make(chan broker.Delivery, 1000), make(chan bool, 100)
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, broker.Subscription{
			Queue: q, Deliver: func(d broker.Delivery) { deliveries <- d }, Ready: func(r bool) { ready <- r },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Logf("Consume ended with %v", err)
		}
	})
	return deliveries, ready
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(testTimeout):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(testTimeout)
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestTopology checks docs/protocol.md as a foreign client. RabbitMQ refuses a
// declaration that differs from what exists.
func TestTopology(t *testing.T) {
	for _, queueType := range []string{"classic", "quorum"} {
		t.Run(queueType, func(t *testing.T) {
			uri := testservices.RabbitMQ(t)
			b := newBroker(t, rabbit.Config{URIs: []string{uri}, QueueType: queueType, QueueExpires: time.Hour})
			if err := b.Declare(t.Context(), "worker", "backup"); err != nil {
				t.Fatal(err)
			}
			_, ready := consume(t, b, queue)
			receive(t, ready)
			if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", Target: broker.ToAny(), MessageID: "m"}); err != nil {
				t.Fatal(err)
			}
			if err := b.Notify(t.Context(), "results.worker", nil); err != nil {
				t.Fatal(err)
			}
			ch := admin(t, uri)
			for name, kind := range map[string]string{
				"tasker.worker": "direct", "tasker.backup": "direct", "tasker.dead": "fanout", "tasker.events": "topic",
			} {
				if err := ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
					t.Fatalf("exchange %s is no durable %s exchange: %v", name, kind, err)
				}
			}
			for name, args := range map[string]amqp.Table{
				"tasker.worker.console1": {"x-queue-type": queueType, "x-dead-letter-exchange": "tasker.dead", "x-expires": int64(3_600_000)},
				"tasker.worker.any":      {"x-queue-type": queueType, "x-max-length": int64(1000)},
				"tasker.dead":            {"x-queue-type": queueType},
			} {
				if queueType == "quorum" {
					args["x-delivery-limit"] = int64(1_000_000)
				}
				if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
					t.Fatalf("queue %s is not durable with %v: %v", name, args, err)
				}
			}
		})
	}
}

// TestMessages: endpoints in any language can read and send the messages.
func TestMessages(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	ch := admin(t, uri)
	before := time.Now().Add(-time.Second)
	if _, err := b.Publish(t.Context(), broker.Publication{
		TaskType: "worker", Target: broker.ToAny(), MessageID: "task-1",
		Body: []byte("{}"),
	}); err != nil {
		t.Fatal(err)
	}
	held := drain(t, uri, "tasker.worker.any")
	if len(held) != 1 {
		t.Fatalf("the shared queue holds %d messages, want 1", len(held))
	}
	d := held[0]
	if d.MessageId != "task-1" || d.ContentType != "application/json" || d.DeliveryMode != amqp.Persistent || string(d.Body) != "{}" ||
		d.Timestamp.Before(before) {
		t.Errorf("a message of another form: %+v", d)
	}

	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	for _, key := range []string{"all", "endpoint.console1"} {
		if err := ch.PublishWithContext(t.Context(), "tasker.worker", key, true, false,
			amqp.Publishing{Body: []byte("rubbish"), ContentType: "text/plain"}); err != nil {
			t.Fatal(err)
		}
		d := receive(t, deliveries)
		if d.MessageID() != "" || string(d.Body()) != "rubbish" {
			t.Errorf("delivered %q with id %q", d.Body(), d.MessageID())
		}
		if err := d.DeadLetter(t.Context(), "not\xff"+strings.Repeat("ß", 5000)); err != nil {
			t.Fatal(err)
		}
	}
	dead := drain(t, uri, broker.DeadQueue)
	if len(dead) != 2 {
		t.Fatalf("%d dead letters, want 2", len(dead))
	}
	for _, d := range dead {
		reason, _ := d.Headers[broker.HeaderReason].(string)
		if !strings.HasPrefix(reason, "not\uFFFDß") || len(reason) > 1024 || len(reason) < 1000 {
			t.Errorf("a reason of %d bytes: %.20q", len(reason), reason)
		}
		if d.Headers[broker.HeaderQueue] != "tasker.worker.console1" || string(d.Body) != "rubbish" || d.ContentType != "text/plain" ||
			d.DeliveryMode != amqp.Persistent {
			t.Errorf("a dead letter of another form: %+v", d)
		}
	}
}

// TestServerDeadLetters are RabbitMQ's own: of a message that a foreign
// consumer rejects.
func TestServerDeadLetters(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	consuming, stop := context.WithCancel(t.Context())
	err := b.Consume(consuming, broker.Subscription{ // which leaves the queue behind
		Queue: broker.Queue{TaskType: "worker", Endpoint: "console1"}, Deliver: func(broker.Delivery) {},
		Ready: func(registered bool) {
			if registered {
				stop()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", Target: broker.To("console1"), MessageID: "m"}); err != nil {
		t.Fatal(err)
	}
	ch := admin(t, uri)
	d, ok, err := ch.Get("tasker.worker.console1", false)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := d.Reject(false); err != nil {
		t.Fatal(err)
	}
	var dead []amqp.Delivery
	eventually(t, "the message is a dead letter", func() bool {
		dead = append(dead, drain(t, uri, broker.DeadQueue)...)
		return len(dead) == 1
	})
}

// logs collects what a Broker logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) has(texts ...string) bool { return l.count(texts...) > 0 }

// count returns the number of lines that contain all texts.
func (l *logs) count(texts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := 0
	for line := range strings.Lines(l.buf.String()) {
		n := 0
		for _, text := range texts {
			if strings.Contains(line, text) {
				n++
			}
		}
		if n == len(texts) {
			lines++
		}
	}
	return lines
}

func TestQueueWithOtherSettings(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	ch := admin(t, uri)
	if _, err := ch.QueueDeclare(queue.Name(), true, false, false, false, amqp.Table{"x-max-length": 3}); err != nil {
		t.Fatal(err)
	}
	out := &logs{}
	b, err := rabbit.New(rabbit.Config{URIs: []string{uri}}, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	_, ready := consume(t, b, queue)
	eventually(t, "the log says what is wrong", func() bool {
		return out.has("level=WARN", queue.Name(), "PRECONDITION_FAILED", "delete it")
	})
	if _, err := ch.QueueDelete(queue.Name(), false, false, false); err != nil {
		t.Fatal(err)
	}
	if !receive(t, ready) {
		t.Error("the first call of Ready says that it ended")
	}
}

// TestExchangeWithOtherSettings is an error at once, and does not affect
// others.
func TestExchangeWithOtherSettings(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	if err := admin(t, uri).ExchangeDeclare("tasker.worker", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	for range 2 {
		_, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: "m"})
		if err == nil || !strings.Contains(err.Error(), "tasker.worker") || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("error %v, want one that names the exchange and a remedy", err)
		}
		if err := b.Ready(); err != nil {
			t.Errorf("not ready afterwards: %v", err)
		}
		if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "backup", MessageID: "m"}); err != nil {
			t.Errorf("another type: %v", err)
		}
	}
}

func TestWrongCredentials(t *testing.T) {
	u, err := url.Parse(testservices.RabbitMQ(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("nobody", "s3cret")
	out := &logs{}
	b, err := rabbit.New(rabbit.Config{URIs: []string{u.String()}},
		slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	eventually(t, "the error names the user and the reason", func() bool {
		err := b.Ready()
		return errors.Is(err, broker.ErrNotConnected) && strings.Contains(err.Error(), "nobody@") && strings.Contains(err.Error(), "403")
	})
	if strings.Contains(b.Ready().Error(), "s3cret") || out.has("s3cret") {
		t.Error("the password is shown")
	}
	if !out.has("level=WARN", "403") {
		t.Error("the log does not say it")
	}
}

func TestBlocked(t *testing.T) {
	b := newBroker(t, rabbit.Config{URIs: []string{testservices.RabbitMQ(t)}})
	publication := broker.Publication{TaskType: "worker", MessageID: "m"}
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	if _, err := b.Publish(t.Context(), publication); err != nil {
		t.Fatal(err)
	}
	b.SetBlocked(true, "low on memory")
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "low on memory") || errors.Is(err, broker.ErrNotConnected) {
		t.Errorf("Ready gives %v, want the reason", err)
	}
	if err := b.Notify(t.Context(), "key", nil); err == nil {
		t.Error("an event was taken for a blocked connection")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Publish(ctx, publication)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "low on memory") {
		t.Errorf("Publish gives %v, want the end of its context and the reason", err)
	}
	if err := receive(t, deliveries).Ack(); err != nil { // consumers go on
		t.Error(err)
	}
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := b.Publish(t.Context(), publication)
			done <- err
		}()
	}
	b.SetBlocked(false, "")
	for range 2 {
		if err := receive(t, done); err != nil {
			t.Errorf("Publish after the blockade: %v", err)
		}
		if err := receive(t, deliveries).Ack(); err != nil {
			t.Error(err)
		}
	}
}

// TestConnections are made when they are needed, to a node that answers.
func TestConnections(t *testing.T) {
	p, uri := testservices.Proxied(t, testservices.RabbitMQ(t))
	dead, gone := testservices.Proxied(t, uri)
	dead.Cut()
	b := newBroker(t, rabbit.Config{URIs: []string{gone, uri}, InOrder: true})
	if n := p.Dialled(); n != 0 {
		t.Errorf("New made %d connections", n)
	}
	eventually(t, "it is ready", func() bool { return b.Ready() == nil })
	if n := p.Dialled(); n != 1 {
		t.Errorf("a publisher has %d connections, want 1", n)
	}
	for _, endpoint := range []string{"console1", "console2"} {
		_, ready := consume(t, b, broker.Queue{TaskType: "worker", Endpoint: endpoint})
		receive(t, ready)
	}
	if n := p.Dialled(); n != 2 {
		t.Errorf("a publisher that consumes has %d connections, want 2", n)
	}
}

// TestSilentBroker: calls end with their contexts, and Close soon, although the
// client's own calls would wait for the broker.
func TestSilentBroker(t *testing.T) {
	p, uri := testservices.Proxied(t, testservices.RabbitMQ(t))
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	_, ready := consume(t, b, queue)
	receive(t, ready)
	declareBy(t, b)
	p.Hold()
	big := bytes.Repeat([]byte{'x'}, 32<<20) // more than sockets buffer: the write hangs
	for _, body := range [][]byte{[]byte("{}"), big, []byte("{}")} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "m", Body: body})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish gives %v, want the end of its context", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Consume(ctx, broker.Subscription{Queue: queue, Deliver: func(broker.Delivery) {}}); err != nil {
		t.Errorf("Consume ends with %v, want nil with its context", err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Close() }()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

// declareBy publishes, so that everything is declared for the next publish.
func declareBy(t *testing.T, b broker.Broker) {
	t.Helper()
	if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: "first"}); err != nil {
		t.Fatal(err)
	}
}

// TestHungWrite: a publisher whose write hangs in a dead connection is freed by
// the heartbeat, and another node takes over.
func TestHungWrite(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	p, first := testservices.Proxied(t, uri)
	b := newBroker(t, rabbit.Config{URIs: []string{first, uri}, InOrder: true, Heartbeat: time.Second})
	declareBy(t, b)
	p.Hold()
	big := bytes.Repeat([]byte{'x'}, 32<<20)
	done := make(chan error, 2)
	for _, body := range [][]byte{big, []byte("{}")} {
		go func() {
			_, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: "m", Body: body})
			done <- err
		}()
	}
	for range 2 {
		if err := receive(t, done); err != nil {
			t.Errorf("Publish: %v", err)
		}
	}
	if n := p.Dialled(); n != 1 {
		t.Errorf("%d connections to the silent node, want 1", n)
	}
}
