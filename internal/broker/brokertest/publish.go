package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

func testToAll(t *testing.T, h Harness) {
	c1, c2 := consume(t, h.Broker, console(1), 0), consume(t, h.Broker, console(2), 0)
	other := consume(t, h.Broker, broker.Queue{TaskType: "backup", Endpoint: "console1"}, 0)
	publish(t, h.Broker, broker.ToAll(), "m1")
	for _, c := range []*consumer{c1, c2} {
		d := c.next()
		if got, want := string(d.Body()), `{"id":"m1"}`; got != want {
			t.Errorf("%s: body %s, want %s", c.name, got, want)
		}
		if d.Redelivered() {
			t.Errorf("%s: a first delivery is marked as redelivered", c.name)
		}
		ack(t, d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := h.Broker.Publish(ctx, broker.Publication{TaskType: "backup", MessageID: "m2"}); err != nil {
		t.Fatal(err)
	}
	other.want("m2") // and not m1 before it
	publish(t, h.Broker, broker.ToAll(), "m3")
	c1.want("m3") // and not m2 before it
	c2.want("m3")
}

func testToNamed(t *testing.T, h Harness) {
	c1, c2, c3 := consume(t, h.Broker, console(1), 0), consume(t, h.Broker, console(2), 0), consume(t, h.Broker, console(3), 0)
	receipt, err := try(t, h.Broker, broker.To("ghost1", "console1", "ghost2", "console3", "ghost0"), "m1")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ghost1", "ghost2", "ghost0"}; !slices.Equal(receipt.Unserved, want) {
		t.Errorf("unserved %q, want %q", receipt.Unserved, want)
	}
	if receipt.Unrouted {
		t.Error("Unrouted is set, which is for ToAll and ToAny only")
	}
	c1.want("m1")
	c3.want("m1")
	publish(t, h.Broker, broker.ToAll(), "m2")
	for _, c := range []*consumer{c1, c2, c3} {
		c.want("m2") // and c2 got no m1 before it
	}
	names := make([]string, 600) // more than any window of unconfirmed messages
	for i := range names {
		names[i] = fmt.Sprintf("ghost%d", i)
	}
	names[300] = "console2"
	receipt, err = try(t, h.Broker, broker.To(names...), "m3")
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Delete(slices.Clone(names), 300, 301); !slices.Equal(receipt.Unserved, want) {
		t.Errorf("%d of 600 unserved, want all but one, in order", len(receipt.Unserved))
	}
	c2.want("m3")
}

func testToAny(t *testing.T, h Harness) {
	own := consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAny(), "early") // kept without a consumer
	a, b := consume(t, h.Broker, shared(), 10), consume(t, h.Broker, shared(), 10)
	const count = 100
	for i := range count {
		publish(t, h.Broker, broker.ToAny(), fmt.Sprint(i))
	}
	seen := make(map[string]int)
	perConsumer := make(map[*consumer]int)
	for range count + 1 {
		var d broker.Delivery
		var from *consumer
		select {
		case d = <-a.deliveries:
			from = a
		case d = <-b.deliveries:
			from = b
		case <-t.Context().Done():
			t.Fatal("deliveries are missing")
		}
		seen[d.MessageID()]++
		perConsumer[from]++
		ack(t, d)
	}
	for i := range count {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			t.Errorf("message %d was delivered %d times, want once", i, n)
		}
	}
	if seen["early"] != 1 {
		t.Errorf("the message before the consumers was delivered %d times, want once", seen["early"])
	}
	for _, c := range []*consumer{a, b} {
		if perConsumer[c] == 0 {
			t.Error("one of two consumers got nothing")
		}
	}
	publish(t, h.Broker, broker.ToAll(), "m")
	own.want("m") // and nothing for any
	publish(t, h.Broker, broker.ToAny(), "last")
	select { // and what was for all did not reach the shared queue
	case d := <-a.deliveries:
		if d.MessageID() != "last" {
			t.Errorf("the shared queue delivered %q, want %q", d.MessageID(), "last")
		}
	case d := <-b.deliveries:
		if d.MessageID() != "last" {
			t.Errorf("the shared queue delivered %q, want %q", d.MessageID(), "last")
		}
	}
}

func testUnrouted(t *testing.T, h Harness) {
	receipt, err := try(t, h.Broker, broker.ToAll(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	if !receipt.Unrouted {
		t.Error("no endpoint has a queue, but the receipt is not Unrouted")
	}
	consume(t, h.Broker, shared(), 0)
	receipt, err = try(t, h.Broker, broker.ToAll(), "m2")
	if err != nil {
		t.Fatal(err)
	}
	if !receipt.Unrouted {
		t.Error("only the shared queue exists, which ToAll does not reach, but the receipt is not Unrouted")
	}
}

func testSameMessageID(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "m")
	publish(t, h.Broker, broker.ToAll(), "m")
	c.want("m")
	c.want("m")
}

func testBodies(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	for _, size := range []int{0, 1, 131_072 - 8, 1 << 20} { // AMQP's frames have 131,072 bytes
		body := bytes.Repeat([]byte{'x'}, size)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := h.Broker.Publish(ctx, broker.Publication{TaskType: taskType, MessageID: "m", Body: body})
		cancel()
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		d := c.next()
		if !bytes.Equal(d.Body(), body) {
			t.Errorf("published %d bytes, but %d or other ones were delivered", size, len(d.Body()))
		}
		ack(t, d)
	}
}

// testConcurrentPublishers: each receipt is about its own publication, though
// all have the same message id.
func testConcurrentPublishers(t *testing.T, h Harness) {
	const publishers, each = 8, 100
	c := consume(t, h.Broker, console(1), 0)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				ghost := fmt.Sprintf("ghost%d-%d", p, i)
				targets, want := []string{"console1", ghost}, []string{ghost}
				if i%2 == 0 {
					targets, want = targets[:1], nil
				}
				receipt, err := try(t, h.Broker, broker.To(targets...), "same")
				if err != nil {
					t.Errorf("publisher %d, message %d: %v", p, i, err)
					return
				}
				if !slices.Equal(receipt.Unserved, want) {
					t.Errorf("publisher %d, message %d: unserved %q, want %q", p, i, receipt.Unserved, want)
				}
			}
		})
	}
	for range publishers * each {
		c.want("same")
	}
	wg.Wait()
	publish(t, h.Broker, broker.ToAll(), "last")
	c.want("last") // and nothing more before it
}

func testEndedContext(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	cause := errors.New("the caller has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := h.Broker.Publish(ctx, broker.Publication{TaskType: taskType, MessageID: "m1"})
	wantError(t, err, cause)
	wantError(t, h.Broker.Notify(ctx, "key", nil), cause)
	wantError(t, h.Broker.Declare(ctx, taskType), cause)
	publish(t, h.Broker, broker.ToAll(), "m2")
	c.want("m2") // and no m1 before it
}

func testDeclare(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2 { // it may be called again
		if err := h.Broker.Declare(ctx, taskType, "backup"); err != nil {
			t.Fatal(err)
		}
	}
}
