package manager

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/wire"
)

const (
	// catchUpOverlap is how far before the last look the next one begins: more
	// than clocks differ, and than a statement takes that marks a task as sent.
	catchUpOverlap = time.Minute
	// underWay is how long a message may take before a look that has no other
	// cause than the time calls it lost.
	underWay = 5 * time.Second
)

// catchUp records the open tasks that expect an endpoint and that it has no
// result of: their message was lost, or was sent while there was no queue. It
// looks each time that a consumer is registered, and from time to time, since
// RabbitMQ tells no consumer that its bindings are gone. The first look goes
// through all open tasks, the others through what was sent since.
func (m *Manager) catchUp(ctx context.Context, endpoint string, ready <-chan struct{}) {
	var since time.Time
	for {
		// Jittered, so that a fleet does not look together.
		again := time.NewTimer(m.cfg.CatchUp*3/4 + rand.N(m.cfg.CatchUp/2+1))
		var before time.Time
		select {
		case <-ready:
			before = m.store.Now().Add(time.Hour) // all
		case <-again.C:
			before = m.store.Now().Add(-underWay)
		case <-ctx.Done():
		}
		again.Stop()
		if ctx.Err() != nil {
			return
		}
		begin := m.store.Now()
		if err := m.catchUpOnce(ctx, endpoint, since, before); err != nil {
			if ctx.Err() == nil {
				m.log.ErrorContext(ctx, "could not look for tasks that were not received", "endpoint", endpoint, "err", err)
			}
			continue
		}
		since = begin.Add(-catchUpOverlap)
	}
}

// catchUpOnce looks through the tasks that were sent since a time, and
// records those that last moved before another.
func (m *Manager) catchUpOnce(ctx context.Context, endpoint string, since, before time.Time) error {
	for after := int64(0); ; {
		var tasks []tasker.Task
		var next int64
		err := m.persist(ctx, "look for tasks that were not received", func(ctx context.Context) (err error) {
			tasks, next, err = m.store.UnreceivedTasks(ctx, endpoint, m.typeNames(), since, after, batchSize)
			return err
		})
		if err != nil {
			return err
		}
		// A page is recorded together, before the next one is read.
		var recorded []<-chan struct{}
		for _, task := range tasks {
			if !task.LastModifiedTime.Before(before) {
				continue
			}
			done := make(chan struct{})
			recorded = append(recorded, done)
			select {
			case m.arrivals <- arrival{
				executor: m.executors[broker.Queue{TaskType: task.Type, Endpoint: endpoint}],
				message:  wire.Task{TaskID: task.ID, Identifier: task.Identifier, Type: task.Type},
				recorded: done,
			}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if len(recorded) > 0 {
			m.log.InfoContext(ctx, "found tasks that were not received", "endpoint", endpoint, "tasks", len(recorded))
		}
		for _, done := range recorded {
			select {
			case <-done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if next == 0 {
			return nil
		}
		after = next
	}
}
