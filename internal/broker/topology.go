package broker

import (
	"strings"

	"github.com/taskerhq/tasker"
)

// The names of the topology; docs/protocol.md is their contract.
const (
	DeadExchange   = "tasker.dead"   // fanout
	DeadQueue      = "tasker.dead"   // durable, bound to DeadExchange
	EventsExchange = "tasker.events" // topic, transient messages
	KeyAll         = "all"           // reaches every endpoint of a type
	KeyAny         = "any"           // reaches the queue that they share
)

// The headers of a dead letter.
const (
	HeaderReason = "x-tasker-reason" // why, for people
	HeaderQueue  = "x-tasker-queue"  // the queue that it came from
	HeaderID     = "x-tasker-id"     // tells it from all other dead letters
)

// ExchangeName is the direct exchange of a task type.
func ExchangeName(taskType string) string { return "tasker." + taskType }

// EndpointKey is the routing key that reaches one endpoint.
func EndpointKey(endpoint string) string { return "endpoint." + endpoint }

// Name is the queue's name at the broker.
func (q Queue) Name() string {
	if q.Endpoint == "" {
		return ExchangeName(q.TaskType) + "." + KeyAny
	}
	return ExchangeName(q.TaskType) + "." + q.Endpoint
}

// ParseQueueName gives the queue of a name that [Queue.Name] made; ok is false
// for any other name. Task types have no dot, so there is one way to read it.
func ParseQueueName(name string) (q Queue, ok bool) {
	rest, ok := strings.CutPrefix(name, ExchangeName(""))
	if !ok {
		return Queue{}, false
	}
	taskType, endpoint, _ := strings.Cut(rest, ".")
	if tasker.ValidateTaskType(taskType) != nil {
		return Queue{}, false
	}
	if endpoint == KeyAny {
		return Queue{TaskType: taskType}, true
	}
	if tasker.ValidateEndpoint(endpoint) != nil {
		return Queue{}, false
	}
	return Queue{TaskType: taskType, Endpoint: endpoint}, true
}

// Keys are the routing keys with which the queue is bound to its exchange.
func (q Queue) Keys() []string {
	if q.Endpoint == "" {
		return []string{KeyAny}
	}
	return []string{KeyAll, EndpointKey(q.Endpoint)}
}
