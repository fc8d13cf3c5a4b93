package rabbit_test

import (
	"testing"
	"time"

	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/testservices"
)

// TestNoAnswerToAConsumer: a node with a live connection that does not answer a
// declaration, of a new or a running consumer, is abandoned for another one.
func TestNoAnswerToAConsumer(t *testing.T) {
	uri := testservices.RabbitMQ(t)
	for name, running := range map[string]bool{"when it begins": false, "when it is checked": true} {
		t.Run(name, func(t *testing.T) {
			p, first := testservices.Proxied(t, uri)
			cfg := rabbit.Config{
				URIs: []string{first, uri}, InOrder: true, Heartbeat: time.Hour, AnswerTimeout: 300 * time.Millisecond,
				CheckTopology: time.Hour,
			}
			if running {
				cfg.CheckTopology = 100 * time.Millisecond
			}
			b := newBroker(t, cfg)
			if !running {
				_, ready := consume(t, b, queue)
				receive(t, ready)
				p.Hold()
				_, ready = consume(t, b, broker.Queue{TaskType: "worker"})
				receive(t, ready)
				return
			}
			_, ready := consume(t, b, queue)
			receive(t, ready)
			p.Hold()
			if up := receive(t, ready); up {
				t.Fatal("it is ready twice")
			}
			if up := receive(t, ready); !up {
				t.Fatal("it is not ready twice")
			}
		})
	}
}
