package brokertest

import (
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

// A queue is deleted with its messages, but not while it has a consumer.
func testDeleteQueue(t *testing.T, h Harness) {
	ctx := t.Context()
	if err := h.Broker.DeleteQueue(ctx, console(1)); err != nil {
		t.Errorf("deleting a queue that does not exist: %v", err)
	}
	c1, c2 := consume(t, h.Broker, console(1), 0), consume(t, h.Broker, console(2), 0)
	wantError(t, h.Broker.DeleteQueue(ctx, console(1)), broker.ErrInUse)
	publish(t, h.Broker, broker.ToAll(), "m1")
	c1.want("m1")
	c2.want("m1")
	c1.stop()
	publish(t, h.Broker, broker.ToAll(), "m2")
	c2.want("m2")
	eventually(t, "the queue without a consumer is deleted", func() bool { return h.Broker.DeleteQueue(ctx, console(1)) == nil })
	receipt, err := try(t, h.Broker, broker.To("console1", "console2"), "m3")
	if err != nil || len(receipt.Unserved) != 1 || receipt.Unserved[0] != "console1" {
		t.Errorf("unserved are %v, %v", receipt.Unserved, err)
	}
	c2.want("m3")
	c1 = consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "m4")
	c1.want("m4") // and nothing from before
	c2.want("m4")
}
