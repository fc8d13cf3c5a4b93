// Package broker says what tasker needs of a message broker. Two drivers give
// it: rabbit (RabbitMQ, production) and local (in this process, for the
// embedded default); brokertest holds both to the same contract.
//
// The topology is that of docs/protocol.md: an exchange for each task type, a
// durable queue for each endpoint and type, a fanout exchange and queue for
// dead letters, and a topic exchange for transient events.
package broker

import (
	"context"
	"errors"
	"time"
)

// ErrNotConnected is why a broker is not ready, and what a publish ends with
// (wrapped) when its context ends before the broker could be reached.
var ErrNotConnected = errors.New("the message broker is not connected")

// ErrBlocked is why a broker that is connected is not ready: it takes no
// messages for now, as RabbitMQ does when memory or disk run low.
var ErrBlocked = errors.New("the message broker takes no messages for now")

// ErrClosed is what calls end with (wrapped) when the broker was closed.
var ErrClosed = errors.New("the message broker is closed")

// ErrInUse is why a queue is not deleted: somebody consumes from it.
var ErrInUse = errors.New("the queue has a consumer")

// ErrRefused is what a publish ends with (wrapped) when the broker refused
// this very message: it is larger than the broker takes, say, or the user may
// not write to its exchange. To publish it again at once changes nothing.
var ErrRefused = errors.New("the message broker refused the message")

// ErrUnconfirmed is what a publish with [Publication.Once] ends with (wrapped)
// when the connection was lost after the message was written: the broker may
// or may not have taken it.
var ErrUnconfirmed = errors.New("the connection was lost before the message broker confirmed the message")

// Target says which queues of a task type a message is for.
type Target struct {
	endpoints []string
	any       bool
}

// ToAll is every endpoint of the type.
func ToAll() Target { return Target{} }

// ToAny is exactly one endpoint of the type, whichever takes it first.
func ToAny() Target { return Target{any: true} }

// To is the endpoints named, each with a message of its own.
func To(endpoints ...string) Target { return Target{endpoints: endpoints} }

// Endpoints gives the endpoints named, nil for ToAll and ToAny.
func (t Target) Endpoints() []string { return t.endpoints }

// Any tells whether t is ToAny.
func (t Target) Any() bool { return t.any }

// Publication is one message to the exchange of a task type.
type Publication struct {
	TaskType string
	Target   Target
	// MessageID names the message; a message published again keeps its id.
	MessageID string
	Body      []byte
	// Once is for a caller that tries again by itself, at a time of its own
	// choice. A broker that is not ready is not waited for, which ends the publish
	// with ErrNotConnected or ErrBlocked; what was written is not written again when its
	// connection is lost, which ends it with ErrUnconfirmed. The connection's
	// end aside, such a publish lasts until it is confirmed or refused.
	Once bool
	// Apart is for a message that was refused before: it is published beside
	// the others, so that another refusal does not concern them.
	Apart bool
}

// Receipt says what became of a confirmed publication.
type Receipt struct {
	// Unserved are the endpoints named in the target that have no queue.
	Unserved []string
	// Unrouted tells, of ToAll and ToAny, that no queue took the message.
	Unrouted bool
}

// Queue names a durable queue: the one of an endpoint for a task type or,
// with an empty Endpoint, the one that all endpoints of the type share.
type Queue struct {
	TaskType string
	Endpoint string
}

// Delivery is one message taken from a queue, in the queue's order. It stays
// the queue's until it is settled by Ack, DeadLetter or Requeue: if the consumer or the
// connection ends first, the message is delivered again, to whoever consumes
// then. Settle it once, from any goroutine, and soon: a broker may close the
// channel of a delivery that is held for long (RabbitMQ: 30 minutes).
type Delivery interface {
	Body() []byte
	MessageID() string
	// Redelivered tells that the message may have been delivered before.
	Redelivered() bool
	// Ack removes the message from the queue. An error means that the
	// connection it came by is gone and that it will be delivered again.
	Ack() error
	// DeadLetter moves the message, as it is, to the dead letters, together
	// with the reason and the queue it came from. On an error the message is
	// not settled and will be delivered again.
	DeadLetter(ctx context.Context, reason string) error
	// Requeue gives the message back to its queue, at its old place: it is
	// delivered again, at once. An error means what Ack's means.
	Requeue() error
}

// Subscription says what to consume and how.
type Subscription struct {
	Queue Queue
	// Prefetch bounds the deliveries that are not settled; 0 means 64.
	Prefetch int
	// Deliver is called for each delivery, one at a time, in order. It must
	// not block for long.
	Deliver func(Delivery)
	// Ready, if set, is called with true when the consumer is registered (the
	// queue exists and is bound, and deliveries flow), and with false when
	// that ends. Calls alternate, beginning with true.
	Ready func(bool)
}

// DeadLetter is a message that a consumer gave up, or the broker itself.
type DeadLetter struct {
	// ID tells the letter from all others: two messages that are equal in
	// everything else are two letters.
	ID   string
	Body []byte
	// MessageID is the message's own; empty where it had none.
	MessageID string
	// Queue is the name of the queue that it came from, and Reason says why:
	// what Delivery.DeadLetter was told, or the broker's own word (expired,
	// maxlen, rejected, delivery_limit). Both are empty for what somebody
	// published to the dead letters directly.
	Queue, Reason string
	// Time is when it became a dead letter, in seconds; zero where nobody said.
	Time time.Time
	// Redelivered tells that it may have been handled before.
	Redelivered bool
}

// Broker is what tasker needs of a message broker. All methods are safe for
// concurrent use.
type Broker interface {
	// Publish sends a persistent message and waits until the broker has
	// confirmed it, for every queue it goes to. While the broker is away it
	// waits for it, until ctx ends. An error means that the message may or may
	// not have been taken: publish it again with the same MessageID. A message
	// that the broker refuses ends with ErrRefused and does not disturb others.
	// A message that no queue takes is no error, the receipt says so.
	Publish(ctx context.Context, p Publication) (Receipt, error)
	// Consume declares and binds the queue of a subscription and delivers from
	// it until ctx ends; then it returns nil, and what is not settled goes
	// back to the queue. It survives losses of the connection, the channel and
	// the queue: it declares and subscribes again, forever, and logs why.
	Consume(ctx context.Context, s Subscription) error
	// ConsumeDeadLetters calls handle for each dead letter, one at a time, until
	// ctx ends; then it returns nil. A letter is gone once handle has returned
	// nil for it; on an error it comes again, after a pause and behind the
	// others. It also comes again, with the same ID, when the process or the
	// connection ends before that is settled: handle must recognize it. Several
	// may consume at once, and share the letters. It survives losses like
	// Consume.
	ConsumeDeadLetters(ctx context.Context, handle func(context.Context, DeadLetter) error) error
	// Notify sends a transient event with a topic routing key, such as
	// "results.worker". It is best effort: it does not wait for the broker,
	// and events may be lost. Nothing may depend on one for correctness.
	Notify(ctx context.Context, key string, body []byte) error
	// Listen calls handle for each event whose key matches the topic pattern
	// (RabbitMQ's: "*" is one word, "#" any number), from now until ctx ends;
	// then it returns nil. It survives losses of the connection; events of
	// that time are lost.
	Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error
	// DeleteQueue deletes a queue with the messages in it. A queue that does not
	// exist is no error; one that somebody consumes from stays, and the error
	// wraps ErrInUse. A consumer that subscribes at the same moment may lose the
	// queue, and declares it again as after any other loss.
	DeleteQueue(ctx context.Context, q Queue) error
	// Declare makes the exchanges of the task types, and the dead letters,
	// exist. Publish and Consume declare what they need by themselves.
	Declare(ctx context.Context, taskTypes ...string) error
	// Ready tells whether a publish could be sent now: nil, or an error that
	// says why not, which wraps ErrNotConnected where that is the reason.
	Ready() error
	// MaxBody returns the size of a message's body, in bytes, above which the
	// broker is known to refuse it; 0 where none is known.
	MaxBody() int
	// Close ends the connections. Publish and Consume end with errors.
	Close() error
}
