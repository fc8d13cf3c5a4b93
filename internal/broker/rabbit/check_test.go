package rabbit_test

import (
	"log/slog"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestRefusedCheck affects neither the consumer nor the checks of others, and
// is logged once.
func TestRefusedCheck(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	out := &logs{}
	b, err := rabbit.New(rabbit.Config{URIs: []string{uri}, CheckTopology: 20 * time.Millisecond}, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	backups, ready := consume(t, b, broker.Queue{TaskType: "backup", Endpoint: "console1"})
	receive(t, ready)

	// A check may create the exchange in between.
	eventually(t, "the exchange is of another kind", func() bool {
		ch := admin(t, uri)
		return ch.ExchangeDelete("tasker.worker", false, false) == nil &&
			ch.ExchangeDeclare("tasker.worker", "topic", true, false, false, false, nil) == nil
	})
	eventually(t, "the refusal is logged", func() bool { return out.has("level=WARN", "tasker.worker", "delete it") })
	ch := admin(t, uri)
	for range 3 { // each takes a check, of the other queue
		if err := ch.QueueUnbind("tasker.backup.console1", "all", "tasker.backup", nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other queue is bound again", func() bool {
			r, err := b.Publish(t.Context(), broker.Publication{TaskType: "backup", MessageID: "m"})
			return err == nil && !r.Unrouted
		})
		if err := receive(t, backups).Ack(); err != nil {
			t.Error(err)
		}
	}
	if err := ch.PublishWithContext(t.Context(), "", queue.Name(), true, false, amqp.Publishing{Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, deliveries).Ack(); err != nil {
		t.Error(err)
	}
	if n := out.count("level=WARN", "tasker.worker", "delete it"); n != 1 {
		t.Errorf("%d warnings of the refusal, want 1:\n%s", n, out.text())
	}

	if err := ch.ExchangeDelete("tasker.worker", false, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is bound again", func() bool {
		r, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: "m"})
		return err == nil && !r.Unrouted
	})
	receive(t, deliveries)
}
