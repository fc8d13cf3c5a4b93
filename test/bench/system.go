package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/app"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/manager"
	"github.com/taskerhq/tasker/test/internal/daemons"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// system is a whole tasker with all endpoints: in this process, or in processes of
// its own.
type system struct {
	ctx   context.Context //nolint:containedctx // canceled, with the cause, when a part ends
	stop  func() error
	url   string
	await func(ctx context.Context, taskID int64) (time.Time, error) // until all results of a task are stored
	parts *processes                                                 // nil if there are none
}

// loadConfig returns the default configuration with the servers' addresses.
func loadConfig(s *services, opts options) (config.Config, error) {
	cfg, err := config.Load(config.Options{Environ: append(s.site(opts).Database(), "TASKER_API_PORT=0")})
	if err != nil {
		return cfg, fmt.Errorf("configure: %w", err)
	}
	return cfg, nil
}

// site returns where tasker finds the servers.
func (s *services) site(opts options) *daemons.Site {
	return &daemons.Site{MySQL: s.mysql, RabbitMQ: s.rabbit, Mode: opts.mode, Slots: opts.slots, Persistent: opts.persistent}
}

// startSystem starts the API with its reconciler, and one manager that serves all
// endpoints, in this process. As in production, each has its own connections to the
// database and the broker. It waits until all endpoints consume and the API is ready.
func startSystem(ctx context.Context, s *services, opts options, endpoints int) (_ *system, err error) {
	cfg, err := loadConfig(s, opts)
	if err != nil {
		return nil, err
	}
	log := newLog(os.Stderr)
	st, err := store.Open(cfg.Store, log)
	if err != nil {
		return nil, err
	}
	b, err := rabbit.New(cfg.Rabbit, log)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	closeAll := func() error { return errors.Join(b.Close(), st.Close()) }
	if _, _, err := st.Schema.Migrate(ctx); err != nil {
		return nil, errors.Join(err, closeAll())
	}

	watched := &watchedBroker{Broker: b}
	tracker := newTracker(st.Attempts, opts.results(endpoints))
	sys := &system{await: tracker.wait}
	conf := cfg.Manager
	conf.Version = "bench"
	for i := range endpoints {
		conf.Endpoints = append(conf.Endpoints, endpointName(i))
	}
	registry, err := noop.Registry()
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	stores := manager.Store{
		Endpoints: st.Endpoints, Results: st.Inbox, Places: st.Inbox, Attempts: tracker, Work: st.Attempts, Live: st.Live,
		Database: st.DB,
	}
	m, err := manager.New(conf, stores, watched, registry, log)
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}

	life, end := context.WithCancel(ctx)
	group, groupCtx := errgroup.WithContext(life)
	sys.ctx = groupCtx
	address := make(chan string, 1)
	group.Go(func() error {
		opts := app.APIOptions{Version: "bench", Ready: func(addr string) { address <- addr }}
		return app.RunAPI(groupCtx, cfg, opts, log)
	})
	group.Go(func() error { st.KeepClock(groupCtx, 10*time.Second); return nil })
	group.Go(func() error { return m.Run(groupCtx) })
	sys.stop = sync.OnceValue(func() error {
		end()
		return errors.Join(group.Wait(), closeAll())
	})
	if err := sys.ready(address, watched, endpoints); err != nil {
		return nil, errors.Join(err, sys.stop())
	}
	return sys, nil
}

func (sys *system) ready(address <-chan string, watched *watchedBroker, endpoints int) error {
	select {
	case addr := <-address:
		sys.url = "http://" + addr
	case <-sys.ctx.Done():
		return context.Cause(sys.ctx)
	}
	ctx, cancel := context.WithTimeoutCause(sys.ctx, time.Minute, errors.New("tasker not ready within a minute"))
	defer cancel()
	if _, err := watched.ready.wait(ctx, int64(endpoints)); err != nil {
		return err
	}
	return daemons.AwaitAPI(ctx, sys.url)
}

// newLog returns a logger with production's costs (JSON, from level info),
// which prints only warnings and errors.
func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(warnings{w}, nil)) }

// warnings passes on only warnings and errors.
type warnings struct{ w io.Writer }

func (f warnings) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"level":"WARN"`)) || bytes.Contains(line, []byte(`"level":"ERROR"`)) {
		return f.w.Write(line)
	}
	return len(line), nil
}

// watchedBroker counts the registered consumers of the endpoints' own queues.
type watchedBroker struct {
	broker.Broker
	ready counter
}

func (b *watchedBroker) Consume(ctx context.Context, s broker.Subscription) error {
	ready := s.Ready
	if ready == nil { // of tasks for any endpoint, while a slot is free
		return b.Broker.Consume(ctx, s)
	}
	s.Ready = func(registered bool) {
		ready(registered)
		if registered {
			b.ready.add(1)
		}
	}
	return b.Broker.Consume(ctx, s)
}

// tracker stores the manager's attempts. It knows when the results of a task are
// stored: when FinishAttempts returns they are durable and visible to every
// GET. So measuring needs no polling.
type tracker struct {
	attempts
	results int // of a task

	mu    sync.Mutex
	tasks map[int64]*tracked
}

type attempts = store.Attempts

// tracked is a task with an ended result, or that somebody waits for.
type tracked struct {
	finished int
	notDone  int       // of the finished ones, those that failed
	at       time.Time // when the last one was stored
	complete chan struct{}
}

var errNotDone = errors.New("not DONE")

func newTracker(a store.Attempts, results int) *tracker {
	return &tracker{attempts: a, results: results, tasks: map[int64]*tracked{}}
}

// FinishAttempts stores and counts ends.
func (t *tracker) FinishAttempts(ctx context.Context, finishes []ledger.End) ([]bool, error) {
	stored, err := t.attempts.FinishAttempts(ctx, finishes)
	if err == nil {
		t.count(finishes, stored)
	}
	return stored, err
}

func (t *tracker) count(finishes []ledger.End, stored []bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, f := range finishes {
		if !stored[i] || !f.State.Finished() {
			continue
		}
		task := t.task(f.TaskID)
		task.finished++
		if f.State != tasker.ResultDone {
			task.notDone++
		}
		if task.finished == t.results {
			task.at = now
			close(task.complete)
		}
	}
}

// task returns the entry, creating it if needed. The caller holds the lock.
func (t *tracker) task(id int64) *tracked {
	task, ok := t.tasks[id]
	if !ok {
		task = &tracked{complete: make(chan struct{})}
		t.tasks[id] = task
	}
	return task
}

// wait waits until all results of a task are stored and returns that time. Call
// it once per task.
func (t *tracker) wait(ctx context.Context, id int64) (time.Time, error) {
	t.mu.Lock()
	task := t.task(id)
	t.mu.Unlock()
	select {
	case <-task.complete:
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("wait for task %d: %w", id, context.Cause(ctx))
	}
	t.mu.Lock()
	delete(t.tasks, id)
	t.mu.Unlock()
	if task.notDone > 0 {
		return task.at, fmt.Errorf("%w: %d of %d results of task %d", errNotDone, task.notDone, task.finished, id)
	}
	return task.at, nil
}
