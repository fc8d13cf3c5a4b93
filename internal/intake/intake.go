// Package intake writes together what concurrent requests of an API process
// write: the tasks that they create, and that these are sent. One commit then
// serves all of them. A request that is alone does not wait.
package intake

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/x/batch"
)

// Store is the part of the database that an Intake uses.
type Store interface {
	CreateTasks(ctx context.Context, tasks []tasker.Task) ([]ledger.Creation, error)
	MarkSents(ctx context.Context, sent []ledger.Sent) ([]ledger.Marking, error)
}

const (
	// maxBatch bounds the tasks of a transaction. Batches of more give nothing.
	maxBatch = 100
	// writeTimeout bounds one transaction.
	writeTimeout = 15 * time.Second
)

// errTimeout is the error of a write that took too long.
var errTimeout = tasker.Errorf(tasker.Unavailable, "database: no answer in %s", writeTimeout)

// Intake is safe for concurrent use. Its methods wait until Run is called.
type Intake struct {
	creations *batch.Writer[tasker.Task, ledger.Creation]
	sent      *batch.Writer[ledger.Sent, ledger.Marking]
}

// New returns an Intake.
func New(store Store) *Intake {
	return &Intake{
		creations: batch.New(maxBatch, limited(store.CreateTasks)),
		sent:      batch.New(maxBatch, limited(store.MarkSents)),
	}
}

// limited returns write with a time limit.
func limited[In, Out any](write func(context.Context, []In) ([]Out, error)) func(context.Context, []In) ([]Out, error) {
	return func(ctx context.Context, items []In) ([]Out, error) {
		limit, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		outs, err := write(limit, items)
		if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return nil, errTimeout
		}
		return outs, err
	}
}

// Run lets tasks be written until ctx ends, and waits for those that are being
// written.
func (n *Intake) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { n.creations.Run(ctx) })
	group.Go(func() { n.sent.Run(ctx) })
	group.Wait()
}

// CreateTask stores a new task as CREATED; see [store.Tasks.CreateTask]. If ctx
// ends first, the task may be stored or not.
func (n *Intake) CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error) {
	c, err := do(ctx, n.creations, t)
	if err == nil {
		err = c.Err
	}
	return c.Task, c.Created, err
}

// MarkSent moves a CREATED task to SENT; see [store.Outbox.MarkSent]. If ctx ends
// first, the task may be marked or not.
func (n *Intake) MarkSent(ctx context.Context, task tasker.Task, unserved []string) (tasker.Task, error) {
	m, err := do(ctx, n.sent, ledger.Sent{Task: task, Unserved: unserved})
	if err != nil {
		return task, err
	}
	return m.Task, m.Err
}

// do submits an item and waits until it is written or ctx ends.
func do[In, Out any](ctx context.Context, w *batch.Writer[In, Out], in In) (Out, error) {
	type outcome struct {
		out Out
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		out, err := w.Do(in)
		done <- outcome{out, err}
	}()
	select {
	case o := <-done:
		return o.out, o.err
	case <-ctx.Done():
		var none Out
		return none, context.Cause(ctx)
	}
}
