// Package dispatch publishes a stored task to its endpoints and marks it SENT. The
// API does so when it accepts a task; the relay retries when that failed.
//
// There is at most one attempt to publish a task at any time. It lasts until the
// broker confirms or refuses the message or the connection is lost; a caller that
// stops waiting does not end it. The pause before the next attempt grows with each
// one. Both are stored in the task's row, so that all processes respect them.
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
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/wire"
)

// Store is the part of the database that a Dispatcher uses.
type Store interface {
	WaveStore
	MarkSent(ctx context.Context, task tasker.Task, unserved []string) (tasker.Task, error)
	ReleaseTask(ctx context.Context, r ledger.Release) error
	RenewUnsent(ctx context.Context, taskID int64, attempt int, lease time.Duration) error
	SaveSent(ctx context.Context, u ledger.Unsent, lease time.Duration) error
	RegisteredEndpoints(ctx context.Context, taskType string, among []string) ([]string, error)
	Received(ctx context.Context, taskID int64) (bool, error)
	OldestProtocol(ctx context.Context, taskType string, seenWithin time.Duration) (int, error)
}

// Publisher is the part of the broker that a Dispatcher uses.
type Publisher interface {
	Publish(ctx context.Context, p broker.Publication) (broker.Receipt, error)
	Ready() error
	MaxBody() int
}

// ErrOutstanding is returned, wrapped, if the broker has not confirmed the task in
// time. The attempt goes on in the background.
var ErrOutstanding = errors.New("not confirmed by the message broker yet: the attempt goes on in the background")

// ErrBusy is returned, wrapped, if too many messages await the broker's confirm.
// The relay tries again.
var ErrBusy = errors.New("too many messages await the message broker's confirm")

// The default and the maximum of [Config].Timeout.
const (
	DefaultTimeout = time.Second
	MaxTimeout     = 10 * time.Second
)

// Config bounds a dispatch.
type Config struct {
	// Timeout is how long a caller waits for the broker; 0 means DefaultTimeout,
	// and the maximum is MaxTimeout.
	Timeout time.Duration
	// RelayTimeout is how long the relay waits for one task before it goes on to
	// the next; 0 means 1 s.
	RelayTimeout time.Duration
	// SeenWithin bounds the silence of an endpoint that a task for all still
	// expects. It should match how long an unused queue is kept; 0 means 7 days.
	SeenWithin time.Duration
	// MaxPayload is the size in bytes of the largest payload that a message
	// carries; 0 means [wire.DefaultMaxPayload].
	MaxPayload int64
	// Metrics counts what is sent.
	Metrics observe.DispatchMetrics
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	c.Timeout = min(c.Timeout, MaxTimeout)
	if c.RelayTimeout == 0 {
		c.RelayTimeout = time.Second
	}
	if c.SeenWithin == 0 {
		c.SeenWithin = 7 * 24 * time.Hour
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = wire.DefaultMaxPayload
	}
	return c
}

const (
	// Lease is how long an attempt keeps its claim on a task without renewing it.
	// If the attempt's process dies, the task is retried after that time.
	Lease = 15 * time.Second
	// storeTimeout bounds one call to the database.
	storeTimeout = 5 * time.Second
)

// Dispatcher publishes tasks. It is safe for concurrent use and must be closed.
type Dispatcher struct {
	cfg       Config
	store     Store
	broker    Publisher
	log       *slog.Logger
	audiences audiences
	load      *semaphore.Weighted // messages that await a confirm; see publishTo

	mu     sync.Mutex
	closed bool
	// The attempts of this process: by task id or, of waves, by a negative number.
	attempts map[int64]context.CancelFunc
	waves    int64 // the last of these numbers
	group    sync.WaitGroup
}

// New returns a Dispatcher.
func New(cfg Config, store Store, publisher Publisher, log *slog.Logger) *Dispatcher {
	cfg = cfg.withDefaults()
	return &Dispatcher{
		cfg: cfg, store: store, broker: publisher, log: log,
		audiences: audiences{store: store, seenWithin: cfg.SeenWithin, known: map[string]*audience{}},
		load:      semaphore.NewWeighted(maxLoad), attempts: map[int64]context.CancelFunc{},
	}
}

// Close cancels all attempts and waits for them to end. Their tasks stay CREATED.
func (d *Dispatcher) Close() {
	d.mu.Lock()
	d.closed = true
	for _, cancel := range d.attempts {
		cancel()
	}
	d.mu.Unlock()
	d.group.Wait()
}

// Check returns why the messages of a task, which is not stored yet, cannot be sent:
// [tasker.TooLarge] if one is larger than the broker accepts, and [tasker.Invalid]
// if those for its listed endpoints are too large together.
func (d *Dispatcher) Check(ctx context.Context, task tasker.Task) error {
	if task.Deliver > 0 {
		return nil // they carry no payload
	}
	size := len(task.Payload)
	if f := d.form(ctx, task.Type); f.Version >= wire.Version && int64(size) > f.MaxPayload {
		size = 0
	}
	if limit := d.broker.MaxBody(); limit > 0 && size+messageOverhead > limit {
		return tasker.Errorf(tasker.TooLarge,
			"payload too large: %d bytes, RabbitMQ accepts messages of up to %d bytes: send a smaller one or raise max_message_size "+
				"of RabbitMQ",
			size, limit)
	}
	if all := int64(size) * int64(len(task.Endpoints)); all > maxFanout {
		return tasker.Errorf(tasker.Invalid,
			"messages too large: a payload of %d bytes for %d endpoints is %d bytes, the limit is %d; list fewer endpoints, or omit "+
				"the list to reach all with one message",
			size, len(task.Endpoints), all, maxFanout)
	}
	return nil
}

// form returns how the messages of a task type are written.
func (d *Dispatcher) form(ctx context.Context, taskType string) wire.Form {
	return wire.Form{Version: d.audiences.version(ctx, taskType), MaxPayload: d.cfg.MaxPayload}
}

// maxFanout bounds the bytes of the messages of one task: each listed endpoint gets
// its own, with the payload that it carries.
const maxFanout = 1 << 30

// messageOverhead exceeds what a task's message takes besides the payload.
const messageOverhead = 512

// Dispatch makes the first attempt to send a task that was just stored. It waits
// for the configured time, even if ctx ends. After an error the task stays
// CREATED: either the attempt goes on ([ErrOutstanding]) or the relay makes
// another one. The returned task is the newest known; its Unserved lists the
// endpoints already known not to be served. Dispatch does not wait for a broker
// that is not ready. A task with a rollout is sent to its first wave.
func (d *Dispatcher) Dispatch(ctx context.Context, task tasker.Task) (tasker.Task, error) {
	if task.Rollout != nil {
		return d.sendWaves(ctx, task, ledger.WaveClaim{TaskID: task.ID, Attempt: 1}, d.cfg.Timeout)
	}
	return d.send(ctx, ledger.Unsent{Task: task, Attempt: 1}, d.cfg.Timeout)
}

// Resume is Dispatch for the relay: for a task claimed from the store, with a
// shorter wait.
func (d *Dispatcher) Resume(ctx context.Context, u ledger.Unsent) (tasker.Task, error) {
	return d.send(ctx, u, d.cfg.RelayTimeout)
}

func (d *Dispatcher) send(ctx context.Context, u ledger.Unsent, timeout time.Duration) (tasker.Task, error) {
	a := &attempt{d: d, u: u, wait: timeout / 2, ended: make(chan struct{})}
	if !d.begin(ctx, a) {
		return u.Task, fmt.Errorf("task %d: %w", u.ID, ErrOutstanding)
	}
	timer := time.NewTimer(timeout)
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

// begin starts an attempt unless this process has one of the same task. It keeps
// the values of ctx, such as the request id for the log, and ends with Close.
func (d *Dispatcher) begin(ctx context.Context, a *attempt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.attempts[a.u.ID] != nil {
		return false
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.attempts[a.u.ID] = cancel
	d.group.Go(func() {
		defer cancel()
		task, err := a.run(ctx)
		d.mu.Lock()
		delete(d.attempts, a.u.ID)
		d.mu.Unlock()
		a.finish(task, err)
	})
	return true
}
