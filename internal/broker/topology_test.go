package broker_test

import (
	"testing"

	"github.com/taskerhq/tasker/internal/broker"
)

func TestParseQueueName(t *testing.T) {
	t.Parallel()
	for _, q := range []broker.Queue{
		{TaskType: "worker", Endpoint: "console1"},
		{TaskType: "worker", Endpoint: "db.eu-west.example.com"},
		{TaskType: "any", Endpoint: "a"},
		{TaskType: "worker", Endpoint: "any.thing"},
		{TaskType: "worker"},
	} {
		if got, ok := broker.ParseQueueName(q.Name()); !ok || got != q {
			t.Errorf("%s is read as %+v, %t", q.Name(), got, ok)
		}
	}
	for _, name := range []string{
		"", "tasker", "tasker.", "tasker.worker", "tasker.worker.", "tasker..console1", "tasker.dead", "tasker.dead.console1",
		"other.worker.console1", "tasker.wor ker.a", "tasker.worker.a b", "Tasker.worker.a", "amq.gen-x",
	} {
		if got, ok := broker.ParseQueueName(name); ok {
			t.Errorf("%q is read as %+v", name, got)
		}
	}
}
