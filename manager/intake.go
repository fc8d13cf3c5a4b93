package manager

import (
	"context"
	"fmt"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/batch"
)

// arrival is a task that reached one of the executors and is not recorded yet.
type arrival struct {
	executor *executor
	message  wire.Task
	delivery broker.Delivery // nil where it was found in the database
	// recorded, if set, is closed when the arrival is through.
	recorded chan<- struct{}
}

// consume subscribes to the queue of an executor until ctx ends. ready gets a value each time
// that the consumer is registered.
func (m *Manager) consume(ctx context.Context, e *executor, ready chan<- struct{}) {
	queue := e.queue()
	err := m.broker.Consume(ctx, broker.Subscription{
		Queue:    queue,
		Prefetch: m.cfg.Prefetch,
		Deliver:  func(d broker.Delivery) { m.deliver(ctx, e, d) },
		Ready: func(registered bool) {
			if !registered {
				return
			}
			select {
			case ready <- struct{}{}:
			default: // one is waiting already
			}
		},
	})
	if err != nil && ctx.Err() == nil {
		m.log.ErrorContext(ctx, "consuming ended", "queue", queue.Name(), "err", err)
	}
}

// deliver hands a message on to be recorded. One that cannot be read, or is
// for another type, goes to the dead letters, and the consumer goes on.
func (m *Manager) deliver(ctx context.Context, e *executor, d broker.Delivery) {
	message, err := wire.DecodeTask(d.Body())
	if err == nil && message.Type != e.name {
		err = fmt.Errorf("the message is of task type %s, and came by the queue of %s", message.Type, e.name)
	}
	if err != nil {
		m.deadLetter(ctx, e, d, err.Error())
		return
	}
	select {
	case m.arrivals <- arrival{executor: e, message: message, delivery: d}:
	case <-ctx.Done(): // not settled: the queue keeps it
	}
}

func (m *Manager) deadLetter(ctx context.Context, e *executor, d broker.Delivery, reason string) {
	m.log.WarnContext(ctx, "a message goes to the dead letters", "endpoint", e.endpoint, "queue", e.queue().Name(),
		"message_id", d.MessageID(), "reason", reason)
	m.reaper.bury(d, reason)
}

// record writes what arrives, in batches of what has gathered, until ctx ends.
func (m *Manager) record(ctx context.Context) {
	for {
		arrivals := batch.Gather(ctx, m.arrivals, batchSize)
		if arrivals == nil {
			return
		}
		m.recordBatch(ctx, arrivals)
	}
}

// recordBatch records arrivals, RUNNING where their executor has a free slot,
// and only then acknowledges them and lets them run.
func (m *Manager) recordBatch(ctx context.Context, batch []arrival) {
	records := make([]ledger.Incoming, len(batch))
	slots := make([]*performer, len(batch)) // of those that have a slot
	for i, a := range batch {
		records[i], slots[i] = a.executor.admit(a.message)
	}
	outcomes, err := inParts(ctx, m, "record the tasks that arrived", arrivalTries, records,
		func(ctx context.Context, part []ledger.Incoming) ([]ledger.Recording, error) {
			return m.store.ReceiveResults(ctx, m.id, part)
		})
	if err != nil { // not settled: the queues keep them
		for i, a := range batch {
			a.executor.giveBack(slots[i])
		}
		return
	}
	// First what shall run, then the messages: those must not keep it waiting.
	for i, a := range batch {
		admission := outcomes[i].out
		switch {
		case outcomes[i].err != nil:
			a.executor.giveBack(slots[i])
		case admission.Outcome == ledger.Recorded:
			m.tellAdmitted(records[i], admission.Task) // before its end
			a.executor.admitted(ctx, records[i], admission.Task, slots[i])
		case admission.Outcome == ledger.Duplicate:
			a.executor.known(ctx, slots[i], admission)
		default:
			a.executor.giveBack(slots[i])
		}
	}
	for i, a := range batch {
		if err := outcomes[i].err; err != nil {
			m.unrecorded(ctx, a, err)
		} else {
			m.settle(ctx, a, outcomes[i].out)
		}
	}
}

// arrivalTries is how often an arrival may fail to be recorded alone, while
// the database takes other statements, before it is put off.
const arrivalTries = 3

// unrecorded handles an arrival that the database does not take by itself: one
// that is refused is a dead letter, and any other is tried again later.
func (m *Manager) unrecorded(ctx context.Context, a arrival, err error) {
	m.log.ErrorContext(ctx, "a task could not be recorded", "endpoint", a.executor.endpoint, "task_id", a.message.TaskID, "err", err)
	switch {
	case isRefusal(err):
		m.settle(ctx, a, ledger.Recording{Outcome: ledger.Refused, Reason: "it could not be recorded: " + err.Error()})
		return
	case a.recorded != nil: // the next look finds it again
		close(a.recorded)
	}
	if a.delivery != nil {
		m.reaper.giveBack(a.delivery)
	}
}

// tellAdmitted tells live views of a result that is recorded.
func (m *Manager) tellAdmitted(a ledger.Incoming, task tasker.Task) {
	attempt := 0
	if a.State == tasker.Running {
		attempt = 1
	}
	change := changed(&task, a.Endpoint, attempt, a.State)
	change.Errnr = a.Errnr
	m.changes.add(change)
}

// settle acknowledges the message of an arrival, whose verdict is durable now.
func (m *Manager) settle(ctx context.Context, a arrival, admission ledger.Recording) {
	if a.recorded != nil {
		close(a.recorded)
	}
	switch admission.Outcome {
	case ledger.NotOwner:
		m.log.WarnContext(ctx, "the task stays in its queue: this manager does not hold the endpoint any more",
			"endpoint", a.executor.endpoint, "task_id", a.message.TaskID)
		return
	case ledger.Refused:
		if a.delivery != nil {
			m.deadLetter(ctx, a.executor, a.delivery, admission.Reason)
		}
		return
	case ledger.Duplicate:
		m.log.DebugContext(ctx, "the task is known: its message was delivered again",
			"endpoint", a.executor.endpoint, "task_id", a.message.TaskID)
	case ledger.Recorded:
	}
	if a.delivery == nil {
		return
	}
	if err := a.delivery.Ack(); err != nil {
		m.log.DebugContext(ctx, "the message was not acknowledged, and comes again: it will be recognized",
			"endpoint", a.executor.endpoint, "task_id", a.message.TaskID, "err", err)
	}
}
