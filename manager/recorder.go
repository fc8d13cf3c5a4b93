package manager

import (
	"context"
	"log/slog"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/wire"
)

// recordTries is how often a task may fail to be recorded alone, while other
// statements succeed, before it is put off.
const recordTries = 3

// recorder records the tasks that arrive, in batches of those that have gathered.
// Only then does it acknowledge their messages and let them run.
type recorder struct {
	queue       chan incoming
	holding     *holding
	results     Results
	manager     string
	db          *database
	events      *livefeed.Feed
	deadLetters *deadLetters
	refused     func(endpoints ...string) // has the holder look
	log         *slog.Logger
}

// incoming is a task that has reached a pool and is not recorded yet.
type incoming struct {
	pool     *pool
	message  wire.Task
	delivery broker.Delivery // nil if it was found in the database
	done     chan<- struct{} // if set, closed when it is recorded or put off
}

// submit hands over a task to be recorded. It returns the cause if ctx ends first.
func (r *recorder) submit(ctx context.Context, in incoming) error {
	select {
	case r.queue <- in:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run records tasks until taking ends.
func (r *recorder) run(taking context.Context) {
	for {
		tasks := r.holding.next(taking, r.queue)
		if tasks == nil {
			return // what is held is not settled: the queues keep it
		}
		r.record(taking, tasks)
	}
}

// record records a batch of tasks.
func (r *recorder) record(taking context.Context, tasks []prepared) {
	records := make([]ledger.Incoming, len(tasks))
	for i, in := range tasks {
		records[i] = in.record
		records[i].Manager = r.manager
	}
	results, err := writeBatch(taking, r.db, "record the tasks", recordTries, records, r.results.ReceiveResults)
	if err != nil { // not settled: the queues keep them
		for _, in := range tasks {
			in.pool.release(taking, in.claim)
		}
		return
	}
	// Start the runs before the messages are settled.
	for i, in := range tasks {
		rec := results[i].out
		switch {
		case results[i].err != nil:
			in.pool.release(taking, in.claim)
		case rec.Outcome == ledger.Recorded:
			r.report(&records[i], &rec.Task) // before the end of the run is reported
			in.pool.onRecorded(taking, records[i].State, rec, in.claim)
		case rec.Outcome == ledger.Duplicate:
			if records[i].State == tasker.Running && rec.State == tasker.Received {
				r.onHeld(&records[i], &rec.Task)
			}
			in.pool.onDuplicate(taking, in.claim, rec)
		default:
			in.pool.release(taking, in.claim)
		}
	}
	var recorded []incoming
	for i, in := range tasks {
		if err := results[i].err; err != nil {
			r.onFailed(taking, in.incoming, err)
		} else if r.settle(taking, in.incoming, results[i].out) {
			recorded = append(recorded, in.incoming)
		}
	}
	r.acknowledge(taking, recorded)
}

// onFailed handles a task that could not be recorded. One that the database refuses
// becomes a dead letter, any other is tried again later.
func (r *recorder) onFailed(ctx context.Context, in incoming, err error) {
	r.log.ErrorContext(ctx, "could not record a task", "endpoint", in.pool.queue.Endpoint, "task_id", in.message.TaskID, "err", err)
	switch {
	case isRefusal(err):
		r.settle(ctx, in, ledger.Recording{Outcome: ledger.Refused, Reason: "could not be recorded: " + err.Error()})
		return
	case in.done != nil: // the next resync finds it again
		close(in.done)
	}
	if in.delivery != nil {
		r.deadLetters.requeue(in.delivery)
	}
}

// onHeld handles a task that must not start, and was recorded as RECEIVED for that.
func (r *recorder) onHeld(record *ledger.Incoming, task *tasker.Task) {
	r.refused(record.Endpoint)
	record.State = tasker.Received
	r.report(record, task)
}

// report tells live views of a result that is recorded.
func (r *recorder) report(record *ledger.Incoming, task *tasker.Task) {
	attempt := 0
	if record.State == tasker.Running {
		attempt = 1
	}
	change := livefeed.ChangeOf(task, record.Endpoint, attempt, record.State)
	change.Errnr = record.Errnr
	r.events.Add(change)
}

// settle settles the message of a task whose recording is durable, and reports
// whether it is to be acknowledged.
func (r *recorder) settle(ctx context.Context, in incoming, rec ledger.Recording) (acknowledge bool) {
	if in.done != nil {
		close(in.done)
	}
	endpoint, taskID := in.pool.queue.Endpoint, in.message.TaskID
	switch rec.Outcome {
	case ledger.NotOwner:
		r.log.WarnContext(ctx, "task not recorded: this manager does not hold the endpoint any more",
			"endpoint", endpoint, "task_id", taskID)
		return false
	case ledger.Refused:
		if in.delivery != nil {
			r.deadLetters.add(ctx, in.pool.queue, in.delivery, rec.Reason)
		}
		return false
	case ledger.Duplicate:
		r.log.DebugContext(ctx, "duplicate message", "endpoint", endpoint, "task_id", taskID)
	case ledger.Recorded:
	}
	return in.delivery != nil
}

// acknowledge acknowledges the messages of recorded tasks.
func (r *recorder) acknowledge(ctx context.Context, recorded []incoming) {
	deliveries := make([]broker.Delivery, len(recorded))
	for i, in := range recorded {
		deliveries[i] = in.delivery
	}
	for i, err := range broker.AckAll(deliveries) {
		if err != nil {
			r.log.DebugContext(ctx, "could not acknowledge a message: the broker delivers it again",
				"endpoint", recorded[i].pool.queue.Endpoint, "task_id", recorded[i].message.TaskID, "err", err)
		}
	}
}
