package rabbit_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestAddressesInTurn: a connection moves to the next node when its own goes
// down, and returns when the others do.
func TestAddressesInTurn(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	first, a := testservices.Proxied(t, uri)
	second, b := testservices.Proxied(t, uri)
	br := newBroker(t, rabbit.Config{URIs: []string{a, b}, InOrder: true})
	deliveries, ready := consume(t, br, queue)
	receive(t, ready)
	for i, cut := range []*testservices.Proxy{first, second, first} {
		other := second
		if cut == second {
			other = first
		}
		other.Restore()
		cut.Cut()
		if receive(t, ready) || !receive(t, ready) {
			t.Fatal("the consumer did not end and begin again")
		}
		if _, err := br.Publish(t.Context(), broker.Publication{TaskType: "worker", MessageID: fmt.Sprint(i)}); err != nil {
			t.Fatalf("publish after cut %d: %v", i+1, err)
		}
		// A message in flight at the cut comes twice, and deliveries from
		// before it cannot be settled.
		for d := receive(t, deliveries); d.Ack() != nil || d.MessageID() != fmt.Sprint(i); {
			d = receive(t, deliveries)
		}
	}
}

// TestSilentAddress is a node that accepts connections but never answers.
func TestSilentAddress(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	p, silent := testservices.Proxied(t, uri)
	p.Hold()
	b := newBroker(t, rabbit.Config{URIs: []string{silent + "?connection_timeout=100", uri}, InOrder: true})
	_, ready := consume(t, b, queue)
	receive(t, ready)
	eventually(t, "it is ready", func() bool { return b.Ready() == nil })
	if p.Dialled() == 0 {
		t.Error("the silent node was not tried")
	}
}

// TestOneAddressRefuses: the log shows credentials refused by one node, even if
// another was down before and a third works.
func TestOneAddressRefuses(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	wrong, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	wrong.User = url.UserPassword("nobody", "s3cret")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	dead := "amqp://" + l.Addr().String()
	out := &logs{}
	b, err := rabbit.New(rabbit.Config{URIs: []string{dead, wrong.String(), uri}, InOrder: true}, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	eventually(t, "it is ready", func() bool { return b.Ready() == nil })
	if out.count("level=WARN", "refused") != 1 || out.count("level=WARN", "403", "nobody") != 1 || out.has("s3cret") {
		t.Errorf("the log does not tell of each node once:\n%s", out.buf.String())
	}
}

// TestSpread: many processes with the same list do not all start with the same
// node.
func TestSpread(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	nodes := make([]*testservices.Proxy, 3)
	uris := make([]string, len(nodes))
	for i := range nodes {
		nodes[i], uris[i] = testservices.Proxied(t, uri)
		nodes[i].Hold() // so that nobody goes on to a second one
	}
	dialled := func() (n []int) {
		for _, node := range nodes {
			n = append(n, node.Dialled())
		}
		return n
	}
	const processes = 50 // two nodes alone would be met with a chance of 1 to 10^8
	for range processes {
		before := dialled()
		b, err := rabbit.New(rabbit.Config{URIs: uris}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Ready()
		eventually(t, "a node is dialled", func() bool { return !slices.Equal(dialled(), before) })
		_ = b.Close()
	}
	if n := dialled(); slices.Min(n) == 0 {
		t.Errorf("the nodes were the first %d times", n)
	}
}
