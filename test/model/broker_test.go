package model

import (
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// message is a copy of a task's message in a queue.
type message struct {
	arrival ledger.Incoming // with State unset
	forged  bool            // nobody of ours has published it
}

// queue is one endpoint's.
type queue struct {
	bound    bool
	messages []message
}

// publish puts copies of a task's message into the queues, as the broker does
// or does not: a copy may come twice, or be lost with the connections of those
// who consume, who then look into the database. It gives the listed endpoints
// without a queue.
func (w *world) publish(c chance, task tasker.Task) (unserved []string) {
	for _, name := range endpoints {
		q := w.queues[name]
		if !task.Addressed(name) {
			continue
		}
		if !q.bound {
			if task.Endpoints != nil {
				unserved = append(unserved, name)
			}
			continue
		}
		switch c(8, "copies to "+name) {
		case 6:
			w.put(name, task)
			w.put(name, task)
		case 7:
			w.resubscribe(name)
		default:
			w.put(name, task)
		}
	}
	return unserved
}

func (w *world) put(endpoint string, task tasker.Task) {
	q := w.queues[endpoint]
	q.messages = append(q.messages, message{arrival: ledger.Incoming{
		ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint},
		Identifier: task.Identifier, Type: task.Type,
	}})
}

// resubscribe breaks the connections of an endpoint's managers, which will
// look for what they missed.
func (w *world) resubscribe(endpoint string) {
	for _, m := range w.managers {
		if slices.Contains(m.endpoints, endpoint) {
			m.subscribed[endpoint] = false
		}
	}
}

// stepBroker lets the broker do something by itself.
func (w *world) stepBroker(c chance) {
	switch name := pick(c, endpoints, "queue"); c(7, "broker") {
	case 0: // the order changes
		slices.Reverse(w.queues[name].messages)
	case 1: // a message comes twice
		if q := w.queues[name]; len(q.messages) > 0 {
			q.messages = append(q.messages, q.messages[0])
		}
	case 2: // a queue is lost
		w.logf("queue %s is lost", name)
		*w.queues[name] = queue{}
		w.resubscribe(name)
	case 3: // all are, with the broker's disk
		w.logf("all queues are lost")
		for _, name := range endpoints {
			*w.queues[name] = queue{}
			w.resubscribe(name)
		}
	default: // somebody writes into the queue
		if q := w.queues[name]; q.bound {
			q.messages = append(q.messages, w.forge(c, name))
		}
	}
}

// forge makes a message that names no task as it is, or one that is not for
// the endpoint.
func (w *world) forge(c chance, endpoint string) message {
	a := ledger.Incoming{ResultKey: tasker.ResultKey{TaskID: 1 << 40, Endpoint: endpoint}, Identifier: "t0", Type: taskType}
	if len(w.identifiers) > 0 {
		task := w.anyTask(c)
		a.TaskID, a.Identifier = task.ID, task.Identifier
		switch {
		case !task.Addressed(endpoint):
		case c(2, "forged") == 0:
			a.Type = otherType
		default:
			a.Identifier += "x"
		}
	}
	return message{arrival: a, forged: true}
}
