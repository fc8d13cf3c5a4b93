package rabbit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestConsumersChannelIsClosed by the server, on a live connection: another
// channel replaces it, unsettled messages come again, and late settlements
// fail.
func TestConsumersChannelIsClosed(t *testing.T) {
	p, uri := testservices.Proxied(t, testservices.RabbitMQ(t))
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	for _, id := range []string{"one", "two"} {
		if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: id}); err != nil {
			t.Fatal(err)
		}
	}
	stale := receive(t, deliveries)
	receive(t, deliveries)
	dials := p.Dialled()
	if err := rabbit.BreakChannel(stale); err != nil {
		t.Fatal(err)
	}
	if receive(t, ready) {
		t.Error("the consumer is told that it is ready, and its channel was closed")
	}
	if !receive(t, ready) {
		t.Error("the consumer is told twice that its channel was closed")
	}
	if err := stale.Ack(); err == nil {
		t.Error("a message of a closed channel was acknowledged")
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := stale.DeadLetter(ctx, "too late"); err == nil {
		t.Error("a message of a closed channel became a dead letter")
	}
	for _, id := range []string{"one", "two"} {
		d := receive(t, deliveries)
		if d.MessageID() != id || !d.Redelivered() {
			t.Errorf("delivered %q, redelivered %t, want %s again", d.MessageID(), d.Redelivered(), id)
		}
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
	}
	if n := p.Dialled() - dials; n != 0 {
		t.Errorf("%d new connections", n)
	}
	if held := drain(t, uri, queue.Name()); len(held) != 0 {
		t.Errorf("%d messages are left", len(held))
	}
	if dead := drain(t, uri, broker.DeadQueue); len(dead) != 0 {
		t.Errorf("%d dead letters", len(dead))
	}
}

// TestConfirmNeverComes, as with a broker that hangs: the publish ends with its
// context, and the message is not sent again.
func TestConfirmNeverComes(t *testing.T) {
	p, uri := testservices.Proxied(t, testservices.RabbitMQ(t))
	b := newBroker(t, rabbit.Config{URIs: []string{uri}, Heartbeat: time.Minute})
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	declareBy(t, b)
	if err := receive(t, deliveries).Ack(); err != nil {
		t.Fatal(err)
	}
	p.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "m"})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "confirmed") {
		t.Errorf("Publish gives %v", err)
	}
	p.Release()
	// It was sent all the same, once: unknown does not mean refused.
	if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: "next"}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"m", "next"} {
		d := receive(t, deliveries)
		if d.MessageID() != id {
			t.Errorf("delivered %q, want %s", d.MessageID(), id)
		}
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
	}
}
