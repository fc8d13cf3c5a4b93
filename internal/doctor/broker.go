package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
)

const groupBroker = "broker"

// Node is one configured address of RabbitMQ, over AMQP.
type Node interface {
	// Address returns the address without the password.
	Address() string
	Connect(ctx context.Context) (version string, err error)
	Exchange(ctx context.Context, name string) (exists bool, err error)
	Queue(ctx context.Context, name string) (messages, consumers int, exists bool, err error)
}

// queue is a queue as AMQP shows it.
type queue struct {
	exists              bool
	messages, consumers int
}

const adviceInitialize = "tasker initialize --rabbitmq declares it, and the managers bind their queues to it within minutes"

const adviceDead = "tasker initialize --rabbitmq declares it"

func (e *examination) checkBroker(ctx context.Context) {
	if e.OwnBroker {
		e.skip(groupBroker, "all", "the broker is in the process of tasker dev")
		return
	}
	e.checkNodes(ctx)
	if e.facts.node == nil {
		e.skip(groupBroker, "exchanges, queues", "RabbitMQ cannot be reached")
	} else {
		e.check(ctx, groupBroker, "exchanges", e.exchanges)
		e.check(ctx, groupBroker, "dead letters", e.deadLetters)
		if e.facts.known {
			e.check(ctx, groupBroker, "queues", e.readQueues)
		} else {
			e.skip(groupBroker, "queues", "the expected ones are in the database")
		}
	}
	e.checkManagement(ctx)
}

// checkNodes connects to each address. tasker needs only one.
func (e *examination) checkNodes(ctx context.Context) {
	var bad []int // places in the report
	for _, node := range e.Nodes {
		e.check(ctx, groupBroker, "connection", func(ctx context.Context) []Finding {
			version, err := node.Connect(ctx)
			if err == nil {
				if e.facts.node == nil {
					e.facts.node = node
				}
				return okay("RabbitMQ %s answers at %s", version, node.Address())
			}
			advice := "check that it runs, and that this machine can reach it"
			if tasker.CodeOf(err) == tasker.Unauthorized {
				advice = "check user, password and virtual host in manager.message_queue; tasker initialize --rabbitmq creates them"
			}
			bad = append(bad, len(e.report.Checks))
			return failed(ctx, err, unlessRefused(err, advice))
		})
	}
	if e.facts.node == nil {
		return
	}
	for _, i := range bad { // tasker uses the others
		e.report.Checks[i].Level = Warning
	}
}

// exchanges checks those of the task types, and that of the events.
func (e *examination) exchanges(ctx context.Context) []Finding {
	var missing []string
	for _, taskType := range e.Settings.TaskTypes {
		name := broker.ExchangeName(taskType)
		exists, err := e.facts.node.Exchange(ctx, name)
		if err != nil {
			return failed(ctx, err, "")
		}
		if !exists {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return one(Problem, adviceInitialize, "%s missing: %s", count(len(missing), "exchange"), some(missing))
	}
	events, err := e.facts.node.Exchange(ctx, broker.EventsExchange)
	if err != nil {
		return failed(ctx, err, "")
	}
	if !events {
		return one(Note, "", "exchange %s does not exist yet: the first API or manager declares it", broker.EventsExchange)
	}
	return okay("%s of task types, and %s", count(len(e.Settings.TaskTypes), "exchange"), broker.EventsExchange)
}

// deadLetters checks where rejected messages go.
func (e *examination) deadLetters(ctx context.Context) []Finding {
	exchange, err := e.facts.node.Exchange(ctx, broker.DeadExchange)
	if err != nil {
		return failed(ctx, err, "")
	}
	messages, _, queue, err := e.facts.node.Queue(ctx, broker.DeadQueue)
	switch {
	case err != nil:
		return failed(ctx, err, "")
	case !exchange:
		return one(Problem, adviceDead, "exchange %s is missing: rejected messages are dropped", broker.DeadExchange)
	case !queue:
		return one(Problem, adviceDead, "queue %s is missing: rejected messages are dropped", broker.DeadQueue)
	case messages > 0:
		return one(Warning, "each has its reason in the header "+broker.HeaderReason,
			"%s in queue %s", count(messages, "message"), broker.DeadQueue)
	}
	return okay("the exchange and the queue %s exist, and no message waits", broker.DeadQueue)
}

// readQueues reads depth and consumers of all queues of endpoints; endpointQueues
// judges them.
func (e *examination) readQueues(ctx context.Context) []Finding {
	looked := map[string]queue{}
	messages := 0
	for _, s := range e.facts.endpoints {
		for _, taskType := range s.TaskTypes {
			name := broker.Queue{TaskType: taskType, Endpoint: s.Name}.Name()
			var q queue
			var err error
			if q.messages, q.consumers, q.exists, err = e.facts.node.Queue(ctx, name); err != nil {
				if len(looked) > 0 && ctx.Err() != nil {
					e.facts.queues = looked
					return one(Note, "", "%s checked within the time limit; the others were not", count(len(looked), "queue"))
				}
				return failed(ctx, err, "")
			}
			looked[name] = q
			messages += q.messages
		}
	}
	e.facts.queues = looked
	deepest := slices.MaxFunc(append(slices.Collect(maps.Keys(looked)), ""), func(a, b string) int {
		return looked[a].messages - looked[b].messages
	})
	if messages == 0 {
		return okay("no message waits in the queues of the endpoints")
	}
	level := OK
	var without []string
	for _, name := range slices.Sorted(maps.Keys(looked)) {
		if q := looked[name]; q.messages > 0 && q.consumers == 0 {
			without = append(without, fmt.Sprintf("%s (%d)", name, q.messages))
		}
	}
	tail := ""
	if len(without) > 0 {
		level, tail = Note, "; no consumer for "+some(without)
	}
	return one(level, "", "%s in the queues of the endpoints, most of them in %s (%d)%s",
		count(messages, "message"), deepest, looked[deepest].messages, tail)
}

// topology compares the virtual host, as the management API shows it, with the
// configuration.
func (e *examination) topology(ctx context.Context) []Finding {
	declared, err := e.Management.Queues(ctx, e.VirtualHost)
	if err != nil {
		return failed(ctx, err, "")
	}
	exchanges, err := e.Management.Exchanges(ctx, e.VirtualHost)
	if err != nil {
		return failed(ctx, err, "")
	}
	var wrong []string
	kinds := map[string]string{broker.DeadExchange: "fanout", broker.EventsExchange: "topic"}
	for _, taskType := range e.Settings.TaskTypes {
		kinds[broker.ExchangeName(taskType)] = "direct"
	}
	for _, x := range exchanges {
		if kind, ours := kinds[x.Name]; ours && (x.Type != kind || !x.Durable) {
			wrong = append(wrong, fmt.Sprintf("exchange %s is %s, but must be %s and durable", x.Name, x.Type, kind))
		}
	}
	expected := expectedQueues(e.Settings, e.facts.endpoints)
	var stray []string
	for _, q := range declared {
		arguments, ours := expected[q.Name]
		if !ours {
			if strings.HasPrefix(q.Name, "tasker.") && !strings.HasSuffix(q.Name, "."+broker.KeyAny) && e.facts.known {
				stray = append(stray, q.Name)
			}
			continue
		}
		wrong = append(wrong, differences(q, arguments)...)
	}
	var found []Finding
	if len(wrong) > 0 {
		found = one(Problem, "change the configuration (queue_type, expires), or delete it: its manager declares it again and catches up "+
			"from the database",
			"%s from the configuration: %s", count(len(wrong), "difference"), strings.Join(wrong[:min(len(wrong), mostNames)], "; "))
	}
	if len(stray) > 0 {
		found = append(found, one(Note, "delete them unless something of yours uses them",
			"%s of no registered endpoint: %s", count(len(stray), "queue"), some(stray))...)
	}
	if found == nil {
		return okay("exchanges and queues match the configuration")
	}
	return found
}

// expectedQueues returns tasker's queues with their arguments.
func expectedQueues(settings Settings, endpoints []seen) map[string]map[string]any {
	expected := map[string]map[string]any{broker.DeadQueue: settings.DeadArguments}
	for _, s := range endpoints {
		for _, taskType := range s.TaskTypes {
			expected[broker.Queue{TaskType: taskType, Endpoint: s.Name}.Name()] = settings.QueueArguments
		}
	}
	return expected
}
