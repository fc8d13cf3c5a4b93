package rabbit

import (
	"time"

	"github.com/taskerhq/tasker/internal/x/certfile"
)

// Defaults of [Config].
const (
	DefaultMaxBody      = 16 << 20 // bytes
	DefaultQueueExpires = 7 * 24 * time.Hour
	DefaultHeartbeat    = 10 * time.Second
)

// Config is the configuration of the connections to RabbitMQ and of its queues.
type Config struct {
	// URIs are the amqp:// or amqps:// addresses of the nodes. Each Broker
	// tries them in a random order, so that a fleet spreads over the nodes of a
	// cluster.
	URIs []string
	// TLS are the files for amqps:// addresses, as far as their parameters (cacertfile,
	// certfile, keyfile, server_name_indication) name no others.
	TLS certfile.ClientFiles
	// InOrder tries the URIs in the given order instead.
	InOrder bool
	// QueueType is "classic" (one node) or "quorum" (a cluster); empty means
	// classic.
	QueueType string
	// Persistent makes messages that may be transient persistent, too. Quorum
	// queues keep every message.
	Persistent bool
	// QueueExpires is how long an endpoint's queue, with its messages, is kept
	// without a consumer; 0 means DefaultQueueExpires.
	QueueExpires time.Duration
	// Heartbeat is the AMQP heartbeat; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// CheckTopology is the mean time after which the queue, exchange and
	// bindings of a running consumer are declared again, in case somebody
	// deleted them; 0 means 5 min.
	CheckTopology time.Duration
	// ConfirmTimeout is how long a publishing connection may confirm nothing
	// while messages wait, before the next node is tried; 0 means 10 s.
	ConfirmTimeout time.Duration
	// AnswerTimeout is how long a consuming connection may leave a declaration
	// unanswered before it is replaced; 0 means 30 s.
	AnswerTimeout time.Duration
	// MaxBody is the size in bytes of the largest message that is delivered
	// from a queue of a task type: larger ones become dead letters; 0 means 16
	// MiB.
	MaxBody int
	// ConnectionName is the name shown by RabbitMQ's management, such as
	// "tasker api".
	ConnectionName string
}
