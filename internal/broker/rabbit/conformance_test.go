package rabbit_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/brokertest"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections() // those of testservices
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func newBroker(t testing.TB, cfg rabbit.Config) *rabbit.Broker {
	t.Helper()
	b, err := rabbit.New(cfg, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

// admin returns a channel of a foreign client, directly to the server.
func admin(t testing.TB, uri string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func newHarness(t *testing.T, queueType string) brokertest.Harness {
	uri := testservices.RabbitMQ(t)
	p, proxied := testservices.Proxied(t, uri)
	cfg := rabbit.Config{URIs: []string{proxied}, QueueType: queueType, ConnectionName: "test", CheckTopology: 200 * time.Millisecond}
	ch := admin(t, uri)
	var dead []brokertest.DeadLetter
	return brokertest.Harness{
		Broker: newBroker(t, cfg),
		DeadLetters: func(t *testing.T) []brokertest.DeadLetter {
			t.Helper()
			for _, d := range drain(t, uri, broker.DeadQueue) {
				reason, _ := d.Headers[broker.HeaderReason].(string)
				queue, _ := d.Headers[broker.HeaderQueue].(string)
				dead = append(dead, brokertest.DeadLetter{Queue: queue, Reason: reason, MessageID: d.MessageId, Body: string(d.Body)})
			}
			return dead
		},
		PublishDead: func(t *testing.T, body []byte) {
			if err := ch.PublishWithContext(t.Context(), broker.DeadExchange, "", true, false, amqp.Publishing{Body: body}); err != nil {
				t.Fatal(err)
			}
		},
		Faults: &brokertest.Faults{
			Cut: p.Cut, Restore: p.Restore,
			DeleteQueue: func(t *testing.T, name string) {
				if _, err := ch.QueueDelete(name, false, false, false); err != nil {
					t.Fatal(err)
				}
			},
			HasQueue: func(t *testing.T, name string) bool {
				one := admin(t, uri) // a look at what is not there closes it
				_, err := one.QueueDeclarePassive(name, true, false, false, false, nil)
				return err == nil
			},
			DeleteExchange: func(t *testing.T, name string) {
				if err := ch.ExchangeDelete(name, false, false); err != nil {
					t.Fatal(err)
				}
			},
			Unbind: func(t *testing.T, queue, key, exchange string) {
				if err := ch.QueueUnbind(queue, key, exchange, nil); err != nil {
					t.Fatal(err)
				}
			},
		},
	}
}

// drain takes all messages of a queue.
func drain(t testing.TB, uri, queue string) []amqp.Delivery {
	t.Helper()
	ch := admin(t, uri)
	var all []amqp.Delivery
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, d)
	}
}

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Harness { return newHarness(t, "classic") })
}

func TestConformanceQuorum(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Harness { return newHarness(t, "quorum") })
}

func TestFaults(t *testing.T) {
	brokertest.RunFaults(t, func(t *testing.T) brokertest.Harness { return newHarness(t, "classic") })
}

func TestFaultsQuorum(t *testing.T) {
	brokertest.RunFaults(t, func(t *testing.T) brokertest.Harness { return newHarness(t, "quorum") })
}
