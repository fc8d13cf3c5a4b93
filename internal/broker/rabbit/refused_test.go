package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testnodes"
	"github.com/taskerhq/tasker/internal/testservices"
)

// restricted returns the address of a virtual host with a user who may not
// write to the exchange of the task type "secret".
func restricted(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(testservices.RabbitMQ(t))
	if err != nil {
		t.Fatal(err)
	}
	name := "user_" + strings.TrimPrefix(u.Path, "/")
	testservices.Management(t, http.MethodPut, "/api/users/"+name, `{"password":"pw","tags":""}`)
	t.Cleanup(func() { testservices.Management(t, http.MethodDelete, "/api/users/"+name, "") })
	testservices.Management(t, http.MethodPut, "/api/permissions"+u.Path+"/"+name,
		`{"configure":".*","write":"^tasker\\.(worker|backup|dead|events).*$","read":".*"}`)
	u.User = url.UserPassword(name, "pw")
	return u.String()
}

// TestRefusedMessage: RabbitMQ refuses a message by closing the channel. Only
// that message gets the error: all others are published, and the broker stays
// ready.
func TestRefusedMessage(t *testing.T) {
	b := newBroker(t, rabbit.Config{URIs: []string{restricted(t)}})
	declareBy(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var publishes sync.WaitGroup
	for i := range 200 {
		publishes.Go(func() {
			p := broker.Publication{TaskType: "worker", MessageID: fmt.Sprint("m", i), Once: i%2 == 0}
			refused := i%10 == 0
			if refused {
				p.TaskType = "secret"
			}
			_, err := b.Publish(ctx, p)
			if refused != errors.Is(err, broker.ErrRefused) || !refused && err != nil {
				t.Errorf("message %d to %s: %v", i, p.TaskType, err)
			}
			if refused && !strings.Contains(fmt.Sprint(err), "ACCESS_REFUSED") {
				t.Errorf("the error does not say why: %v", err)
			}
			if err := b.Ready(); err != nil {
				t.Errorf("not ready: %v", err)
			}
		})
	}
	publishes.Wait()
	// A message known to be refused is published apart: the channel of the
	// others stays open.
	if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "more"}); err != nil {
		t.Fatal(err)
	}
	before := b.Session()
	for range 3 {
		if _, err := b.Publish(ctx, broker.Publication{TaskType: "secret", MessageID: "again", Apart: true}); !errors.Is(err, broker.ErrRefused) {
			t.Errorf("again: %v", err)
		}
		if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "apart", Apart: true}); err != nil {
			t.Errorf("a good one apart: %v", err)
		}
	}
	if before == nil || b.Session() != before {
		t.Error("a message that was published apart closed the channel of the others")
	}
}

// TestRefusedSize: the limit of a node is learned from the first message that it
// refuses, and the next one is not sent.
func TestRefusedSize(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	if _, err := exec.LookPath("rabbitmq-server"); err != nil {
		t.Skip("rabbitmq-server is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a server starts slowly on busy cores
	defer cancel()
	const limit = 10_000
	node, err := testnodes.StartRabbitMQ(ctx, t.TempDir(), testnodes.RabbitMQOptions{MaxMessageSize: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	b := newBroker(t, rabbit.Config{URIs: []string{node.URI()}})
	declareBy(t, b)
	if n := b.MaxBody(); n != 0 {
		t.Errorf("a limit of %d is known before a message was refused", n)
	}
	publish := func(size int, apart bool) error {
		_, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "m", Body: make([]byte, size), Apart: apart})
		return err
	}
	if err := publish(2*limit, false); !errors.Is(err, broker.ErrRefused) {
		t.Errorf("a message that is too large: %v", err)
	}
	if n := b.MaxBody(); n != limit {
		t.Errorf("the limit is said to be %d, want %d", n, limit)
	}
	if err := publish(limit, false); err != nil { // by the channel that follows
		t.Fatal(err)
	}
	before := b.Session()
	if err := publish(limit+1, false); !errors.Is(err, broker.ErrRefused) {
		t.Errorf("one that is too large: %v", err)
	}
	if err := publish(limit+1, true); !errors.Is(err, broker.ErrRefused) {
		t.Errorf("the same apart: %v", err)
	}
	if b.Session() != before {
		t.Error("a message that is known to be too large closed the channel")
	}
	if err := publish(limit, false); err != nil {
		t.Errorf("one that is just small enough: %v", err)
	}
}

// TestOnce: such a publish does not wait for a broker that is down, and is not
// repeated after a connection is lost.
func TestOnce(t *testing.T) {
	p, uri := testservices.Proxied(t, testservices.RabbitMQ(t))
	b := newBroker(t, rabbit.Config{URIs: []string{uri}, Heartbeat: time.Minute})
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	declareBy(t, b)
	if err := receive(t, deliveries).Ack(); err != nil {
		t.Fatal(err)
	}
	p.Hold()
	done := make(chan error, 1)
	go func() {
		_, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: "m", Once: true})
		done <- err
	}()
	eventually(t, "the message is written", func() bool { return b.Unconfirmed() == 1 })
	p.Cut()
	if err := receive(t, done); !errors.Is(err, broker.ErrUnconfirmed) {
		t.Errorf("Publish gives %v, want that nothing confirmed it", err)
	}
	eventually(t, "the broker is away", func() bool { return b.Ready() != nil })
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if _, err := b.Publish(ctx, broker.Publication{TaskType: "worker", MessageID: "m", Once: true}); ctx.Err() != nil ||
		!errors.Is(err, broker.ErrNotConnected) {
		t.Errorf("Publish gives %v, want that the broker is away", err)
	}
	p.Restore()
}

// TestTooLargeForAnEndpoint: such a message is not decoded, but becomes a dead
// letter, and those behind it are delivered. RabbitMQ itself moves it, even while it
// blocks publishers, so that the endpoint need not keep it.
func TestTooLargeForAnEndpoint(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	b := newBroker(t, rabbit.Config{URIs: []string{uri}, MaxBody: 1000})
	deliveries, ready := consume(t, b, queue)
	receive(t, ready)
	for id, size := range map[string]int{"large": 1001, "small": 1000} {
		if _, err := b.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: id, Body: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	if d := receive(t, deliveries); d.MessageID() != "small" {
		t.Errorf("delivered %s", d.MessageID())
	} else if err := d.Ack(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	letters := make(chan broker.DeadLetter, 1)
	done := make(chan error, 1)
	go func() {
		done <- b.ConsumeDeadLetters(ctx, func(_ context.Context, letter broker.DeadLetter) error {
			letters <- letter
			return nil
		})
	}()
	if l := receive(t, letters); l.MessageID != "large" || len(l.Body) != 1001 || !strings.Contains(l.Reason, "1001 bytes") ||
		l.Queue != queue.Name() {
		t.Errorf("the dead letter is %s of %s, of %d bytes: %s", l.MessageID, l.Queue, len(l.Body), l.Reason)
	}
	cancel()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}
