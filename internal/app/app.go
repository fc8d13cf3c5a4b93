// Package app wires the roles of the tasker command: the API with its reconciler, a
// manager, both in one process for development, and the initialization of the
// services. Each role is a function that runs until its context ends; it closes
// last what it opened first.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/api"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/cancel"
	"github.com/taskerhq/tasker/internal/conductor"
	"github.com/taskerhq/tasker/internal/dispatch"
	"github.com/taskerhq/tasker/internal/hold"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/reconcile"
	"github.com/taskerhq/tasker/internal/removal"
	"github.com/taskerhq/tasker/internal/rounds"
	"github.com/taskerhq/tasker/internal/scheduler"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/manager"
)

// clockPeriod is how often the database's time is read.
const clockPeriod = 10 * time.Second

// services are what every role uses.
type services struct {
	store   *store.Store
	broker  broker.Broker
	metrics *observe.Registry
	log     *slog.Logger
}

// newServices returns services with a registry that has the metrics of the process.
func newServices(st *store.Store, b broker.Broker, version string, log *slog.Logger) services {
	metrics := observe.NewRegistry(version)
	observe.Pool(metrics, st.Pool(), "tasker")
	ended := observe.NewStoreMetrics(metrics).TasksEnded
	st.OnEnded(func(taskType string, status tasker.TaskStatus, tasks int) { ended.Add(tasks, taskType, string(status)) })
	return services{st, b, metrics, log}
}

// open prepares the configured services. It does not wait for them: a role starts
// without them and works as soon as they can be reached.
func open(cfg config.Config, name, version string, log *slog.Logger) (services, error) {
	database := cfg.Store
	database.SeenWithin = cfg.Rabbit.QueueExpires
	s, err := store.Open(database, log)
	if err != nil {
		return services{}, err
	}
	b, err := openBroker(cfg, name, log)
	if err != nil {
		_ = s.Close()
		return services{}, err
	}
	return newServices(s, b, version, log), nil
}

// openBroker prepares the configured RabbitMQ. It does not connect.
func openBroker(cfg config.Config, name string, log *slog.Logger) (broker.Broker, error) {
	conf := cfg.Rabbit
	conf.ConnectionName = name
	// A message's payload is at most a request's body, but longer if characters are
	// escaped.
	conf.MaxBody = max(rabbit.DefaultMaxBody, 8*int(cfg.API.MaxBody))
	return rabbit.New(conf, log)
}

func (s services) close(ctx context.Context) {
	if err := s.broker.Close(); err != nil {
		s.log.WarnContext(ctx, "close broker failed", "err", err)
	}
	if err := s.store.Close(); err != nil {
		s.log.WarnContext(ctx, "close database failed", "err", err)
	}
}

// RunAPI runs the API and the reconciler until ctx ends, and then stops them
// gracefully. An address in use, and a schema of another version, are errors;
// services that cannot be reached are not.
func RunAPI(ctx context.Context, cfg config.Config, opts APIOptions, log *slog.Logger) error {
	defer logState(ctx, log)()
	s, err := open(cfg, "tasker api", opts.Version, log)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return reloading(ctx, newReloader(opts.Reload, cfg, log), func(ctx context.Context, r *reloader) error {
		return s.runAPI(ctx, cfg, r, opts.Version, opts.Ready)
	})
}

// reloading runs roles, and a reloader for as long as they run.
func reloading(ctx context.Context, r *reloader, roles func(context.Context, *reloader) error) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { r.run(watching); return nil })
	group.Go(func() error { defer stop(); return roles(ctx, r) })
	return group.Wait()
}

// reloadAPI changes what a running API takes from its configuration.
func reloadAPI(next config.Config, server *api.Server, reconciler *reconcile.Reconciler) error {
	reconciler.SetRetention(next.Reconcile.Retention)
	reconciler.SetAttempts(next.Reconcile.Attempts)
	reconciler.SetTaskTypes(next.TaskTypeNames())
	server.SetToken(next.API.Token)
	server.SetAccess(next.API.Access)
	return server.SetTaskTypes(next.TaskTypes)
}

func (s services) runAPI(ctx context.Context, cfg config.Config, r *reloader, version string, ready func(addr string)) error {
	sending := dispatch.Config{
		Timeout: cfg.PublishTimeout, SeenWithin: cfg.Rabbit.QueueExpires, MaxPayload: cfg.MessagePayload,
		Metrics: observe.NewDispatchMetrics(s.metrics),
	}
	publisher := observe.NewBrokerMetrics(s.metrics).Publisher(s.broker)
	taking := s.startIntake(ctx)
	defer taking.stop()
	dispatcher := dispatch.New(sending, taking.outbox(), publisher, s.log)
	defer dispatcher.Close()
	remover := removal.New(s.store.Removals, s.broker, s.log)
	requeuer := dispatch.NewRequeuer(sending, s.store.DeadLetters, publisher)
	conducting := s.newConductor(cfg, dispatcher)
	reconciler := s.newReconciler(cfg, dispatcher, conducting)
	schedules := s.newScheduler(reconciler)
	server, err := s.newAPI(cfg, version, taking.tasks(), dispatcher, reconciler, schedules, requeuer, remover, conducting)
	if err != nil {
		return err
	}
	if err := server.Listen(); err != nil {
		return err
	}
	var endpoints *gatewayRole
	if cfg.Gateway.Listen != "" {
		if endpoints, err = s.listenGateway(ctx, cfg, version); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	err = r.join(ctx, func(_, next config.Config) (func(context.Context) error, error) {
		return func(context.Context) error { return reloadAPI(next, server, reconciler) }, nil
	})
	if err != nil {
		if endpoints != nil {
			endpoints.close()
		}
		return errors.Join(err, server.Close())
	}
	if ready != nil {
		ready(server.Addr())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx) })
	if endpoints != nil {
		group.Go(func() error { return endpoints.serve(ctx) })
	}
	group.Go(func() error { s.store.KeepClock(ctx, clockPeriod); return nil })
	group.Go(func() error {
		if err := s.awaitSchema(ctx); err != nil {
			return err
		}
		// Start to connect, so that the first POST finds the broker ready.
		_ = s.broker.Ready()
		var jobs sync.WaitGroup
		jobs.Go(func() { remover.Run(ctx) })
		reconciler.Run(ctx)
		jobs.Wait()
		return nil
	})
	return group.Wait()
}

// newScheduler returns a scheduler that the reconciler runs. The API that makes its
// tasks is still missing.
func (s services) newScheduler(reconciler *reconcile.Reconciler) *scheduler.Scheduler {
	schedules := scheduler.New(scheduler.Config{
		Store: s.store.Schedules, Starter: reconciler, Canceler: cancel.New(s.store.Cancels, s.broker, s.log),
		Metrics: observe.NewScheduleMetrics(s.metrics), Log: s.log,
	})
	reconciler.AddLoop("schedules", scheduler.Period, schedules.RunOnce, schedules.Pause)
	return schedules
}

// newAPI returns the server of the API, which does not listen yet. It makes the tasks of
// the schedules.
func (s services) newAPI(cfg config.Config, version string, tasks api.TaskStore, dispatcher *dispatch.Dispatcher,
	starter api.Starter, schedules *scheduler.Scheduler, requeuer *dispatch.Requeuer, remover *removal.Remover,
	conducting *conductor.Conductor,
) (*api.Server, error) {
	conf := cfg.API
	conf.TaskTypes, conf.Version = cfg.TaskTypes, version
	metrics := observe.NewAPIMetrics(s.metrics)
	server, err := api.New(conf, api.Deps{
		Tasks: tasks, Statuses: s.store.Statuses, Results: s.store.Results, Live: s.store.Live, Endpoints: s.store.Endpoints,
		Tokens: s.store.Tokens, DeadLetters: s.store.DeadLetters, Database: s.store.DB,
		Dispatcher: dispatcher, Starter: starter, Requeuer: requeuer, Remover: remover,
		Canceler: cancel.New(s.store.Cancels, s.broker, s.log), Retrier: rounds.New(s.store.Rounds, s.broker, s.log),
		Holder: hold.New(s.store.Holds, s.broker, starter.Expect, s.log), Holds: s.store.Holds,
		Schedules: s.store.Schedules, Scheduler: schedules, Conductor: conducting, Rollouts: s.store.Rollouts,
		Broker: s.broker, Log: s.log, Exposition: observe.Handler(s.metrics), Metrics: metrics,
	})
	schedules.Tasks, schedules.Created = server, metrics.TasksCreated
	return server, err
}

func (s services) newConductor(cfg config.Config, dispatcher *dispatch.Dispatcher) *conductor.Conductor {
	return conductor.New(conductor.Deps{
		Store: s.store.Rollouts, Statuses: s.store.Statuses, Sender: dispatcher, Broker: s.broker,
		Metrics: observe.NewRolloutMetrics(s.metrics), Log: s.log,
	}, cfg.Reconcile.WaitForEndpoints)
}

func (s services) newReconciler(cfg config.Config, dispatcher *dispatch.Dispatcher, conducting *conductor.Conductor) *reconcile.Reconciler {
	conf := cfg.Reconcile
	conf.TaskTypes, conf.Metrics = cfg.TaskTypeNames(), observe.NewReconcileMetrics(s.metrics)
	return reconcile.New(conf, reconcile.Store{
		Leases: s.store.Leases, Schedule: s.store.Schedule, Endpoints: s.store.Endpoints, Expired: s.store.Expiry,
		Unsent: s.store.Outbox, Statuses: s.store.Statuses, Lost: s.store.Endpoints,
		Retention: s.store.Retention, DeadLetters: s.store.DeadLetters, Census: s.store.Inspection,
		Rollouts: s.store.Rollouts, Conductor: conducting,
		// The starter looks once a second.
		Holds: hold.New(s.store.Holds, s.broker, func(time.Time) {}, s.log),
	}, s.broker, dispatcher, s.log)
}

// RunManager serves the endpoints, with the configured handlers, until ctx
// ends; see [manager.Manager.Run].
func RunManager(ctx context.Context, cfg config.Config, opts ManagerOptions, log *slog.Logger) error {
	registry, err := cfg.Handlers(opts.TaskTypes)
	if err != nil {
		return err
	}
	return runManager(ctx, cfg, registry, config.Config.HandlersAfter, opts, log)
}

// RunManagerWith is [RunManager] with the caller's handlers, which a reload does not
// replace.
func RunManagerWith(ctx context.Context, cfg config.Config, registry *handlers.Registry, opts ManagerOptions, log *slog.Logger) error {
	return runManager(ctx, cfg, registry, keep, opts, log)
}

// renewal returns the handlers of a configuration that replaces another one, whose
// handlers are in registry.
type renewal func(next, before config.Config, registry *handlers.Registry, taskTypes []string) (*handlers.Registry, error)

func keep(_, _ config.Config, registry *handlers.Registry, _ []string) (*handlers.Registry, error) {
	return registry, nil
}

func runManager(ctx context.Context, cfg config.Config, registry *handlers.Registry, renew renewal, opts ManagerOptions,
	log *slog.Logger,
) error {
	defer logState(ctx, log)()
	side, err := openManager(cfg, opts.Endpoints, opts.Version, log)
	if err != nil {
		return err
	}
	defer side.close(ctx)
	return reloading(ctx, newReloader(opts.Reload, cfg, log), func(ctx context.Context, r *reloader) error {
		return side.run(ctx, cfg, r, registry, renew, opts)
	})
}

// run runs a manager until ctx ends.
func (s managerSide) run(ctx context.Context, cfg config.Config, r *reloader, registry *handlers.Registry, renew renewal,
	opts ManagerOptions,
) error {
	conf := cfg.Manager
	var err error
	if conf.TaskTypes, err = cfg.Choose(opts.TaskTypes); err != nil {
		return err
	}
	conf.Endpoints, conf.Version, conf.Forget = opts.Endpoints, opts.Version, opts.Forget
	conf.Ready, conf.Metrics = opts.Ready, observe.NewManagerMetrics(s.metrics)
	m, err := manager.New(conf, s.store, s.broker, registry, s.log)
	if err != nil {
		return err
	}
	if err := s.await(ctx); err != nil {
		return err
	}
	err = r.join(ctx, func(before, next config.Config) (func(context.Context) error, error) {
		types, err := next.Choose(opts.TaskTypes)
		if err != nil {
			return nil, err
		}
		renewed, err := renew(next, before, registry, opts.TaskTypes)
		if err != nil {
			return nil, err
		}
		return func(context.Context) error {
			difference := before.Diff(next)
			if difference.Signers {
				m.Trust(next.Manager.Allowed)
			}
			if !difference.TaskTypes() {
				return nil
			}
			if err := m.Reload(types, renewed); err != nil {
				return err
			}
			registry = renewed
			return nil
		}, nil
	})
	if err != nil {
		return err
	}
	clock, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, _ := errgroup.WithContext(clock)
	group.Go(func() error { s.keep(clock); return nil })
	group.Go(func() error { observe.Serve(clock, cfg.ManagerMetrics, s.metrics, s.log); return nil })
	group.Go(func() error { defer stop(); return m.Run(ctx) }) // the clock runs until the last result is stored
	return group.Wait()
}

// awaitSchema waits until the database answers. It returns an error if the schema is
// not the one that this program needs, or if the server does not let tasker set up
// sessions, and nil when ctx ends.
func (s services) awaitSchema(ctx context.Context) error {
	for warned := false; ; {
		err := s.store.Schema.CheckSchema(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if warned {
				s.log.InfoContext(ctx, "database reachable")
			}
			return nil
		case tasker.CodeOf(err) != tasker.Unavailable, errors.As(err, new(*store.SessionError)):
			return fmt.Errorf("check the database: %w", err)
		case !warned:
			s.log.WarnContext(ctx, "waiting for the database", "err", err)
			warned = true
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
