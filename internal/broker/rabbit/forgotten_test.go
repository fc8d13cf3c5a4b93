package rabbit

import (
	"log/slog"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/testservices"
)

// checking returns a broker that checks only when told to, over a connection, and a
// channel of a foreign client.
func checking(t *testing.T) (b *Broker, conn *amqp.Connection, admin *amqp.Channel) {
	t.Helper()
	uri := testservices.RabbitMQ(t)
	b, err := New(Config{URIs: []string{uri}, CheckTopology: time.Hour}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.startConsuming()
	if conn, err = b.consumes.connection(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign, err := amqp.Dial(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = foreign.Close() })
	if admin, err = foreign.Channel(); err != nil {
		t.Fatal(err)
	}
	return b, conn, admin
}

// TestForgottenConsumer: no test can make RabbitMQ forget a consumer, so these
// do not exist, or another one stands in for them.
func TestForgottenConsumer(t *testing.T) {
	b, conn, ch := checking(t)
	for name, test := range map[string]struct {
		consumers, messages, taken, settled int
		flows                               bool // between the rounds
		forgotten                           bool
	}{
		"without a consumer":             {0, 0, 0, 0, false, true},
		"it gets none of the messages":   {1, 2, 5, 5, false, true},
		"it has not settled what it got": {1, 2, 5, 4, false, false},
		"it gets something now and then": {1, 2, 5, 5, true, false},
		"there are no messages":          {1, 0, 5, 5, false, false},
	} {
		q := broker.Queue{TaskType: "forgotten", Endpoint: "console1"}
		if err := b.cfg.declareQueue(ch, q); err != nil {
			t.Fatal(err)
		}
		if err := ch.Qos(1, 0, false); err != nil {
			t.Fatal(err)
		}
		var deliveries <-chan amqp.Delivery
		if test.consumers > 0 {
			var err error
			if deliveries, err = ch.Consume(q.Name(), "", false, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		for range test.messages {
			if err := ch.PublishWithContext(t.Context(), "", q.Name(), true, false, amqp.Publishing{Body: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		if test.messages > 0 {
			<-deliveries // the other one waits
		}
		var consumed flow
		consumed.taken.Store(int64(test.taken))
		consumed.settled.Store(int64(test.settled))
		stale, unwatch := b.checker.watch(bindings(q), q.Name(), &consumed)
		isStale := func() bool {
			select {
			case <-stale:
				return true
			default:
				return false
			}
		}
		b.checker.round(t.Context(), conn)
		if isStale() {
			t.Errorf("%s: it is taken for forgotten at once", name)
		}
		if test.flows {
			consumed.taken.Add(1)
			consumed.settled.Add(1)
		}
		b.checker.round(t.Context(), conn)
		if isStale() != test.forgotten {
			t.Errorf("%s: taken for forgotten: %t", name, isStale())
		}
		unwatch()
		if _, err := ch.QueueDelete(q.Name(), false, false, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeletedDuringACheck: a check that comes between the deletion of a queue and
// what RabbitMQ tells its consumer does not create the queue.
func TestDeletedDuringACheck(t *testing.T) {
	b, conn, admin := checking(t)
	q := broker.Queue{TaskType: "deleted", Endpoint: "console1"}
	for _, test := range []struct {
		name    string // of the queue that is watched
		deleted string // meanwhile
		needs   object
	}{
		{q.Name(), q.Name(), bindings(q)},
		{broker.DeadQueue, broker.DeadQueue, deadLettersBinding()},
		{q.Name(), broker.DeadQueue, bindings(q)}, // another process consumes from that one
	} {
		if err := b.cfg.declareQueue(admin, q); err != nil {
			t.Fatal(err)
		}
		stale, unwatch := b.checker.watch(object{key: test.needs.key, declare: func(ch *amqp.Channel) error {
			if _, err := admin.QueueDelete(test.deleted, false, false, false); err != nil {
				t.Error(err)
			}
			return test.needs.declare(ch)
		}}, test.name, nil)
		b.checker.round(t.Context(), conn)
		look, err := conn.Channel() // a look at what is not there closes it
		if err != nil {
			t.Fatal(err)
		}
		if _, err := look.QueueDeclarePassive(test.deleted, true, false, false, false, nil); err == nil {
			t.Errorf("the check of %s has created the queue %s", test.name, test.deleted)
		}
		if test.name == test.deleted {
			b.checker.round(t.Context(), conn)
			select {
			case <-stale:
			default:
				t.Errorf("the consumer of %s goes on without its queue", test.name)
			}
		}
		unwatch()
	}
}
