package manager

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
)

const (
	// catchUpOverlap is how far before the last look the next one begins: more
	// than clocks differ, and than a statement takes that marks a task as sent.
	catchUpOverlap = time.Minute
	// underWay is how long a message may take before a look that has no other
	// cause than the time calls it lost.
	underWay = 5 * time.Second
)

// tend sees that what the database has for an endpoint is what this manager
// works on.
//
// Open tasks that expect the endpoint and that it has no result of are caught
// up with: their message was lost, or was sent while there was no queue. It
// looks for them each time that a consumer or a new task type is registered, and
// from time to time, since RabbitMQ tells no consumer that its bindings are gone. The first
// look goes through all open tasks, as does the first one after a type was
// added, the others through what was sent since.
//
// Results that were called lost are taken back, and attempts that another
// manager began are judged, from time to time and each time that there is a
// doubt.
func (m *Manager) tend(ctx context.Context, endpoint string, subscribed <-chan struct{}) {
	var since time.Time
	for {
		// Jittered, so that a fleet does not look together.
		again := time.NewTimer(m.cfg.CatchUp*3/4 + rand.N(m.cfg.CatchUp/2+1))
		var err error
		select {
		case <-subscribed:
			since, err = m.catchUp(ctx, endpoint, m.lookFrom(endpoint, since), 0)
		case <-again.C:
			if err = m.putRight(ctx, endpoint); err == nil {
				since, err = m.catchUp(ctx, endpoint, m.lookFrom(endpoint, since), underWay)
			}
		case <-m.doubts[endpoint]:
			if err = m.putRight(ctx, endpoint); err == nil {
				err = clock.Sleep(ctx, doubtPause)
			}
		case <-ctx.Done():
		}
		again.Stop()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.log.ErrorContext(ctx, "could not look for what the endpoint has to do", "endpoint", endpoint, "err", err)
		}
	}
}

// lookFrom gives since when to look for tasks: since a time, or from the
// beginning where there are new types.
func (m *Manager) lookFrom(endpoint string, since time.Time) time.Time {
	if m.anew[endpoint].Swap(false) {
		return time.Time{}
	}
	return since
}

// doubtPause bounds how often doubts are looked into.
const doubtPause = 100 * time.Millisecond

// doubt has the endpoint's results looked at soon.
func (m *Manager) doubt(endpoint string) {
	select {
	case m.doubts[endpoint] <- struct{}{}:
	default: // it is known already
	}
}

// putRight takes back lost results and judges attempts that others began, and
// has the executors look at what waits: what they could not start while it was
// lost is not in memory.
func (m *Manager) putRight(ctx context.Context, endpoint string) error {
	err := m.takeBackLost(ctx, endpoint)
	if err == nil {
		err = m.adoptInterrupted(ctx, endpoint)
	}
	for _, e := range m.all() {
		if e.endpoint == endpoint {
			e.lookAgain()
		}
	}
	return err
}

// catchUp looks through the tasks that were sent since a time, and gives the
// time since which the next look shall go.
func (m *Manager) catchUp(ctx context.Context, endpoint string, since time.Time, underWay time.Duration) (next time.Time, err error) {
	begin := m.store.Now()
	before := begin.Add(-underWay)
	if underWay == 0 {
		before = begin.Add(catchUpOverlap) // all, also by a clock that is ahead
	}
	if err := m.catchUpOnce(ctx, endpoint, since, before); err != nil {
		return since, err
	}
	return begin.Add(-catchUpOverlap), nil
}

// catchUpOnce looks through the tasks that were sent since a time, and
// records those whose message should have come before another: they were sent
// before it or, where that is not known, created.
func (m *Manager) catchUpOnce(ctx context.Context, endpoint string, since, before time.Time) error {
	for after := (ledger.SentPosition{}); ; {
		var tasks []tasker.Task
		var next ledger.SentPosition
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
			sent := task.StartTime
			if task.SentTime != nil {
				sent = *task.SentTime
			}
			e := m.executor(broker.Queue{TaskType: task.Type, Endpoint: endpoint})
			if sent.After(before) || e == nil {
				continue
			}
			done := make(chan struct{})
			recorded = append(recorded, done)
			select {
			case m.arrivals <- arrival{
				executor: e,
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
		if next == (ledger.SentPosition{}) {
			return nil
		}
		after = next
	}
}
