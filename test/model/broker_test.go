package model

import (
	"slices"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// message is a copy of a task's message in a queue.
type message struct {
	incoming ledger.Incoming // with State unset
	forged   bool            // not published by an API
}

// queue is an endpoint's queue.
type queue struct {
	bound    bool
	messages []message
}

// publish may put copies of a task's message into the queues, like a broker: a
// copy may arrive twice, or be lost with the consumers' connections, who then
// look into the database. It returns the listed endpoints without a queue.
func (w *world) publish(c chance, task tasker.Task) (unserved []string) {
	if task.Deliver > 0 {
		return nil // its message says only that there is something to take
	}
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
	q.messages = append(q.messages, message{incoming: ledger.Incoming{
		ResultKey:  tasker.ResultKey{TaskID: task.ID, Endpoint: endpoint},
		Identifier: task.Identifier, Type: task.Type,
	}})
}

// resubscribe breaks the connections of an endpoint's managers, which then look
// for missed tasks.
func (w *world) resubscribe(endpoint string) {
	for _, m := range w.managers {
		if slices.Contains(m.endpoints, endpoint) {
			m.subscribed[endpoint] = false
		}
	}
}

// stepBroker lets something happen in the broker.
func (w *world) stepBroker(c chance) {
	switch name := pick(c, endpoints, "queue"); c(7, "broker") {
	case 0: // messages are reordered
		slices.Reverse(w.queues[name].messages)
	case 1: // a message is duplicated
		if q := w.queues[name]; len(q.messages) > 0 {
			q.messages = append(q.messages, q.messages[0])
		}
	case 2: // a queue is lost
		w.logf("queue %s is lost", name)
		*w.queues[name] = queue{}
		w.resubscribe(name)
	case 3: // the broker's disk is lost
		w.logf("all queues are lost")
		for _, name := range endpoints {
			*w.queues[name] = queue{}
			w.resubscribe(name)
		}
	default: // a foreign client publishes
		if q := w.queues[name]; q.bound {
			q.messages = append(q.messages, w.forge(c, name))
		}
	}
}

// forge returns a message that does not match a stored task, or is not
// addressed to the endpoint.
func (w *world) forge(c chance, endpoint string) message {
	a := ledger.Incoming{ResultKey: tasker.ResultKey{TaskID: 1 << 40, Endpoint: endpoint}, Identifier: "t0", Type: taskType}
	if len(w.identifiers) > 0 {
		task := w.anyTask(c)
		a.TaskID, a.Identifier = task.ID, task.Identifier
		switch {
		case !task.Addressed(endpoint):
		case (task.Deliver > 0 || task.Rollout != nil) && c(2, "too early") == 0:
			return message{incoming: a} // by then it may have a place, or its wave may be open
		case c(2, "forged") == 0:
			a.Type = otherType
		default:
			a.Identifier += "x"
		}
	}
	return message{incoming: a, forged: true}
}
