package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

func testConsumersComeBack(t *testing.T, h Harness) {
	c1, c2 := consume(t, h.Broker, console(1), 10), consume(t, h.Broker, console(2), 10)
	const count = 50
	for i := range count {
		publish(t, h.Broker, broker.ToAll(), fmt.Sprint(i))
	}
	for _, c := range []*consumer{c1, c2} {
		for i := range 5 {
			c.want(fmt.Sprint(i))
		}
	}
	h.Faults.Cut()
	c1.becomes(false)
	c2.becomes(false)
	h.Faults.Restore()
	for _, c := range []*consumer{c1, c2} {
		c.becomes(true)
		missing := make(map[string]bool)
		for i := 5; i < count; i++ {
			missing[fmt.Sprint(i)] = true
		}
		for len(missing) > 0 {
			d := c.next()
			// Deliveries from before the cut cannot be settled.
			if d.Ack() == nil {
				delete(missing, d.MessageID())
			}
		}
	}
	publish(t, h.Broker, broker.ToAll(), "last")
	c1.want("last")
	c2.want("last")
}

// testPublishersUnderCuts loses no confirmed message.
func testPublishersUnderCuts(t *testing.T, h Harness) {
	const publishers, each = 4, 100
	c := consume(t, h.Broker, console(1), 0)
	var wg sync.WaitGroup
	progress := make(chan struct{}, publishers*each)
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", p, i)
				receipt, err := try(t, h.Broker, broker.To("console1", "ghost"), id)
				if err != nil {
					t.Errorf("Publish %s: %v", id, err)
				} else if len(receipt.Unserved) != 1 || receipt.Unserved[0] != "ghost" {
					t.Errorf("Publish %s: unserved %q, want the ghost alone", id, receipt.Unserved)
				}
				progress <- struct{}{}
			}
		})
	}
	for range 3 {
		for range publishers * each / 5 {
			receive(t, progress, "progress")
		}
		h.Faults.Cut()
		h.Faults.Restore()
	}
	missing := make(map[string]bool)
	for p := range publishers {
		for i := range each {
			missing[fmt.Sprintf("%d-%d", p, i)] = true
		}
	}
	for len(missing) > 0 {
		d := c.next()
		delete(missing, d.MessageID())
		_ = d.Ack()
	}
	wg.Wait()
}

func testPublishWaits(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "m1")
	c.want("m1")
	h.Faults.Cut()
	eventually(t, "the broker is not ready", func() bool { return h.Broker.Ready() != nil })
	wantError(t, h.Broker.Ready(), broker.ErrNotConnected)
	wantError(t, h.Broker.Notify(t.Context(), "key", nil), broker.ErrNotConnected)
	done := make(chan error, 1)
	go func() {
		_, err := try(t, h.Broker, broker.ToAll(), "m2")
		done <- err
	}()
	h.Faults.Restore()
	if err := receive(t, done, "a publish to end"); err != nil {
		t.Fatalf("Publish over a reconnect: %v", err)
	}
	d := c.next()
	for d.MessageID() == "m1" && d.Redelivered() { // its acknowledgement may have been lost
		ack(t, d)
		d = c.next()
	}
	if d.MessageID() != "m2" {
		t.Errorf("delivered %q, want m2", d.MessageID())
	}
	eventually(t, "the broker is ready", func() bool { return h.Broker.Ready() == nil })
}

func testPublishGivesUp(t *testing.T, h Harness) {
	h.Faults.Cut()
	cause := errors.New("the caller has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := h.Broker.Publish(ctx, broker.Publication{TaskType: taskType, MessageID: "m"})
		done <- err
	}()
	cancel(cause)
	wantError(t, receive(t, done, "a publish to end"), cause)

	ctx2, cancel2 := context.WithTimeout(t.Context(), patience/1000)
	defer cancel2()
	_, err := h.Broker.Publish(ctx2, broker.Publication{TaskType: taskType, MessageID: "m"})
	wantError(t, err, broker.ErrNotConnected, context.DeadlineExceeded)
	h.Faults.Restore()
}

func testStaleAck(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := consume(t, h.Broker, console(1), 1)
	for _, id := range []string{"a", "b"} {
		publish(t, h.Broker, broker.ToAll(), id)
	}
	stale := c.next()
	h.Faults.Cut()
	c.becomes(false)
	h.Faults.Restore()
	c.becomes(true)
	again := c.next() // it has the delivery tag of stale
	if again.MessageID() != "a" || !again.Redelivered() {
		t.Fatalf("delivered %q (redelivered: %t), want a, redelivered", again.MessageID(), again.Redelivered())
	}
	wantError(t, stale.DeadLetter(ctx, "too late"))
	wantError(t, stale.Ack())
	if dead := h.DeadLetters(t); len(dead) > 0 {
		t.Errorf("%d dead letters, want none: %v", len(dead), dead)
	}
	// Nothing was settled: a comes once more.
	c.stop()
	c = consume(t, h.Broker, console(1), 1)
	c.want("a")
	c.want("b")
}

func testListenersComeBack(t *testing.T, h Harness) {
	l := listen(t, h.Broker, "results.*")
	hears(t, h.Broker, "results.worker", l)
	h.Faults.Cut()
	h.Faults.Restore()
	hears(t, h.Broker, "results.backup", l)
}

func testDeletedQueue(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "m1")
	c.want("m1")
	h.Faults.DeleteQueue(t, console(1).Name())
	c.becomes(false)
	c.becomes(true)
	publish(t, h.Broker, broker.ToAll(), "m2")
	publish(t, h.Broker, broker.To("console1"), "m3")
	c.want("m2")
	c.want("m3")
}

func testDeletedExchange(t *testing.T, h Harness) {
	consume(t, h.Broker, console(1), 0).stop()
	publish(t, h.Broker, broker.ToAll(), "m1")
	h.Faults.DeleteExchange(t, broker.ExchangeName(taskType))
	receipt, err := try(t, h.Broker, broker.ToAll(), "m2")
	if err != nil {
		t.Fatalf("Publish to a deleted exchange: %v", err)
	}
	if !receipt.Unrouted { // its bindings went with the exchange
		t.Error("the queue has no bindings, but the receipt is not Unrouted")
	}
	c := consume(t, h.Broker, console(1), 0) // binds it again
	c.want("m1")
	publish(t, h.Broker, broker.ToAll(), "m3")
	c.want("m3")
}

// testDeletedExchangeOfConsumers: a publish creates the exchange again, but not
// its bindings, and no consumer is told.
func testDeletedExchangeOfConsumers(t *testing.T, h Harness) {
	c1, c2, c3 := consume(t, h.Broker, console(1), 0), consume(t, h.Broker, console(2), 0), consume(t, h.Broker, shared(), 0)
	publish(t, h.Broker, broker.ToAll(), "m1")
	c1.want("m1")
	c2.want("m1")
	h.Faults.DeleteExchange(t, broker.ExchangeName(taskType))
	served(t, h.Broker, broker.To("console1", "console2"), "m2", c1, c2)
	served(t, h.Broker, broker.ToAny(), "m3", c3)
	publish(t, h.Broker, broker.ToAll(), "m4")
	c1.want("m4")
	c2.want("m4")
}

func testUnboundConsumers(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	for _, key := range console(1).Keys() {
		h.Faults.Unbind(t, console(1).Name(), key, broker.ExchangeName(taskType))
	}
	served(t, h.Broker, broker.ToAll(), "m1", c)
	served(t, h.Broker, broker.To("console1"), "m2", c)
	select {
	case ready := <-c.ready:
		t.Errorf("Ready(%t), want a consumer that continues", ready)
	default:
	}
}

// served publishes until queues took the message for the whole target, and each
// of the consumers got it.
func served(t *testing.T, b broker.Broker, target broker.Target, id string, consumers ...*consumer) {
	t.Helper()
	tries := 0
	var last string
	eventually(t, id+" is served", func() bool {
		last = fmt.Sprintf("%s-%d", id, tries)
		tries++
		receipt, err := try(t, b, target, last)
		if err != nil {
			t.Fatal(err)
		}
		return !receipt.Unrouted && len(receipt.Unserved) == 0
	})
	for _, c := range consumers {
		for got := ""; got != last; {
			d := c.next()
			got = d.MessageID()
			ack(t, d)
		}
	}
}

func testDeletedEvents(t *testing.T, h Harness) {
	l := listen(t, h.Broker, "results.*")
	hears(t, h.Broker, "results.worker", l)
	h.Faults.DeleteExchange(t, broker.EventsExchange)
	eventually(t, "an event is heard again", func() bool {
		_ = h.Broker.Notify(t.Context(), "results.backup", nil)
		select {
		case text := <-l.keys: // earlier ones may still come
			return strings.HasPrefix(text, "results.backup")
		default:
			return false
		}
	})
}

func testDeletedSharedQueue(t *testing.T, h Harness) {
	publish(t, h.Broker, broker.ToAny(), "m1")
	h.Faults.DeleteQueue(t, shared().Name())
	publish(t, h.Broker, broker.ToAny(), "m2")
	consume(t, h.Broker, shared(), 0).want("m2")
}

func testDeletedDeadLetters(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := consume(t, h.Broker, console(1), 0)
	deletions := []func(){
		func() {},
		func() { h.Faults.DeleteQueue(t, broker.DeadQueue) },
		func() { h.Faults.DeleteExchange(t, broker.DeadExchange) },
	}
	for i, remove := range deletions {
		remove()
		publish(t, h.Broker, broker.ToAll(), fmt.Sprint(i))
		if err := c.next().DeadLetter(ctx, "rubbish"); err != nil {
			t.Fatalf("dead letter %d: %v", i, err)
		}
		dead := h.DeadLetters(t)
		if len(dead) != i+1 || dead[i].MessageID != fmt.Sprint(i) {
			t.Errorf("dead letters %v, want the %d so far", dead, i+1)
		}
	}
	publish(t, h.Broker, broker.ToAll(), "last")
	c.want("last")
}

func testCloseWhileCut(t *testing.T, h Harness) {
	c := consume(t, h.Broker, console(1), 0)
	publish(t, h.Broker, broker.ToAll(), "m1")
	h.Faults.Cut()
	done := make(chan error, 1)
	go func() {
		_, err := try(t, h.Broker, broker.ToAll(), "m2")
		done <- err
	}()
	if err := h.Broker.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, receive(t, done, "a publish to end"), broker.ErrClosed)
	wantError(t, receive(t, c.done, "a consumer to end"), broker.ErrClosed)
	c.done <- nil
	h.Faults.Restore()
}
