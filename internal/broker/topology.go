package broker

import (
	"strings"

	"github.com/taskerhq/tasker"
)

// The names of the topology, as in docs/protocol.md.
const (
	DeadExchange   = "tasker.dead"   // fanout
	DeadQueue      = "tasker.dead"   // durable, bound to DeadExchange
	EventsExchange = "tasker.events" // topic, transient messages
	// ControlExchange is a topic exchange, too, bound to an exclusive queue of each
	// manager with KeyAll and the key of each of its endpoints.
	ControlExchange = "tasker.control"
	KeyAll          = "all" // to every endpoint of a type; to all managers
	KeyAny          = "any" // to the queue that they share
)

// The headers of a dead letter.
const (
	HeaderReason = "x-tasker-reason" // why, for people
	HeaderQueue  = "x-tasker-queue"  // the queue it came from
	HeaderID     = "x-tasker-id"     // identifies the dead letter
)

// ExchangeName returns the name of the direct exchange of a task type.
func ExchangeName(taskType string) string { return "tasker." + taskType }

// EndpointKey returns the routing key to one endpoint.
func EndpointKey(endpoint string) string { return "endpoint." + endpoint }

// Name returns the queue's name at the broker.
func (q Queue) Name() string {
	if q.Endpoint == "" {
		return ExchangeName(q.TaskType) + "." + KeyAny
	}
	return ExchangeName(q.TaskType) + "." + q.Endpoint
}

// ParseQueueName returns the queue with a name made by [Queue.Name]; ok is
// false for any other name. Task types have no dot, so it is unambiguous.
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

// Keys returns the routing keys that bind the queue to its exchange.
func (q Queue) Keys() []string {
	if q.Endpoint == "" {
		return []string{KeyAny}
	}
	return []string{KeyAll, EndpointKey(q.Endpoint)}
}

// ControlKeys returns the routing keys to the managers of endpoints, or to all
// managers if there are none. Names may have dots, and patterns are not used.
func ControlKeys(endpoints []string) []string {
	if len(endpoints) == 0 {
		return []string{KeyAll}
	}
	keys := make([]string, len(endpoints))
	for i, name := range endpoints {
		keys[i] = EndpointKey(name)
	}
	return keys
}
