package rabbit_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testnodes"
)

// TestAlarm: a node low on memory accepts no messages, and publishers get to
// know. They wait as long as they like, consumers continue, and so does all
// when the alarm is over.
func TestAlarm(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := exec.LookPath("rabbitmq-server"); err != nil {
		t.Skip("rabbitmq-server is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// An alarm is for the whole node.
	node, err := testnodes.StartRabbitMQ(ctx, t.TempDir(), testnodes.RabbitMQOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	b := newBroker(t, rabbit.Config{URIs: []string{node.URI()}})
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	declareBy(t, b)
	held := receive(t, deliveries)

	if err := node.Alarm(ctx, true); err != nil {
		t.Fatal(err)
	}
	// RabbitMQ accepts one more message per connection before it says so.
	if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "more"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not ready", func() bool {
		why := b.Ready()
		return why != nil && !errors.Is(why, broker.ErrNotConnected)
	})
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	_, err = b.Publish(short, broker.Publication{TaskType: "worker", MessageID: "hasty"})
	stop()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish gives %v, want the end of its context", err)
	}
	if err := b.Notify(ctx, "key", nil); err == nil {
		t.Error("an event was taken for a blocked connection")
	}
	if err := held.Ack(); err != nil {
		t.Errorf("an acknowledgement: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "patient"})
		waiting <- err
	}()

	if err := node.Alarm(ctx, false); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, waiting); err != nil {
		t.Errorf("the one that waited: %v", err)
	}
	if err := b.Ready(); err != nil {
		t.Errorf("after the alarm: %v", err)
	}
	for _, id := range []string{"more", "patient"} {
		d := receive(t, deliveries)
		if d.MessageID() != id || d.Redelivered() {
			t.Errorf("delivered %q, redelivered %t, want %s", d.MessageID(), d.Redelivered(), id)
		}
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
	}
}
