package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/manager"
)

// free is a database and a broker that cost nothing: what is left is the
// manager's own work.
type free struct {
	database
	task     tasker.Task
	messages chan []byte
	ready    chan struct{}
	slots    chan struct{} // one value for each task that is under way
	reads    atomic.Int64
	saved    atomic.Int64
	events   atomic.Int64
}

func (f *free) AcquireEndpoint(context.Context, tasker.Endpoint, time.Duration) (*tasker.Endpoint, error) {
	return nil, nil
}

func (f *free) Heartbeat(context.Context, string, []string, time.Duration) (bool, error) {
	return true, nil
}
func (f *free) ReleaseEndpoints(context.Context, string, []string) error { return nil }
func (f *free) ForgetEndpoints(context.Context, string, []string) ([]string, error) {
	return nil, nil
}
func (f *free) ReturnFromLost(context.Context, []string) (int, error) { return 0, nil }
func (f *free) Now() time.Time                                        { return time.Now() }

func (f *free) ReceiveResults(_ context.Context, arrivals []ledger.Incoming) ([]ledger.Recording, error) {
	list := make([]ledger.Recording, len(arrivals))
	for i, a := range arrivals {
		list[i].Task = f.task
		list[i].Task.ID = a.TaskID
	}
	return list, nil
}

func (f *free) StartAttempts(_ context.Context, starts []ledger.Start) ([]bool, error) {
	return allTrue(len(starts)), nil
}

func (f *free) FinishAttempts(_ context.Context, finishes []ledger.End) ([]bool, error) {
	for range finishes {
		<-f.slots
	}
	return allTrue(len(finishes)), nil
}

func allTrue(n int) []bool {
	list := make([]bool, n)
	for i := range list {
		list[i] = true
	}
	return list
}

func (f *free) SaveLive(_ context.Context, updates []ledger.LiveUpdate) error {
	f.saved.Add(int64(len(updates)))
	return nil
}

func (f *free) UnfinishedWork(context.Context, string, string) (ledger.Unfinished, error) {
	return ledger.Unfinished{Waiting: true}, nil
}

func (f *free) InterruptedWork(context.Context, string, string, int) ([]ledger.Work, error) {
	return nil, nil
}

// WaitingWork returns nothing: tasks that arrive before the second call would be left
// to it.
func (f *free) WaitingWork(context.Context, string, string, int) ([]ledger.Work, error) {
	if f.reads.Add(1) == 2 {
		close(f.ready)
	}
	return nil, nil
}

func (f *free) DueWork(context.Context, string, string, int) ([]ledger.Work, error) { return nil, nil }

func (f *free) NextRetry(context.Context, string, string) (time.Time, bool, error) {
	return time.Time{}, false, nil
}

func (f *free) UnreceivedTasks(context.Context, string, []string, time.Time, ledger.SentPosition, int) ([]tasker.Task,
	ledger.SentPosition, error,
) {
	return nil, ledger.SentPosition{}, nil
}

func (f *free) Notify(context.Context, string, []byte) error {
	f.events.Add(1)
	return nil
}

// delivery is a message that costs nothing to settle.
type delivery []byte

func (d delivery) Body() []byte                               { return d }
func (delivery) MessageID() string                            { return "" }
func (delivery) Redelivered() bool                            { return false }
func (delivery) Ack() error                                   { return nil }
func (delivery) DeadLetter(_ context.Context, _ string) error { return nil }
func (delivery) Requeue() error                               { return nil }

func (f *free) CommandMark(context.Context) (string, error) { return "", nil }

func (f *free) HoldsAt(context.Context, []string) ([]ledger.Hold, error) { return nil, nil }

func (f *free) CanceledWork(context.Context, string, string, int) ([]ledger.Work, error) {
	return nil, nil
}

func (f *free) ListenControl(ctx context.Context, _ []string, _ func([]byte)) error {
	<-ctx.Done()
	return nil
}

func (f *free) Consume(ctx context.Context, s broker.Subscription) error {
	s.Ready(true)
	for {
		select {
		case body := <-f.messages:
			s.Deliver(delivery(body))
		case <-ctx.Done():
			return nil
		}
	}
}

// BenchmarkRun is what the manager itself does for a task with a Go handler,
// from its message to its end, without the database's and the broker's share.
func BenchmarkRun(b *testing.B) {
	for name, tells := range map[string]int{"silent": 0, "one line and progress": 1, "100 lines": 100} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			const slots = 32
			f := &free{
				task:     tasker.Task{Identifier: "one", Type: "job", Payload: json.RawMessage("null")},
				messages: make(chan []byte), ready: make(chan struct{}), slots: make(chan struct{}, slots),
			}
			h := handlers.Func(func(_ context.Context, req *handlers.Request) (handlers.Result, error) {
				for i := range tells {
					req.Line(tasker.StreamStdout, "a line of some length, as a program writes it")
					req.Progress(int64(i), int64(tells), "")
				}
				return nil, nil
			})
			registry := handlers.NewRegistry()
			if err := registry.Register("job", h); err != nil {
				b.Fatal(err)
			}
			cfg := manager.Config{Endpoints: []string{"a"}, TaskTypes: []tasker.TaskType{{Name: "job", Concurrency: 2 * slots}}}
			m, err := manager.New(cfg, parts(f), f, registry, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- m.Run(ctx) }()
			<-f.ready
			var messages [][]byte
			for i := range 1000 {
				body, err := wire.EncodeTask(tasker.Task{
					ID: int64(i + 1), Identifier: "one", Type: "job", Payload: json.RawMessage("null"),
					StartTime: time.Now(),
				})
				if err != nil {
					b.Fatal(err)
				}
				messages = append(messages, body)
			}
			b.ResetTimer()
			for i := range b.N {
				f.slots <- struct{}{}
				f.messages <- messages[i%len(messages)]
			}
			for range slots { // all are through
				f.slots <- struct{}{}
			}
			b.StopTimer()
			b.ReportMetric(float64(f.saved.Load())/float64(b.N), "updates/run")
			for range slots {
				<-f.slots
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(fmt.Errorf("the manager ended: %w", err))
			}
		})
	}
}
