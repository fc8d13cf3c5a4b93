package rabbit

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskerhq/tasker/internal/broker"
)

// object is a part of the topology that a publish or a consumer needs. Its key
// identifies it among those declared in a session, and in the log.
type object struct {
	key     string
	declare func(*amqp.Channel) error
}

// typeExchange returns the exchange of a task type.
func typeExchange(taskType string) object {
	name := broker.ExchangeName(taskType)
	return object{key: "exchange " + name, declare: func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(name, amqp.ExchangeDirect, true, false, false, false, nil)
	}}
}

// deadLetters returns the exchange of the dead letters and their queue.
func (cfg Config) deadLetters() object {
	return object{key: "dead letters", declare: func(ch *amqp.Channel) error {
		return cfg.declareDeadLetters(ch, false)
	}}
}

// deadLettersBinding returns the exchange of the dead letters and what binds their
// queue. It does not create the queue.
func deadLettersBinding() object {
	return object{key: "dead letters", declare: func(ch *amqp.Channel) error {
		if err := declareDeadExchange(ch, false); err != nil {
			return err
		}
		return ch.QueueBind(broker.DeadQueue, "", broker.DeadExchange, false, nil)
	}}
}

func declareDeadExchange(ch *amqp.Channel, noWait bool) error {
	return ch.ExchangeDeclare(broker.DeadExchange, amqp.ExchangeFanout, true, false, false, noWait, nil)
}

func (cfg Config) declareDeadLetters(ch *amqp.Channel, noWait bool) error {
	if err := declareDeadExchange(ch, noWait); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(broker.DeadQueue, true, false, false, noWait, cfg.queueArgs()); err != nil {
		return err
	}
	return ch.QueueBind(broker.DeadQueue, "", broker.DeadExchange, noWait, nil)
}

// deliveryLimit is far more than a message is ever redelivered. From RabbitMQ
// 4.0 on, a quorum queue drops a message after 20 redeliveries, and every lost
// connection is one; in the queue of the dead letters, so is each look at them.
// "No limit" would be -1, which earlier versions refuse.
const deliveryLimit = 1_000_000

// queueArgs returns the arguments of every durable queue.
func (cfg Config) queueArgs() amqp.Table {
	args := amqp.Table{amqp.QueueTypeArg: cfg.QueueType}
	if cfg.QueueType == amqp.QueueTypeQuorum {
		args["x-delivery-limit"] = int64(deliveryLimit)
	}
	return args
}

// maxShared bounds the messages in the shared queue of a task type: the oldest are dropped,
// and do not become dead letters. Endpoints whose slots are never free do not consume it, and
// one that has a free slot looks in the database first.
const maxShared = 1000

// argsOf returns the arguments of the queue of a task type.
func (cfg Config) argsOf(q broker.Queue) amqp.Table {
	args := cfg.queueArgs()
	if q.Endpoint == "" { // the shared queue belongs to no endpoint, and stays
		args[amqp.QueueMaxLenArg] = int64(maxShared)
		return args
	}
	args["x-dead-letter-exchange"] = broker.DeadExchange
	args[amqp.QueueTTLArg] = cfg.QueueExpires.Milliseconds()
	return args
}

// bindings returns what a durable queue of a task type needs besides itself: the
// exchanges, and what binds it. It creates no queue, not even that of the dead letters,
// which another process consumes from.
func bindings(q broker.Queue) object {
	return object{key: "queue " + q.Name(), declare: func(ch *amqp.Channel) error {
		if err := declareDeadExchange(ch, true); err != nil {
			return err
		}
		if err := declareTypeExchange(ch, q); err != nil {
			return err
		}
		return bind(ch, q)
	}}
}

// queue returns a durable queue of a task type, with its exchanges and bindings.
func (cfg Config) queue(q broker.Queue) object {
	return object{key: "queue " + q.Name(), declare: func(ch *amqp.Channel) error { return cfg.declareQueue(ch, q) }}
}

// declareQueue waits for the broker for the queue and its bindings. If an earlier,
// asynchronous declaration is refused, the channel is closed, and one of these
// calls fails.
func (cfg Config) declareQueue(ch *amqp.Channel, q broker.Queue) error {
	if err := cfg.declareDeadLetters(ch, true); err != nil {
		return err
	}
	if err := declareTypeExchange(ch, q); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(q.Name(), true, false, false, false, cfg.argsOf(q)); err != nil {
		return err
	}
	return bind(ch, q)
}

// declareTypeExchange does not wait for the broker.
func declareTypeExchange(ch *amqp.Channel, q broker.Queue) error {
	return ch.ExchangeDeclare(broker.ExchangeName(q.TaskType), amqp.ExchangeDirect, true, false, false, true, nil)
}

func bind(ch *amqp.Channel, q broker.Queue) error {
	for _, key := range q.Keys() {
		if err := ch.QueueBind(q.Name(), key, broker.ExchangeName(q.TaskType), false, nil); err != nil {
			return err
		}
	}
	return nil
}

// declareTopic declares the exchange of transient events, or that of hints.
func declareTopic(ch *amqp.Channel, exchange string) error {
	return ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil)
}

// topicBinding returns the bindings of a listener's queue, with their exchange.
func topicBinding(queue, exchange string, patterns []string) object {
	return object{key: exchange + " " + strings.Join(patterns, " "), declare: func(ch *amqp.Channel) error {
		if err := declareTopic(ch, exchange); err != nil {
			return err
		}
		for _, pattern := range patterns {
			if err := ch.QueueBind(queue, pattern, exchange, false, nil); err != nil {
				return err
			}
		}
		return nil
	}}
}

// refused reports whether the broker refused a request over a connection that
// works: trying again at once would not help.
func refused(err error) bool {
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server {
		return false
	}
	switch e.Code {
	case amqp.PreconditionFailed, amqp.AccessRefused, amqp.NotFound, amqp.ResourceLocked, amqp.NotAllowed, amqp.ResourceError:
		return true
	}
	return false
}

// refusal returns the outcome of a message that RabbitMQ refused.
func refusal(err error) error { return fmt.Errorf("%w: %w", broker.ErrRefused, explain(err)) }

// sizeLimit matches RabbitMQ's text for a message that is too large.
var sizeLimit = regexp.MustCompile(`message size \d+ is larger than (?:configured )?max size (\d+)`)

// limitOf returns the size limit in a refusal; 0 if there is none.
func limitOf(err error) int {
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.PreconditionFailed {
		return 0
	}
	if m := sizeLimit.FindStringSubmatch(e.Reason); m != nil {
		limit, _ := strconv.Atoi(m[1]) // 0 if it is not a number
		return limit
	}
	return 0
}

// explain adds to a refusal what an administrator can do.
func explain(err error) error {
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server {
		return err
	}
	switch {
	case e.Code == amqp.PreconditionFailed && strings.Contains(e.Reason, "inequivalent arg"):
		return fmt.Errorf("%w (it exists with settings other than the configured ones: "+
			"configure the old ones, or delete it with its messages, and it is created again)", err)
	case limitOf(err) > 0:
		return fmt.Errorf("%w (the setting max_message_size of RabbitMQ)", err)
	case e.Code == amqp.AccessRefused:
		return fmt.Errorf(`%w (the user needs permission to configure, write and read "^tasker\..*")`, err)
	}
	return err
}
