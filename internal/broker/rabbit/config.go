package rabbit

import "time"

// Defaults of [Config].
const (
	DefaultMaxBody      = 16 << 20 // bytes
	DefaultQueueExpires = 7 * 24 * time.Hour
	DefaultHeartbeat    = 10 * time.Second
)

// Config says how to reach RabbitMQ and what form its queues have.
type Config struct {
	// URIs are amqp:// or amqps:// addresses of the nodes, tried in turn, in an
	// order that each Broker draws by lot: so a fleet spreads over the nodes of
	// a cluster.
	URIs []string
	// InOrder tries the URIs in the order given instead.
	InOrder bool
	// QueueType is "classic" (one node) or "quorum" (a cluster); empty means
	// classic.
	QueueType string
	// QueueExpires removes an endpoint's queue, with what it holds, after it
	// went without a consumer for so long; 0 means DefaultQueueExpires.
	QueueExpires time.Duration
	// Heartbeat is the AMQP heartbeat; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// CheckTopology is the mean time after which a running consumer's queue,
	// exchange and bindings are declared again, in case somebody deleted them;
	// 0 means 60 s.
	CheckTopology time.Duration
	// ConfirmTimeout is for how long a publishing connection may confirm nothing
	// while messages wait for it, before the next node is tried; 0 means 10 s.
	ConfirmTimeout time.Duration
	// AnswerTimeout is for how long a consuming connection may leave a
	// declaration without an answer before another one takes its place; 0
	// means 30 s.
	AnswerTimeout time.Duration
	// MaxBody is the size of a message from a queue of a task type, in bytes,
	// above which it becomes a dead letter without being delivered; 0 means 16
	// MiB.
	MaxBody int
	// ConnectionName is what RabbitMQ's management shows, such as "tasker api".
	ConnectionName string
}
