package observe

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taskerhq/tasker/internal/broker"
)

type fakePublisher struct {
	receipt broker.Receipt
	err     error
}

func (f *fakePublisher) Publish(context.Context, broker.Publication) (broker.Receipt, error) {
	return f.receipt, f.err
}
func (f *fakePublisher) Ready() error { return f.err }
func (f *fakePublisher) MaxBody() int { return 7 }

func TestPublisher(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	fake := &fakePublisher{}
	p := NewBrokerMetrics(r).Publisher(fake)
	if p.MaxBody() != 7 {
		t.Error("not the publisher")
	}
	for _, f := range []fakePublisher{
		{}, {receipt: broker.Receipt{Unrouted: true}}, {receipt: broker.Receipt{Unserved: []string{"a", "b"}}}, {err: errors.New("down")},
	} {
		*fake = f
		if receipt, err := p.Publish(t.Context(), broker.Publication{}); !errors.Is(err, f.err) || receipt.Unrouted != f.receipt.Unrouted {
			t.Errorf("%+v, %v", receipt, err)
		}
		connected := "1"
		if f.err != nil {
			connected = "0"
		}
		want := "# HELP tasker_broker_connected 1 if messages could be published now, else 0.\n# TYPE tasker_broker_connected gauge\ntasker_broker_connected " + connected + "\n"
		if err := testutil.GatherAndCompare(r, strings.NewReader(want), "tasker_broker_connected"); err != nil {
			t.Error(err)
		}
	}
	const want = `# HELP tasker_publish_failed_total Publications that the broker did not confirm; the relay repeats them.
# TYPE tasker_publish_failed_total counter
tasker_publish_failed_total 1
# HELP tasker_publish_returned_total Messages that the broker returned since they have no queue.
# TYPE tasker_publish_returned_total counter
tasker_publish_returned_total 3
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "tasker_publish_failed_total", "tasker_publish_returned_total"); err != nil {
		t.Error(err)
	}
}
