// Package broker defines the message broker that tasker needs. There are two
// drivers: rabbit (RabbitMQ, for production) and local (in this process, for
// the embedded default). The suite in brokertest tests both against the same
// contract.
//
// docs/protocol.md describes the topology: an exchange for each task type, a
// durable queue for each endpoint and type, a fanout exchange and a queue for
// dead letters, a topic exchange for transient events, and another one for hints to
// managers.
package broker

import (
	"context"
	"errors"
	"time"
)

// ErrNotConnected is why a broker is not ready. A publish returns it, wrapped,
// if its context ends before the broker could be reached.
var ErrNotConnected = errors.New("message broker not connected")

// ErrBlocked is why a connected broker is not ready: it accepts no messages for
// now, like RabbitMQ when memory or disk run low.
var ErrBlocked = errors.New("message broker accepts no messages for now")

// ErrClosed is returned, wrapped, by calls on a closed broker.
var ErrClosed = errors.New("message broker closed")

// ErrInUse is why a queue is not deleted: it has a consumer.
var ErrInUse = errors.New("queue has a consumer")

// ErrRefused is returned, wrapped, if the broker refused this very message: it
// is too large, for example, or the user may not write to its exchange.
// Publishing it again at once does not help.
var ErrRefused = errors.New("message broker refused the message")

// ErrUnconfirmed is returned, wrapped, by a publish with [Publication.Once] if
// the connection was lost after the message was written: the broker may have
// taken it or not.
var ErrUnconfirmed = errors.New("connection lost before the message broker confirmed the message")

// Target is which queues of a task type a message is for.
type Target struct {
	endpoints []string
	any       bool
}

// ToAll targets every endpoint of the type.
func ToAll() Target { return Target{} }

// ToAny targets one endpoint of the type, whichever takes the message first.
func ToAny() Target { return Target{any: true} }

// To targets the named endpoints, each with a message of its own.
func To(endpoints ...string) Target { return Target{endpoints: endpoints} }

// Endpoints returns the named endpoints, nil for ToAll and ToAny.
func (t Target) Endpoints() []string { return t.endpoints }

// Any reports whether t is ToAny.
func (t Target) Any() bool { return t.any }

// Publication is one message to the exchange of a task type.
type Publication struct {
	TaskType string
	Target   Target
	// MessageID identifies the message; when it is published again, it keeps
	// its id.
	MessageID string
	Body      []byte
	// Once is for a caller that retries at times of its own choice. The publish
	// does not wait for a broker that is not ready, but returns ErrNotConnected
	// or ErrBlocked. If the connection is lost after the message was written,
	// it is not written again, and the publish returns ErrUnconfirmed.
	// Otherwise it waits until the message is confirmed or refused.
	Once bool
	// Transient is for a message that the broker may lose when it restarts,
	// since what it says is stored elsewhere.
	Transient bool
	// Copies is how many queues the message should reach; 0 if that is unknown.
	// The more there are, the longer a confirm may take.
	Copies int
	// Apart is for a message that was refused before: it is published
	// separately, so that another refusal does not affect others.
	Apart bool
}

// Receipt describes a confirmed publication.
type Receipt struct {
	// Unserved are the named endpoints that have no queue.
	Unserved []string
	// Unrouted is true if no queue took the message, for ToAll and ToAny.
	Unrouted bool
}

// Queue identifies a durable queue: that of an endpoint for a task type or, if
// Endpoint is empty, the one that all endpoints of the type share.
type Queue struct {
	TaskType string
	Endpoint string
}

// Delivery is a message from a queue, delivered in the queue's order. It stays
// in the queue until it is settled by Ack, DeadLetter or Requeue: if the
// consumer or the connection ends first, it is delivered again, to whoever
// consumes then. Settle it once, from any goroutine, and soon: a broker may
// close the channel of a delivery that is held for long (RabbitMQ: 30 minutes).
// [AckAll] acknowledges several.
type Delivery interface {
	Body() []byte
	MessageID() string
	// Redelivered reports whether the message may have been delivered before.
	Redelivered() bool
	// Ack removes the message from the queue. An error means that its
	// connection is gone and that it will be delivered again.
	Ack() error
	// DeadLetter moves the message, unchanged, to the dead letters, with a
	// reason and the name of its queue. On an error the message is not settled
	// and will be delivered again.
	DeadLetter(ctx context.Context, reason string) error
	// Requeue returns the message to its place in the queue: it is delivered
	// again, at once. An error means the same as for Ack.
	Requeue() error
}

// Subscription describes what to consume and how.
type Subscription struct {
	Queue Queue
	// Prefetch limits the unsettled deliveries; 0 means 64.
	Prefetch int
	// Deliver is called for each delivery, one at a time, in order. It must
	// not block for long.
	Deliver func(Delivery)
	// Ready, if set, is called with true when the consumer is registered (the
	// queue exists and is bound, and deliveries flow), and with false when that
	// ends. The calls alternate, starting with true.
	Ready func(bool)
}

// DeadLetter is a message that a consumer, or the broker itself, could not use.
type DeadLetter struct {
	// ID identifies the letter: two messages that are otherwise equal are two
	// letters.
	ID   string
	Body []byte
	// MessageID is the id of the message; empty if it had none.
	MessageID string
	// Queue is the name of the queue that the message came from. Reason is the
	// reason passed to Delivery.DeadLetter, or the broker's own word (expired,
	// maxlen, rejected, delivery_limit). Both are empty for messages that were
	// published to the dead letters directly.
	Queue, Reason string
	// Time is when it became a dead letter, in seconds; zero if unknown.
	Time time.Time
	// Redelivered is true if it may have been handled before.
	Redelivered bool
}

// Broker is a message broker. All methods are safe for concurrent use.
type Broker interface {
	Publisher
	Consumer
	Events
	Control
	// Close closes the connections. Publish and Consume return errors.
	Close() error
}

// Publisher publishes messages.
type Publisher interface {
	// Publish sends a message and waits until the broker has confirmed it for
	// every queue. While the broker is down it waits, until
	// ctx ends. After an error the message may have been taken or not: publish
	// it again with the same MessageID. A message refused by the broker ends
	// with ErrRefused and does not affect others. If no queue takes a message,
	// that is no error but in the receipt.
	Publish(ctx context.Context, p Publication) (Receipt, error)
	// Declare declares the exchanges of the task types, and the dead letters.
	// Publish and Consume declare what they need themselves.
	Declare(ctx context.Context, taskTypes ...string) error
	// Ready returns nil if a publish could be sent now, or the reason why not.
	// That wraps ErrNotConnected if the broker is not connected.
	Ready() error
	// MaxBody returns the size in bytes of the largest message body that the
	// broker is known to accept; 0 if unknown.
	MaxBody() int
}

// Consumer consumes from queues, and deletes them.
type Consumer interface {
	// Consume declares and binds the queue of a subscription and delivers from
	// it until ctx ends; then it returns nil, and unsettled messages return to
	// the queue. It survives the loss of the connection, the channel and the
	// queue: it declares and subscribes again, forever, and logs why.
	Consume(ctx context.Context, s Subscription) error
	// ConsumeDeadLetters calls handle for each dead letter, one at a time,
	// until ctx ends; then it returns nil. A letter is removed when handle has
	// returned nil; after an error it comes again, after a pause and behind the
	// others. It also comes again, with the same ID, if the process or the
	// connection ends in between: handle must recognize it. Several consumers
	// share the letters. It survives losses like Consume.
	ConsumeDeadLetters(ctx context.Context, handle func(context.Context, DeadLetter) error) error
	// DeleteQueue deletes a queue with its messages. It returns nil if the
	// queue does not exist, and an error that wraps ErrInUse if it has a
	// consumer. A consumer that subscribes at the same moment may lose the
	// queue, and declares it again as after any other loss.
	DeleteQueue(ctx context.Context, q Queue) error
}

// Events sends and receives transient events.
type Events interface {
	// Notify sends a transient event with a topic routing key, such as
	// "results.worker". It does not wait for the broker, and events may be
	// lost: correctness must not depend on them.
	Notify(ctx context.Context, key string, body []byte) error
	// Listen calls handle for each event whose key matches the topic pattern
	// (RabbitMQ's: "*" is one word, "#" any number), until ctx ends; then it
	// returns nil. It survives the loss of the connection; events sent
	// meanwhile are lost.
	Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error
}

// Control carries hints to managers. Like events they are transient, and may be
// lost: what they are about is in the database.
type Control interface {
	// SendControl sends a hint to the managers of the endpoints, or to all managers
	// if none are named. It does not wait for the broker.
	SendControl(ctx context.Context, endpoints []string, body []byte) error
	// ListenControl calls handle for each hint to one of the endpoints, or to all,
	// until ctx ends; then it returns nil. It survives the loss of the connection;
	// hints sent meanwhile are lost. A hint to several of the endpoints may come
	// several times.
	ListenControl(ctx context.Context, endpoints []string, handle func(body []byte)) error
}
