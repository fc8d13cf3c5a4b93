package rabbit_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// deadLetters returns the dead letters as they come, until the test ends.
func deadLetters(t *testing.T, b broker.Broker) <-chan broker.DeadLetter {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	letters, done := make(chan broker.DeadLetter, 100), make(chan error, 1)
	go func() {
		done <- b.ConsumeDeadLetters(ctx, func(_ context.Context, l broker.DeadLetter) error {
			letters <- l
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Logf("ConsumeDeadLetters ended with %v", err)
		}
	})
	return letters
}

// TestDeadByRabbitMQ: letters from RabbitMQ's own dead-lettering have the queue
// and RabbitMQ's word for the reason.
func TestDeadByRabbitMQ(t *testing.T) {
	for _, queueType := range []string{"classic", "quorum"} {
		t.Run(queueType, func(t *testing.T) {
			uri := testservices.RabbitMQ(t)
			b := newBroker(t, rabbit.Config{URIs: []string{uri}, QueueType: queueType})
			letters := deadLetters(t, b)
			deliveries, ready := consume(t, b, queue)
			receive(t, ready)
			ch := admin(t, uri)
			args := amqp.Table{"x-dead-letter-exchange": broker.DeadExchange, "x-max-length": 1, "x-queue-type": queueType}
			if _, err := ch.QueueDeclare("tasker.worker.short", true, false, false, false, args); err != nil {
				t.Fatal(err)
			}
			foreign := func(queue, id, expiration string) {
				t.Helper()
				m := amqp.Publishing{MessageId: id, Body: []byte("body " + id), Expiration: expiration}
				if err := ch.PublishWithContext(t.Context(), "", queue, true, false, m); err != nil {
					t.Fatal(err)
				}
			}
			want := func(queue, reason, id string) broker.DeadLetter {
				t.Helper()
				l := receive(t, letters)
				if l.Queue != queue || l.Reason != reason || l.MessageID != id || string(l.Body) != "body "+id || l.ID == "" ||
					time.Since(l.Time).Abs() > time.Hour {
					t.Errorf("letter %+v with body %q, want %s of %s from %s", l, l.Body, reason, id, queue)
				}
				return l
			}
			foreign("tasker.worker.short", "late", "1")
			want("tasker.worker.short", "expired", "late")
			foreign("tasker.worker.short", "first", "")
			foreign("tasker.worker.short", "second", "")
			want("tasker.worker.short", "maxlen", "first")
			d, ok, err := ch.Get("tasker.worker.short", false)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			if err := d.Reject(false); err != nil {
				t.Fatal(err)
			}
			want("tasker.worker.short", "rejected", "second")

			// A letter moved back with tasker's headers that is dead-lettered
			// again is another letter.
			foreign(queue.Name(), "again", "")
			if err := receive(t, deliveries).DeadLetter(t.Context(), "no task"); err != nil {
				t.Fatal(err)
			}
			first := want(queue.Name(), "no task", "again")
			m := amqp.Publishing{MessageId: "again", Body: first.Body, Expiration: "1", Headers: amqp.Table{
				broker.HeaderID: first.ID, broker.HeaderReason: first.Reason, broker.HeaderQueue: first.Queue,
			}}
			if err := ch.PublishWithContext(t.Context(), "", "tasker.worker.short", true, false, m); err != nil {
				t.Fatal(err)
			}
			if second := want("tasker.worker.short", "expired", "again"); second.ID == first.ID {
				t.Error("a second death has the ID of the first one")
			}
		})
	}
}
