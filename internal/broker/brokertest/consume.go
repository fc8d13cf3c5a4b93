package brokertest

import (
	"context"
	"fmt"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

func testOrder(t *testing.T, h Harness) {
	c1, c2 := consume(t, h.Broker, console(1), 7), consume(t, h.Broker, console(2), 0)
	const count = 300
	for i := range count {
		publish(t, h.Broker, broker.ToAll(), fmt.Sprint(i))
	}
	for i := range count {
		c1.want(fmt.Sprint(i))
		c2.want(fmt.Sprint(i))
	}
}

func testPrefetch(t *testing.T, h Harness) {
	greedy := consume(t, h.Broker, shared(), 2)
	for i := range 5 {
		publish(t, h.Broker, broker.ToAny(), fmt.Sprint(i))
	}
	first, second := greedy.next(), greedy.next()
	// A second consumer gets the others: the first one has its prefetch.
	helper := consume(t, h.Broker, shared(), 10)
	for i := 2; i < 5; i++ {
		helper.want(fmt.Sprint(i))
	}
	helper.stop()
	// A free place is filled.
	ack(t, first)
	publish(t, h.Broker, broker.ToAny(), "5")
	greedy.want("5")
	ack(t, second)
}

func testRedelivery(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	for i := range 6 {
		publish(t, h.Broker, broker.ToAll(), fmt.Sprint(i))
	}
	for i := range 5 {
		d := c.next()
		if i == 0 || i == 3 {
			ack(t, d)
		}
	}
	c.stop()
	c.becomes(false)
	c = consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "6")
	for _, id := range []string{"1", "2", "4", "5", "6"} {
		d := c.next()
		if d.MessageID() != id {
			t.Fatalf("delivered %q, want %q: unsettled ones first, in order", d.MessageID(), id)
		}
		if delivered := id < "5"; delivered && !d.Redelivered() {
			t.Errorf("message %s was delivered before, but is not marked as redelivered", id)
		}
		if id == "6" && d.Redelivered() {
			t.Error("message 6 is new, but marked as redelivered")
		}
		ack(t, d)
	}
}

func testQueueHolds(t *testing.T, h Harness) {
	consume(t, h.Broker, console(1), 0).stop()
	const count = 20
	for i := range count {
		target := broker.ToAll()
		if i%2 == 0 {
			target = broker.To("console1")
		}
		publish(t, h.Broker, target, fmt.Sprint(i))
	}
	c := consume(t, h.Broker, console(1), 0)
	for i := range count {
		c.want(fmt.Sprint(i))
	}
}

func testSettleOnce(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := consume(t, h.Broker, console(1), 0)
	for i := range 3 {
		publish(t, h.Broker, broker.ToAll(), fmt.Sprint(i))
	}
	first, second := c.next(), c.next()
	ack(t, first)
	wantError(t, first.Ack())
	wantError(t, first.DeadLetter(ctx, "again"))
	c.want("2") // the consumer continues
	c.stop()
	wantError(t, second.DeadLetter(ctx, "too late"))
	wantError(t, second.Ack())
	if dead := h.DeadLetters(t); len(dead) > 0 {
		t.Errorf("%d dead letters, want none: %v", len(dead), dead)
	}
	c = consume(t, h.Broker, console(1), 0)
	c.want("1") // not settled by its late settlements
	publish(t, h.Broker, broker.ToAll(), "3")
	c.want("3")
}

func testRequeue(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 1)
	for _, id := range []string{"m1", "m2"} {
		publish(t, h.Broker, broker.ToAll(), id)
	}
	d := c.next()
	if err := d.Requeue(); err != nil {
		t.Fatal(err)
	}
	wantError(t, d.Ack())
	wantError(t, d.Requeue())
	again := c.next() // with a prefetch of one, in its place
	if again.MessageID() != "m1" || !again.Redelivered() {
		t.Errorf("got %s, redelivered %t, want m1 again", again.MessageID(), again.Redelivered())
	}
	ack(t, again)
	c.want("m2")
	c.stop()
	wantError(t, d.Requeue())
}

func testDeadLetter(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := consume(t, h.Broker, console(1), 1)
	for _, id := range []string{"m1", "m2"} {
		publish(t, h.Broker, broker.ToAll(), id)
	}
	d := c.next()
	ended, end := context.WithCancel(ctx)
	end()
	wantError(t, d.DeadLetter(ended, "no time"), context.Canceled)
	if err := d.DeadLetter(ctx, "it is rubbish"); err != nil { // an error left it unsettled
		t.Fatal(err)
	}
	c.want("m2") // with a prefetch of one, m1 is settled
	want := DeadLetter{Queue: "tasker.worker.console1", Reason: "it is rubbish", MessageID: "m1", Body: `{"id":"m1"}`}
	if dead := h.DeadLetters(t); len(dead) != 1 || dead[0] != want {
		t.Errorf("dead letters %+v, want %+v", dead, want)
	}
	c.stop()
	c = consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "m3")
	c.want("m3")
}
