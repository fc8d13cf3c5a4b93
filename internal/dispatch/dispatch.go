// Package dispatch brings a stored task to its endpoints: it publishes the
// task and marks it SENT. The API does so when it takes a task, the relay when
// that failed.
//
// A task is published at most once at a time. An attempt lasts until the broker
// has confirmed or refused the message, or the connection is lost: whoever
// waits for it leaves earlier, and it goes on without. The next attempt follows
// after a pause that grows with each; both are stored in the task's row, so
// that other processes keep to them.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
)

// Store is what a Dispatcher needs of the database.
type Store interface {
	MarkSent(ctx context.Context, task tasker.Task, unserved []string, seenWithin time.Duration) (tasker.Task, error)
	ReleaseTask(ctx context.Context, r ledger.Release) error
	RenewUnsent(ctx context.Context, taskID int64, attempt int, lease time.Duration) error
	SaveSent(ctx context.Context, u ledger.Unsent, lease time.Duration) error
	RegisteredEndpoints(ctx context.Context, taskType string, among []string) ([]string, error)
}

// Publisher is what a Dispatcher needs of the broker.
type Publisher interface {
	Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error)
	Ready() error
	MaxBody() int
}

// ErrOutstanding is what a dispatch ends with (wrapped) when the broker has not
// confirmed the task yet. The attempt goes on.
var ErrOutstanding = errors.New("the message broker has not confirmed the task yet: it goes on without the caller")

// ErrBusy is what a dispatch ends with (wrapped) when too many messages wait
// for the broker. The relay tries again.
var ErrBusy = errors.New("too many messages wait for the message broker")

// Config bounds a dispatch.
type Config struct {
	// Timeout is for how long a caller waits for the broker; 0 means 5 s, and
	// 10 s is the most.
	Timeout time.Duration
	// RelayTimeout is for how long the relay waits for one task, while others
	// wait behind it; 0 means 1 s.
	RelayTimeout time.Duration
	// SeenWithin is how long ago an endpoint may have been seen last and still
	// be expected to perform a task for all: as long as its queue is kept. 0
	// means 7 days.
	SeenWithin time.Duration
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	c.Timeout = min(c.Timeout, 10*time.Second)
	if c.RelayTimeout == 0 {
		c.RelayTimeout = time.Second
	}
	if c.SeenWithin == 0 {
		c.SeenWithin = 7 * 24 * time.Hour
	}
	return c
}

const (
	// Lease is for how long a task is left to the attempt that goes on, which
	// renews it. As long it rests where the process of that attempt dies.
	Lease = 15 * time.Second
	// storeTimeout bounds a call of the database.
	storeTimeout = 5 * time.Second
)

// Dispatcher publishes tasks. It is safe for concurrent use. Close it in the
// end.
type Dispatcher struct {
	cfg       Config
	store     Store
	broker    Publisher
	log       *slog.Logger
	audiences audiences
	load      *semaphore.Weighted // what waits for the broker; see weight
	life      context.Context     // until Close
	end       context.CancelFunc

	mu       sync.Mutex
	closed   bool
	attempts map[int64]bool // by the task's id: those that go on here
	group    sync.WaitGroup
}

// New makes a Dispatcher.
func New(cfg Config, store Store, publisher Publisher, log *slog.Logger) *Dispatcher {
	d := &Dispatcher{
		cfg: cfg.withDefaults(), store: store, broker: publisher, log: log,
		audiences: audiences{store: store, known: map[string]*audience{}},
		load:      semaphore.NewWeighted(maxLoad), attempts: map[int64]bool{},
	}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Close ends the attempts that go on, and waits for that. Their tasks stay
// CREATED.
func (d *Dispatcher) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.end()
	d.group.Wait()
}

// Check returns an error of code [tasker.TooLarge] for a task, not stored yet,
// that the broker is known to refuse for its size.
func (d *Dispatcher) Check(task tasker.Task) error {
	limit := d.broker.MaxBody()
	if limit == 0 || len(task.Payload)+messageOverhead <= limit {
		return nil
	}
	return tasker.Errorf(tasker.TooLarge,
		"the payload has %d bytes, and RabbitMQ takes messages of %d bytes at most: give a smaller one, or raise max_message_size of RabbitMQ",
		len(task.Payload), limit)
}

// messageOverhead is more than a task's message has beside the payload.
const messageOverhead = 512

// Dispatch makes the first attempt to send a task that was just stored, and
// waits for its end for the configured time, whether or not its own caller
// stays. On an error the task stays CREATED: the attempt goes on
// ([ErrOutstanding]), or the relay makes another one. The task returned is the
// newest known; its Unserved has the listed endpoints of which it is known
// already that nobody serves them. A broker that is not ready is not waited
// for.
func (d *Dispatcher) Dispatch(ctx context.Context, task tasker.Task) (tasker.Task, error) {
	return d.send(ctx, ledger.Unsent{Task: task, Attempt: 1}, d.cfg.Timeout)
}

// Resume is Dispatch for the relay: the task was claimed from the store, and
// the wait is shorter.
func (d *Dispatcher) Resume(ctx context.Context, u ledger.Unsent) (tasker.Task, error) {
	return d.send(ctx, u, d.cfg.RelayTimeout)
}

func (d *Dispatcher) send(ctx context.Context, u ledger.Unsent, patience time.Duration) (tasker.Task, error) {
	// Values of ctx, such as the request's id in the log, stay.
	a := &attempt{d: d, ctx: valuesOf(d.life, ctx), u: u, patience: patience / 2, ended: make(chan struct{})}
	if !d.begin(a) {
		return u.Task, fmt.Errorf("task %d: %w", u.ID, ErrOutstanding)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-a.ended:
		return a.task, a.err
	case <-timer.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	task := u.Task
	task.Unserved = a.unserved
	return task, fmt.Errorf("task %d: %w", u.ID, ErrOutstanding)
}

// begin runs an attempt, unless one of the same task goes on here.
func (d *Dispatcher) begin(a *attempt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.attempts[a.u.ID] {
		return false
	}
	d.attempts[a.u.ID] = true
	d.group.Go(func() {
		defer close(a.ended)
		a.task, a.err = a.run()
		d.mu.Lock()
		delete(d.attempts, a.u.ID)
		d.mu.Unlock()
	})
	return true
}

// withValues is a context with the end of one and the values of another.
type withValues struct {
	context.Context
	values context.Context
}

func valuesOf(life, values context.Context) context.Context { return withValues{life, values} }

// Value implements [context.Context].
func (c withValues) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
