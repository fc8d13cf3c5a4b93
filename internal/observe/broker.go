package observe

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskerhq/tasker/internal/broker"
)

// BrokerMetrics are the metrics of the connection to the message broker.
type BrokerMetrics struct {
	Published Histogram `name:"publish_duration_seconds" help:"Time until the broker has confirmed a publication."`
	Failed    Counter   `name:"publish_failed_total" help:"Publications that the broker did not confirm; the relay repeats them."`
	Returned  Counter   `name:"publish_returned_total" help:"Messages that the broker returned since they have no queue."`
	Connected Reading   `name:"broker_connected" help:"1 if messages could be published now, else 0."`
}

// NewBrokerMetrics returns the metrics of the connection to the message broker.
func NewBrokerMetrics(r prometheus.Registerer) BrokerMetrics { return register[BrokerMetrics](r) }

// Publisher is the part of a broker that is measured.
type Publisher interface {
	Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error)
	Ready() error
	MaxBody() int
}

// Publisher returns to, measured.
func (m BrokerMetrics) Publisher(to Publisher) Publisher {
	m.Connected.From(func(report Report) {
		if to.Ready() != nil {
			report(0)
			return
		}
		report(1)
	})
	return publisher{to, m}
}

type publisher struct {
	Publisher
	metrics BrokerMetrics
}

// Publish implements [Publisher].
func (p publisher) Publish(ctx context.Context, publication broker.Publication) (broker.Receipt, error) {
	begin := time.Now()
	receipt, err := p.Publisher.Publish(ctx, publication)
	if err != nil {
		p.metrics.Failed.Inc()
		return receipt, err
	}
	p.metrics.Published.Observe(time.Since(begin))
	p.metrics.Returned.Add(len(receipt.Unserved))
	if receipt.Unrouted {
		p.metrics.Returned.Inc()
	}
	return receipt, nil
}
