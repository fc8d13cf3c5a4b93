// Package manager is the daemon on an endpoint. It consumes the messages of its
// task types, records each task as a result before it acknowledges the message,
// runs the handler in one of a bounded number of slots, and stores how it ended.
//
// The results in the database are the truth and the manager's memory: a manager that
// starts adopts what the previous one left unfinished, and what does not fit in
// memory waits in the database.
//
// # Parts
//
// A message goes from the [consumer] through the [recorder] to its [pool], which has
// the [runner] run it and the [completer] store its end. The [feeder] and the [taker] of a pool, the
// [adopter] and [resync] find in the database what came another way, and the
// [canceler] what was canceled or retried. [lease],
// [telemetry], [livefeed.Feed], [deadLetters], [leftovers] and [registrar] work beside
// them; [reloader] and [control] change them while they run. No part knows the
// [Manager]: each gets what it needs from [New].
//
// # Locks
//
// A goroutine that holds several locks has taken them in this order: reloader, pools,
// pool, then one of handlerSet, alarm and liveCount; report, then telemetry;
// spooler.late, then pendingWrite. The others are taken alone. No lock is held while
// the store, the broker or a handler is called, but that of the reloader while
// handlers are checked and closed, and that of a pendingWrite while it writes to disk.
package manager

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/fleetsize"
	"github.com/taskerhq/tasker/internal/livefeed"
	"github.com/taskerhq/tasker/internal/signature"
	"github.com/taskerhq/tasker/internal/spool"
	"github.com/taskerhq/tasker/internal/wire"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/internal/x/signal"
)

// ErrLeaseLost is returned by [Manager.Run] if another manager has taken over an
// endpoint after a silence longer than the lease, or if an endpoint was removed from
// the database.
var ErrLeaseLost = errors.New("lease lost: another manager has taken over the endpoint, or it was removed from the database")

// Broker is the part of the message broker that a manager uses.
type Broker interface {
	Consume(ctx context.Context, s broker.Subscription) error
	Notify(ctx context.Context, key string, body []byte) error
	ListenControl(ctx context.Context, endpoints []string, handle func(body []byte)) error
}

// Manager serves endpoints. Make one with [New] and run it once.
type Manager struct {
	cfg Config
	id  string
	log *slog.Logger

	prompts     prompts
	db          *database
	lease       *lease
	events      *livefeed.Feed
	telemetry   *telemetry
	deadLetters *deadLetters
	completer   *completer
	leftovers   *leftovers
	runner      *runner
	recorder    *recorder
	pools       *pools
	adopter     *adopter
	holder      *holder
	canceler    *canceler
	resync      *resync
	registrar   *registrar
	reloader    *reloader
	control     *control
	verifier    *verifier
}

// New returns a manager. It checks cfg and opens the spool, but does not connect.
// Once the manager runs it owns the handlers of the registry, and closes them when
// they are no longer used.
func New(cfg Config, store Store, b Broker, registry *handlers.Registry, log *slog.Logger) (*Manager, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.BootID = cmp.Or(cfg.BootID, bootID())
	id := ulid.Make().String()
	log = log.With("manager", id)
	types, err := cfg.performed(log)
	if err != nil {
		return nil, err
	}
	var disk *spool.Spool
	if cfg.SpoolDir != "" {
		if disk, err = spool.Open(cfg.SpoolDir); err != nil {
			return nil, err
		}
	}
	m := &Manager{cfg: cfg, id: id, log: log, db: &database{log: log, gateway: store.Gateway}}
	if m.verifier, err = newVerifier(&cfg, log); err != nil {
		return nil, err
	}
	m.buildOutgoing(store, b, disk)
	m.buildIncoming(store, b, len(types))
	bindings, registered := m.reloader.handlers.bind(types, registry, log)
	m.pools.replace(types, bindings)
	m.reloader.setRegistered(registered)
	m.expose(disk)
	return m, nil
}

// buildOutgoing builds the parts from a running task to the database.
func (m *Manager) buildOutgoing(store Store, b Broker, disk *spool.Spool) {
	cfg, id, log := m.cfg, m.id, m.log
	m.prompts = newPrompts(cfg.Endpoints)
	m.pools = &pools{endpoints: cfg.Endpoints, prompts: m.prompts, list: map[broker.Queue]*member{}}
	m.control = &control{
		pools: m.pools, spooling: disk != nil, shutdownTimeout: cfg.ShutdownTimeout,
		abandonAfter: cfg.AbandonAfter, log: log,
	}
	m.lease = &lease{
		store: store.Endpoints, db: m.db, log: log, manager: id, endpoints: cfg.Endpoints,
		heartbeat: cfg.Heartbeat, length: cfg.Lease, pacer: store.Pacer, term: newLeaseTerm(), beaten: signal.New(),
		registration: m.registration,
	}
	m.events = livefeed.New(b.Notify, log)
	m.telemetry = newTelemetry(store.Live, store.Database, m.db, m.events, cfg.MaxResult)
	spooler := &spooler{spool: disk, dbDown: &m.db.down, log: log, unsaved: &m.control.unsaved}
	m.completer = newCompleter(completer{
		store: store.Attempts, database: store.Database, db: m.db, spooler: spooler,
		telemetry: m.telemetry, events: m.events, notify: b.Notify, log: log, attempts: cfg.Metrics.Attempts,
	})
	m.leftovers = newLeftovers(spooler, m.completer, m.pools, m.prompts, log)
	m.runner = newRunner(runner{
		attempts: store.Attempts, results: store.Results, db: m.db, term: m.lease.term, completer: m.completer,
		telemetry: m.telemetry, events: m.events, log: log, unsaved: &m.control.unsaved,
		verifier: m.verifier, manager: id, boot: cfg.BootID, maxResult: cfg.MaxResult, abandonAfter: cfg.AbandonAfter, metrics: cfg.Metrics,
	})
}

// buildIncoming builds the parts from the broker and the database to the pools.
func (m *Manager) buildIncoming(store Store, b Broker, types int) {
	cfg, id, log := m.cfg, m.id, m.log
	m.deadLetters = newDeadLetters(log)
	m.recorder = &recorder{
		queue:   make(chan incoming, types*len(cfg.Endpoints)*cfg.Prefetch),
		holding: newHolding(maxBatch), results: store.Results, manager: id, db: m.db, events: m.events,
		deadLetters: m.deadLetters, log: log,
	}
	m.holder = newHolder(&holder{
		endpoints: cfg.Endpoints, store: store.Endpoints, database: store.Database, db: m.db, pools: m.pools, prompts: m.prompts, log: log,
	})
	m.recorder.refused = m.holder.refused
	m.adopter = &adopter{
		endpoints: store.Endpoints, work: store.Work, manager: id, boot: cfg.BootID, db: m.db,
		pools: m.pools, leftovers: m.leftovers, completer: m.completer, log: log,
	}
	m.canceler = newCanceler(&canceler{
		endpoints: cfg.Endpoints, store: store.Endpoints, broker: b, pools: m.pools, prompts: m.prompts,
		adopter: m.adopter, holder: m.holder, beat: m.lease.beaten, log: log,
	})
	stretch, count := m.lease.stretch, func(context.Context) {}
	if store.Fleet != nil {
		size := fleetsize.New(store.Fleet, store.Database.Now)
		stretch, count = size.Stretch, func(ctx context.Context) {
			if err := size.Count(ctx, cfg.CatchUp/2); err != nil {
				log.DebugContext(ctx, "could not count the endpoints", "err", err)
			}
		}
	}
	m.resync = &resync{
		results: store.Results, database: store.Database, db: m.db, pools: m.pools, adopter: m.adopter,
		recorder: m.recorder, prompts: m.prompts, holds: m.holder.wake, period: cfg.CatchUp, stretch: stretch, count: count, log: log,
	}
	m.reloader = &reloader{cfg: cfg, pools: m.pools, changed: signal.New(), log: log}
	m.registrar = &registrar{lease: m.lease, prompts: m.prompts, changed: m.reloader.changed, log: log}
	consumer := &consumer{broker: b, recorder: m.recorder, deadLetters: m.deadLetters, prefetch: cfg.Prefetch, log: log}
	m.pools.create = func(queue broker.Queue, b *binding) *member {
		prompt := m.prompts[queue.Endpoint]
		suspect := func() { m.holder.refused(queue.Endpoint); prompt.suspect.Raise() }
		p := newPool(queue, b, m.runner, store.Database.Now, suspect, m.recorder.holding.freed)
		feeder := &feeder{pool: p, work: store.Work, database: store.Database, db: m.db, log: log}
		return &member{pool: p, fill: func(ctx, taking context.Context) {
			var all sync.WaitGroup
			all.Go(func() { feeder.run(ctx, taking) })
			all.Go(func() { consumer.run(ctx, p, prompt.subscribed) })
			if store.Places != nil {
				all.Go(func() { m.newTaker(store.Places, consumer.broker, p).run(ctx) })
			}
			all.Wait()
		}}
	}
}

// newTaker returns what takes places for a pool.
func (m *Manager) newTaker(places Places, b Broker, p *pool) *taker {
	return &taker{
		pool: p, places: places, broker: b, recorder: m.recorder, db: m.db, manager: m.id,
		period: func() time.Duration { return clock.Around(m.resync.stretch(m.cfg.CatchUp)) }, log: m.log,
	}
}

// ID returns the name of this manager in its endpoints' leases, which is unique.
func (m *Manager) ID() string { return m.id }

// Reload changes the task types and how they are performed while the manager runs.
// An error means that nothing has changed.
//
// What runs goes on with its handler and its limits; what starts from now on follows
// types and registry. Handlers that are no longer in registry are closed when their
// last run has ended. If there are fewer slots than before, they are given up as runs
// end. A type that is added is registered and consumed. One that is missing is not
// consumed any more, and its tasks wait in the database until a manager performs the
// type again.
func (m *Manager) Reload(types []tasker.TaskType, registry *handlers.Registry) error {
	return m.reloader.reload(types, registry)
}

// Trust replaces the allowed signers while the manager runs. What starts from now on is
// verified with them.
func (m *Manager) Trust(allowed *signature.Allowed) { m.verifier.allowed.Store(allowed) }

// Run serves the endpoints until ctx ends, and then stops in stages: it stops
// consuming, lets handlers finish within the shutdown timeout, cancels the others
// (their results stay RUNNING, to be adopted), stores the ends, and releases the
// endpoints or removes them; see [Config.Forget]. It returns nil after such a stop, a
// [tasker.Conflict] if another live manager serves one of the endpoints, and
// [ErrLeaseLost] if another one took over.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.lease.acquire(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while it waited
		}
		return err
	}
	stopped := false
	defer func() { m.lease.leave(ctx, stopped && m.cfg.Forget) }()
	defer m.reloader.close()

	// work outlives ctx by the stop, taking does not; fatal ends both at once.
	work, fatal := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fatal(nil)
	taking, stopTaking := context.WithCancel(work)
	defer stopTaking()
	stop := context.AfterFunc(ctx, stopTaking)
	defer stop()
	var background sync.WaitGroup
	m.startBackground(work, taking, &background, fatal)
	defer background.Wait()
	defer fatal(nil)

	prepareHandlers(taking, m.pools, m.log)
	left := m.leftovers.read(ctx, m.cfg.Endpoints)
	// In the background: an end that the database does not take must not keep the
	// manager from serving.
	background.Go(func() { m.leftovers.deliver(taking, left) })
	if err := m.adopter.adopt(taking, m.cfg.Endpoints); err == nil {
		checkHandlers(m.pools, m.log)
		m.holder.look(taking)
		m.log.InfoContext(ctx, "serving", "endpoints", m.cfg.Endpoints, "task_types", m.pools.typeNames())
		if m.cfg.Ready != nil {
			m.cfg.Ready()
		}
		m.take(taking)
	} else if ctx.Err() == nil && work.Err() == nil {
		return err
	}
	// No message comes in any more, and none is in between.
	m.control.stop(work, fatal)
	switch cause := context.Cause(work); {
	case errors.Is(cause, errEndsSpooled):
		m.log.WarnContext(ctx, "stopped with results in the spool: the next manager of the endpoints stores them", "spool", m.cfg.SpoolDir)
		return nil
	case cause != nil:
		return cause
	}
	m.log.InfoContext(ctx, "stopped")
	stopped = true
	return nil
}

// startBackground starts the loops beside the taking of tasks.
func (m *Manager) startBackground(work, taking context.Context, group *sync.WaitGroup, fatal context.CancelCauseFunc) {
	group.Go(func() { m.runner.starts.Run(taking) })
	group.Go(func() { m.runner.returns.Run(work) })
	group.Go(func() { m.completer.together.Run(work) })
	group.Go(func() { m.completer.alone.Run(work) })
	group.Go(func() { m.lease.run(work, fatal, m.prompts.suspectAll) })
	group.Go(func() { m.telemetry.run(work) })
	group.Go(func() { m.events.Run(work) })
	group.Go(func() { m.canceler.run(work) })
	group.Go(func() { m.holder.run(taking) })
	group.Go(func() { m.deadLetters.run(work) })
}

// take takes, records and starts tasks until ctx ends.
func (m *Manager) take(ctx context.Context) {
	m.resync.count(ctx) // before the first period, which depends on it
	var group sync.WaitGroup
	for _, endpoint := range m.cfg.Endpoints {
		group.Go(func() { m.resync.run(ctx, endpoint) })
	}
	group.Go(func() { m.recorder.run(ctx) })
	group.Go(func() { m.registrar.run(ctx) })
	group.Go(func() { m.pools.serve(ctx) })
	group.Wait()
}

// registration returns an endpoint as it is to be registered now.
func (m *Manager) registration(endpoint string) tasker.Endpoint {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return tasker.Endpoint{
		Name: endpoint, TaskTypes: m.pools.typeNames(), Manager: m.id,
		Host: host, PID: os.Getpid(), Version: m.cfg.Version, Protocol: wire.Version, Labels: m.cfg.Labels,
	}
}
