// Package manager is the daemon on an endpoint: it consumes the messages of
// its task types, records each task as a result of its own before it
// acknowledges the message, runs the handler in one of a bounded number of
// slots, and stores how it ended.
//
// The results in the database are the truth, and its memory: a manager that
// starts adopts what the one before it left unfinished, and what it cannot
// hold in memory waits in the database.
package manager

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/spool"
	"github.com/taskerhq/tasker/internal/x/batch"
)

// batchSize bounds what is written to the database at once.
const batchSize = 100

// ErrLeaseLost is why a manager ends whose endpoint another one has taken, since
// it was silent for longer than its lease, or whose endpoint was removed from
// the database, as by a reset.
var ErrLeaseLost = errors.New("the endpoint is not this manager's any more: another manager has taken it over, or it was removed from the database")

// Store is what a manager needs of the database; see internal/store.
type Store interface {
	AcquireEndpoint(ctx context.Context, e tasker.Endpoint, lease time.Duration) (holder *tasker.Endpoint, err error)
	Heartbeat(ctx context.Context, manager string, endpoints []string, lease time.Duration) (held bool, err error)
	ReleaseEndpoints(ctx context.Context, manager string, endpoints []string) error
	// ForgetEndpoints removes the endpoints; it keeps, and returns, those of
	// which an attempt has not ended.
	ForgetEndpoints(ctx context.Context, manager string, endpoints []string) (kept []string, err error)
	ReturnFromLost(ctx context.Context, endpoints []string) (returned int, err error)

	ReceiveResults(ctx context.Context, manager string, arrivals []ledger.Incoming) ([]ledger.Recording, error)
	StartAttempts(ctx context.Context, manager string, starts []ledger.Start) (started []bool, err error)
	FinishAttempts(ctx context.Context, finishes []ledger.End) (stored []bool, err error)

	SaveLive(ctx context.Context, updates []ledger.LiveUpdate) error
	Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error)
	AwaitReboot(ctx context.Context, key tasker.ResultKey, attempt, step int, boot string) (stored bool, err error)
	ResumeAttempts(ctx context.Context, manager string, starts []ledger.Start) (resumed []bool, err error)

	InterruptedWork(ctx context.Context, manager, endpoint string, limit int) ([]ledger.Work, error)
	WaitingWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error)
	DueWork(ctx context.Context, endpoint, taskType string, limit int) ([]ledger.Work, error)
	NextRetry(ctx context.Context, endpoint, taskType string) (next time.Time, ok bool, err error)
	// TaskPayload returns the payload of a task; what is returned elsewhere
	// leaves a large one out.
	TaskPayload(ctx context.Context, taskID int64) (json.RawMessage, error)
	UnreceivedTasks(ctx context.Context, endpoint string, taskTypes []string, since time.Time, after ledger.SentPosition, limit int) (tasks []tasker.Task, next ledger.SentPosition, err error)

	Now() time.Time
	// Answered reports whether err is the database's own answer to a statement,
	// and not the loss of the connection over it.
	Answered(err error) bool
}

// Broker is what a manager needs of the message broker.
type Broker interface {
	Consume(ctx context.Context, s broker.Subscription) error
	Notify(ctx context.Context, key string, body []byte) error
}

// Manager serves endpoints. Make one with [New] and run it once.
type Manager struct {
	cfg      Config
	id       string // names this manager among all, in the endpoints' leases
	store    Store
	broker   Broker
	log      *slog.Logger
	arrivals chan arrival
	starts   *batch.Writer[ledger.Start, started]
	results  *batch.Writer[ledger.End, ending]
	alone    *batch.Writer[ledger.End, ending] // for results that failed by themselves
	spool    *spool.Spool                      // nil where there is none
	spooling sync.Mutex                        // held by who keeps a result that is late
	lease    *leaseWatch
	flusher  *flusher
	changes  *changes
	// doubts get a value, each for its endpoint, when its results may not be
	// what this manager takes them for, and anew is set where all open tasks
	// are to be looked through, since there are new types.
	doubts map[string]chan struct{}
	anew   map[string]*atomic.Bool
	// unkept counts the ends of attempts that wait for the database and are
	// not in the spool, and the attempts that are about to await a reboot.
	unkept atomic.Int64
	// away tells that the last that was heard of the database is that it
	// cannot be reached.
	away atomic.Bool
	// heard is when the last heartbeat was sent that the database took.
	heard atomic.Pointer[time.Time]
	// pending are the results whose ends are in the spool of an earlier manager.
	pending pendingEnds
	reaper  *reaper

	holdings  holdings
	reloading sync.Mutex    // held during a reload
	kept      []*held       // the handlers of the registry
	over      bool          // nothing is reloaded any more
	register  chan struct{} // gets a value when the types have changed
	// What a reload changes. An executor stays when its type is removed, and
	// rests.
	mu        sync.RWMutex
	types     []tasker.TaskType
	executors map[broker.Queue]*executor
	serving   *serving // nil while no tasks are taken
}

// New makes a manager. It checks cfg, opens the spool, and does not connect.
// The handlers of the registry are the manager's from the time that it runs:
// it closes them when it needs them no longer.
func New(cfg Config, store Store, b Broker, registry *handlers.Registry, log *slog.Logger) (*Manager, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: cfg, id: ulid.Make().String(), store: store, broker: b,
		register:  make(chan struct{}, 1),
		executors: map[broker.Queue]*executor{}, doubts: map[string]chan struct{}{}, anew: map[string]*atomic.Bool{},
	}
	m.log = log.With("manager", m.id)
	m.lease = newLeaseWatch(cfg.Lease)
	m.flusher = newFlusher(m)
	m.changes = newChanges(b.Notify, m.log)
	m.reaper = newReaper(m.log)
	types, err := m.chosen(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.SpoolDir != "" {
		if m.spool, err = spool.Open(cfg.SpoolDir); err != nil {
			return nil, err
		}
	}
	m.starts = batch.New(batchSize, m.storeStarts)
	m.results = batch.New(batchSize, m.storeFinishes)
	m.alone = batch.New(1, m.storeFinishes)
	m.types = types
	performers, kept := m.performers(types, registry)
	m.kept = kept
	for _, endpoint := range cfg.Endpoints {
		m.doubts[endpoint] = make(chan struct{}, 1)
		m.anew[endpoint] = &atomic.Bool{}
		for _, t := range types {
			m.executors[broker.Queue{TaskType: t.Name, Endpoint: endpoint}] = newExecutor(m, endpoint, performers[t.Name])
		}
	}
	m.arrivals = make(chan arrival, len(m.executors)*cfg.Prefetch)
	return m, nil
}

// chosen gives the task types of cfg that this manager performs: not those
// that ask for labels which it does not have.
func (m *Manager) chosen(cfg Config) ([]tasker.TaskType, error) {
	var types []tasker.TaskType
	for _, t := range cfg.TaskTypes {
		if lacks := cfg.lacks(t); lacks != "" {
			m.log.Info("the task type is left out: it asks for labels that this manager does not have", "type", t.Name, "lacks", lacks)
			continue
		}
		types = append(types, t)
	}
	if len(types) == 0 {
		return nil, tasker.Errorf(tasker.Invalid, "every task type asks for labels that this manager does not have: give it labels, or other task types")
	}
	return types, nil
}

// ID names this manager among all.
func (m *Manager) ID() string { return m.id }

// Run serves the endpoints until ctx ends, and then stops in stages: it stops
// consuming, lets handlers finish within the shutdown limit, cancels those
// that have not (their results stay RUNNING, for adoption), stores the results
// and frees the endpoints' names, or removes them; see [Config.Forget]. It
// returns nil after such a stop, a
// [tasker.Conflict] where another live manager serves one of the endpoints,
// and [ErrLeaseLost] where one came to.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.acquire(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while it waited
		}
		return err
	}
	stopped := false
	defer func() { m.leave(ctx, stopped) }()
	defer m.dropHandlers()

	// work outlives ctx by the stop, taking does not; fatal ends both at once.
	work, fatal := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fatal(nil)
	taking, stopTaking := context.WithCancel(work)
	defer stopTaking()
	stop := context.AfterFunc(ctx, stopTaking)
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { m.starts.Run(taking) })
	background.Go(func() { m.results.Run(work) })
	background.Go(func() { m.alone.Run(work) })
	background.Go(func() { m.heartbeats(work, fatal) })
	background.Go(func() { m.flusher.run(work) })
	background.Go(func() { m.changes.run(work) })
	background.Go(func() { m.reaper.run(work) })
	defer background.Wait()
	defer fatal(nil)

	m.prepare(taking)
	spooled := m.readSpool(ctx)
	// Beside what follows: what the database does not take must not keep the
	// manager from serving.
	background.Go(func() { m.deliverSpooled(taking, spooled) })
	if err := m.adopt(taking); err != nil {
		if ctx.Err() == nil && work.Err() == nil {
			return err
		}
	} else {
		m.check()
		m.log.InfoContext(ctx, "serving", "endpoints", m.cfg.Endpoints, "task_types", m.typeNames())
		if m.cfg.Ready != nil {
			m.cfg.Ready()
		}
		m.take(taking)
	}
	// No message comes in any more, and none is in between.
	m.finish(work, fatal)
	switch cause := context.Cause(work); {
	case errors.Is(cause, errLeftInSpool):
		m.log.WarnContext(ctx, "stopped before all results were stored: the next manager on this machine stores those in the spool", "spool", m.cfg.SpoolDir)
		return nil
	case cause != nil:
		return cause
	}
	m.log.InfoContext(ctx, "stopped")
	stopped = true
	return nil
}

var (
	// errResultsUnstored ends a stop that cannot store what the handlers returned.
	errResultsUnstored = errors.New("the database is away: results of handlers that ended could not be stored")
	// errLeftInSpool ends a stop whose results are on disk, for the next manager.
	errLeftInSpool = errors.New("the manager has stopped")
)

// spoolStop is how long a stop waits for a database that is away, once the
// results are in the spool.
const spoolStop = 2 * time.Second

// finish waits for the handlers, and for their results to be stored or kept:
// as long as the shutdown limit lets it, then with the handlers' contexts
// canceled.
func (m *Manager) finish(work context.Context, fatal context.CancelCauseFunc) {
	done := make(chan struct{})
	go func() {
		for _, e := range m.all() {
			e.running.Wait()
		}
		close(done)
	}()
	if n := m.runningHandlers(); n > 0 {
		m.log.InfoContext(work, "stopping: handlers may finish", "running", n, "within", m.cfg.ShutdownTimeout)
	}
	if m.ended(work, done, fatal, m.cfg.ShutdownTimeout) {
		return
	}
	if n := m.runningHandlers(); n > 0 {
		m.log.WarnContext(work, "stopping: handlers are canceled", "running", n)
	}
	for _, e := range m.all() {
		e.cancel(handlers.ErrShutdown)
	}
	// A handler that does not return is abandoned before.
	if !m.ended(work, done, fatal, m.cfg.AbandonAfter+5*time.Second) {
		fatal(errResultsUnstored)
		<-done
	}
}

// ended waits until all attempts are done with, and tells whether they were
// within a limit. Where the handlers have ended, and their results are in the
// spool, it does not wait for the database.
func (m *Manager) ended(work context.Context, done <-chan struct{}, fatal context.CancelCauseFunc, within time.Duration) bool {
	limit := time.NewTimer(within)
	defer limit.Stop()
	look := time.NewTicker(spoolStop / 20)
	defer look.Stop()
	var idle time.Time // since when no handler runs
	for {
		select {
		case <-done:
			return true
		case <-limit.C:
			return false
		case <-work.Done():
			return false
		case now := <-look.C:
			switch {
			case m.spool == nil || m.runningHandlers() > 0 || m.unkept.Load() > 0:
				idle = time.Time{}
			case idle.IsZero():
				idle = now
			case now.Sub(idle) > spoolStop:
				fatal(errLeftInSpool)
			}
		}
	}
}

func (m *Manager) runningHandlers() (n int) {
	for _, e := range m.all() {
		n += e.busy()
	}
	return n
}

func (m *Manager) typeNames() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]string, len(m.types))
	for i, t := range m.types {
		list[i] = t.Name
	}
	return list
}

// executor gives that of a queue; nil where there never was one.
func (m *Manager) executor(queue broker.Queue) *executor {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.executors[queue]
}

// all gives the executors, those included that rest.
func (m *Manager) all() []*executor {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Values(m.executors))
}

// registration is how an endpoint is registered by this manager.
func (m *Manager) registration(endpoint string) tasker.Endpoint {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return tasker.Endpoint{
		Name: endpoint, TaskTypes: m.typeNames(), Manager: m.id,
		Host: host, PID: os.Getpid(), Version: m.cfg.Version, Labels: m.cfg.Labels,
	}
}
