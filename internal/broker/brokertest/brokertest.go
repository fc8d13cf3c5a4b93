// Package brokertest tests the contract of broker.Broker, for every driver.
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
)

// patience is how long a test waits for what must happen. It is long, since
// only failing tests wait that long.
const patience = time.Minute

// taskType is the type in most tests.
const taskType = "worker"

// Harness is an empty broker under test, and what a test does to it from
// outside.
type Harness struct {
	Broker broker.Broker
	// DeadLetters returns all dead letters so far that nobody consumed.
	DeadLetters func(t *testing.T) []DeadLetter
	// PublishDead publishes to the dead letters like a foreign client, without
	// any header; nil if there are no foreign clients.
	PublishDead func(t *testing.T, body []byte)
	// Faults are for RunFaults only.
	Faults *Faults
}

// DeadLetter is a message that a consumer dead-lettered.
type DeadLetter struct {
	Queue, Reason, MessageID, Body string
}

// Faults are what can happen to a broker that is a server.
type Faults struct {
	// Cut breaks all connections and prevents new ones, until Restore.
	Cut, Restore func()
	// DeleteQueue, DeleteExchange and Unbind do what an administrator might do.
	// A driver that is not told must check, soon enough for a test.
	DeleteQueue, DeleteExchange func(t *testing.T, name string)
	HasQueue                    func(t *testing.T, name string) bool
	Unbind                      func(t *testing.T, queue, key, exchange string)
}

// Run tests a driver against the contract. newHarness is called for each test
// and closes what it made in t.Cleanup. Drivers of a server run RunFaults as
// well.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"to all endpoints", testToAll},
		{"to named endpoints", testToNamed},
		{"to any endpoint", testToAny},
		{"to nobody", testUnrouted},
		{"a message published twice", testSameMessageID},
		{"bodies of any size", testBodies},
		{"concurrent publishers", testConcurrentPublishers},
		{"an ended context", testEndedContext},
		{"order", testOrder},
		{"prefetch", testPrefetch},
		{"redelivery", testRedelivery},
		{"a queue outlives its consumer", testQueueHolds},
		{"settling once", testSettleOnce},
		{"acknowledging several", testAckAll},
		{"requeued messages", testRequeue},
		{"dead letters", testDeadLetter},
		{"consuming dead letters", testConsumeDeadLetters},
		{"a dead letter that fails", testFailingDeadLetter},
		{"a dead letter that is not settled", testUnsettledDeadLetter},
		{"shared dead letters", testSharedDeadLetters},
		{"foreign dead letters", testForeignDeadLetters},
		{"dead letters until close", testDeadLettersClosed},
		{"readiness", testReady},
		{"events", testEvents},
		{"control", testControl},
		{"declaring", testDeclare},
		{"deleting a queue", testDeleteQueue},
		{"close", testClose},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newHarness(t)) })
	}
}

// RunFaults tests the contract while connections break and an administrator
// deletes things; its harnesses have Faults.
func RunFaults(t *testing.T, newHarness func(t *testing.T) Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"consumers come back", testConsumersComeBack},
		{"publishers under cuts", testPublishersUnderCuts},
		{"publish waits out a cut", testPublishWaits},
		{"publish gives up with its context", testPublishGivesUp},
		{"a settlement that comes too late", testStaleAck},
		{"several settlements that come too late", testStaleAcks},
		{"listeners come back", testListenersComeBack},
		{"managers hear hints again", testControlComesBack},
		{"a deleted queue", testDeletedQueue},
		{"a deleted exchange", testDeletedExchange},
		{"an exchange deleted under its consumers", testDeletedExchangeOfConsumers},
		{"bindings deleted under their consumers", testUnboundConsumers},
		{"an events exchange deleted under its listener", testDeletedEvents},
		{"a deleted shared queue", testDeletedSharedQueue},
		{"deleted dead letters", testDeletedDeadLetters},
		{"consuming dead letters under faults", testDeadLettersUnderFaults},
		{"close while cut", testCloseWhileCut},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newHarness(t)) })
	}
}

// consumer is a running Consume call.
type consumer struct {
	t          *testing.T
	name       string
	deliveries chan broker.Delivery
	ready      chan bool
	cancel     context.CancelFunc
	done       chan error
}

// consume starts a consumer and waits until it is registered. It ends with the
// test.
func consume(t *testing.T, b broker.Broker, q broker.Queue, prefetch int) *consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &consumer{
		t: t, name: q.Name(), deliveries: make(chan broker.Delivery, 10_000), ready: make(chan bool, 1000),
		cancel: cancel, done: make(chan error, 1),
	}
	go func() {
		c.done <- b.Consume(ctx, broker.Subscription{
			Queue: q, Prefetch: prefetch,
			Deliver: func(d broker.Delivery) { c.deliveries <- d },
			Ready:   func(ready bool) { c.ready <- ready },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-c.done; err != nil {
			t.Logf("Consume from %s returned %v", c.name, err)
		}
	})
	c.becomes(true)
	return c
}

// console returns the queue of an endpoint.
func console(n int) broker.Queue {
	return broker.Queue{TaskType: taskType, Endpoint: fmt.Sprintf("console%d", n)}
}

// shared returns the queue that the endpoints share.
func shared() broker.Queue { return broker.Queue{TaskType: taskType} }

// becomes waits for the next call of Ready.
func (c *consumer) becomes(want bool) {
	c.t.Helper()
	if got := receive(c.t, c.ready, c.name+" to be ready or not"); got != want {
		c.t.Fatalf("%s: Ready(%t), want Ready(%t)", c.name, got, want)
	}
}

// next waits for the next delivery.
func (c *consumer) next() broker.Delivery {
	c.t.Helper()
	return receive(c.t, c.deliveries, "a delivery from "+c.name)
}

// want waits for the next delivery, checks its id and acknowledges it.
func (c *consumer) want(id string) {
	c.t.Helper()
	d := c.next()
	if d.MessageID() != id {
		c.t.Fatalf("%s delivered %q, want %q", c.name, d.MessageID(), id)
	}
	ack(c.t, d)
}

// stop ends the consumer and waits for that.
func (c *consumer) stop() {
	c.t.Helper()
	c.cancel()
	if err := receive(c.t, c.done, c.name+" to end"); err != nil {
		c.t.Fatalf("Consume from %s returned %v, want nil when its context ends", c.name, err)
	}
	c.done <- nil // for the cleanup
}

func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("waited %s for %s", patience, what)
		panic("unreachable")
	}
}

// eventually polls for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

func ack(t *testing.T, d broker.Delivery) {
	t.Helper()
	if err := d.Ack(); err != nil {
		t.Fatalf("Ack of %q: %v", d.MessageID(), err)
	}
}

func try(t *testing.T, b broker.Broker, target broker.Target, id string) (broker.Receipt, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return b.Publish(ctx, broker.Publication{TaskType: taskType, Target: target, MessageID: id, Body: []byte(`{"id":"` + id + `"}`)})
}

// publish sends a message that a queue must take.
func publish(t *testing.T, b broker.Broker, target broker.Target, id string) {
	t.Helper()
	receipt, err := try(t, b, target, id)
	if err != nil {
		t.Fatalf("Publish %q: %v", id, err)
	}
	if receipt.Unrouted || len(receipt.Unserved) > 0 {
		t.Fatalf("Publish %q: no queue took it: %+v", id, receipt)
	}
}

func wantError(t *testing.T, err error, targets ...error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error, want one")
	}
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("error %q, want one that wraps %q", err, target)
		}
	}
}
