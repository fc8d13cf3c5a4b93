package rabbit_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestNack: a message that a queue cannot take is retried over a new channel,
// and is an error in the end. Other queues are not affected.
func TestNack(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	b := newBroker(t, rabbit.Config{URIs: []string{uri}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subscription := broker.Subscription{Queue: queue, Deliver: func(broker.Delivery) {}, Ready: func(bool) { cancel() }}
	if err := b.Consume(ctx, subscription); err != nil { // no more than the queue
		t.Fatal(err)
	}
	policy := "/api/policies" + u.Path + "/full"
	testservices.Management(t, http.MethodPut, policy,
		`{"pattern":"console1$","apply-to":"queues","definition":{"max-length":0,"overflow":"reject-publish"}}`)
	publish := func(target broker.Target) error {
		_, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", Target: target, MessageID: "m"})
		return err
	}
	// The policy takes effect a moment later.
	eventually(t, "the queue is full", func() bool {
		err := publish(broker.ToAll())
		return err != nil && strings.Contains(err.Error(), "could not take the message")
	})
	first := b.Session()
	if first == nil {
		t.Fatal("there is no session")
	}
	eventually(t, "another channel publishes", func() bool {
		if err := publish(broker.To("console1")); err == nil {
			t.Fatal("a full queue took a message")
		}
		return b.Session() != first
	})
	if err := publish(broker.ToAny()); err != nil {
		t.Errorf("another queue: %v", err)
	}
	testservices.Management(t, http.MethodDelete, policy, "")
	deadline := time.Now().Add(testTimeout)
	for err := publish(broker.ToAll()); err != nil; err = publish(broker.ToAll()) {
		if time.Now().After(deadline) {
			t.Fatalf("the queue has room again: %v", err)
		}
	}
}

// TestNoConfirms: messages to a node that confirms none, on a live connection,
// go to another node.
func TestNoConfirms(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	p, first := testservices.Proxied(t, uri)
	b := newBroker(t, rabbit.Config{
		URIs: []string{first, uri}, InOrder: true, Heartbeat: time.Hour, ConfirmTimeout: 200 * time.Millisecond,
	})
	declareBy(t, b)
	p.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var publishes sync.WaitGroup
	for range 300 { // more than may wait for a confirm at a time
		publishes.Go(func() {
			if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "m"}); err != nil {
				t.Error(err)
			}
		})
	}
	publishes.Wait()
	if n := p.Dialled(); n != 1 {
		t.Errorf("%d connections to the silent node, want 1", n)
	}
}

// TestNoAnswerToADeclaration, before the first message of a type, is handled
// like a missing confirm.
func TestNoAnswerToADeclaration(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	p, first := testservices.Proxied(t, uri)
	b := newBroker(t, rabbit.Config{
		URIs: []string{first, uri}, InOrder: true, Heartbeat: time.Hour, ConfirmTimeout: 200 * time.Millisecond,
	})
	declareBy(t, b)
	p.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for _, taskType := range []string{"other", "worker"} {
		if _, err := b.Publish(ctx, broker.Publication{TaskType: taskType, MessageID: "m"}); err != nil {
			t.Fatalf("%s: %v", taskType, err)
		}
	}
	if n := p.Dialled(); n != 1 {
		t.Errorf("%d connections to the silent node, want 1", n)
	}
}
