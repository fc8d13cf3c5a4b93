package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/broker/rabbit"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/store"
	"github.com/taskerhq/tasker/manager"
	"github.com/taskerhq/tasker/test/internal/noop"
)

// simulateCommand is the first argument of a simulator.
const simulateCommand = "simulate"

// perConnection is the number of endpoints that share a connection for consuming: a
// connection has 2,047 channels at most.
const perConnection = 1000

// status is what a simulator tells its parent, a line of JSON each time it changes.
type status struct {
	Consuming int    `json:"consuming"` // endpoints
	Failed    string `json:"failed,omitempty"`
}

// simulator makes this process one that plays endpoints first to last-1, and ends it,
// if its arguments say so: simulate FIRST LAST PER-MANAGER.
func simulator() {
	if len(os.Args) < 2 || os.Args[1] != simulateCommand {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	profiled := noop.Profile()
	err := simulate(ctx, os.Args[2:], os.Stdout)
	profiled()
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func simulate(ctx context.Context, args []string, out io.Writer) error {
	var numbers [3]int // first, last, perManager
	if len(args) != len(numbers) {
		return errors.New("needs three numbers")
	}
	for i, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	var names []string
	for i := numbers[0]; i < numbers[1]; i++ {
		names = append(names, endpointName(i))
	}
	cfg, err := config.Load(config.Options{Environ: os.Environ()})
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := openSimulation(cfg, log)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { s.keep(life) })
	background.Go(func() { s.tell(life, out) })
	err = s.run(ctx, names, numbers[2])
	end()
	background.Wait()
	return errors.Join(err, s.close())
}

func endpointName(i int) string { return fmt.Sprintf("fleet%05d", i) }

// simulation is what the managers of a simulator share: the connections to the
// database, unless they work over a gateway, and those to RabbitMQ for each thousand
// endpoints.
type simulation struct {
	cfg       config.Config
	log       *slog.Logger
	store     *store.Store // nil over a gateway
	clients   []*gateway.Client
	brokers   []broker.Broker
	consuming atomic.Int64
}

func openSimulation(cfg config.Config, log *slog.Logger) (*simulation, error) {
	s := &simulation{cfg: cfg, log: log}
	if cfg.ManagerMode == config.ModeGateway {
		return s, nil
	}
	var err error
	s.store, err = store.Open(cfg.Store, log)
	return s, err
}

// keep does what every tasker process does beside its managers.
func (s *simulation) keep(ctx context.Context) {
	if s.store != nil {
		s.store.KeepClock(ctx, 10*time.Second)
	}
}

// side returns what a manager of the endpoints works with: the database or the gateway,
// and the broker.
func (s *simulation) side(endpoints []string, b *watchedBroker) (manager.Store, manager.Broker, error) {
	if s.store != nil {
		return manager.Store{
			Endpoints: s.store.Endpoints, Results: s.store.Inbox, Attempts: s.store.Attempts, Work: s.store.Attempts,
			Live: s.store.Live, Database: s.store.DB, Fleet: s.store.Endpoints,
		}, b, nil
	}
	conf := gateway.ClientConfig{
		Addresses: s.cfg.GatewayClient.Addresses, Tokens: map[string]gateway.Token{}, Heartbeat: s.cfg.Manager.Heartbeat,
	}
	for _, name := range endpoints {
		conf.Tokens[name] = func() (string, error) { return s.cfg.GatewayClient.Token(name) }
	}
	c, err := gateway.NewClient(conf)
	if err != nil {
		return manager.Store{}, nil, err
	}
	s.clients = append(s.clients, c)
	return manager.Store{
		Endpoints: c.Endpoints, Results: c.Results, Attempts: c.Attempts, Work: c.Work, Live: c.Live, Database: c.Database, Pacer: c,
	}, quietBroker{b, b, c}, nil
}

// quietBroker is the broker of a manager over a gateway, which publishes the events.
type quietBroker struct {
	broker.Consumer
	broker.Control
	*gateway.Client
}

func (s *simulation) close() error {
	var errs []error
	for _, b := range s.brokers {
		errs = append(errs, b.Close())
	}
	for _, c := range s.clients {
		c.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// run serves the endpoints until ctx ends, perManager by each manager.
func (s *simulation) run(ctx context.Context, names []string, perManager int) error {
	group, ctx := errgroup.WithContext(ctx)
	for part := range slices.Chunk(names, perConnection) {
		conf := s.cfg.Rabbit
		conf.ConnectionName = "simulator"
		b, err := rabbit.New(conf, s.log)
		if err != nil {
			return err
		}
		s.brokers = append(s.brokers, b)
		watched := &watchedBroker{Broker: b, consuming: &s.consuming}
		for endpoints := range slices.Chunk(part, perManager) {
			m, err := s.manager(endpoints, watched)
			if err != nil {
				return err
			}
			group.Go(func() error { return m.Run(ctx) })
		}
	}
	return group.Wait()
}

func (s *simulation) manager(endpoints []string, b *watchedBroker) (*manager.Manager, error) {
	registry, err := noop.Registry()
	if err != nil {
		return nil, err
	}
	stores, own, err := s.side(endpoints, b)
	if err != nil {
		return nil, err
	}
	conf := s.cfg.Manager
	conf.TaskTypes, conf.Endpoints, conf.Version = s.cfg.TaskTypes, endpoints, "fleet"
	return manager.New(conf, stores, own, registry, s.log)
}

// tell writes the status when it changes, at most ten times a second.
func (s *simulation) tell(ctx context.Context, out io.Writer) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	encoder := json.NewEncoder(out)
	for last := int64(-1); ; {
		if now := s.consuming.Load(); now != last {
			last = now
			if err := encoder.Encode(status{Consuming: int(now)}); err != nil {
				return // the parent is gone
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchedBroker counts the registered consumers.
type watchedBroker struct {
	broker.Broker
	consuming *atomic.Int64
}

func (b *watchedBroker) Consume(ctx context.Context, s broker.Subscription) error {
	ready, was := s.Ready, false
	s.Ready = func(registered bool) {
		ready(registered)
		if registered != was {
			was = registered
			b.consuming.Add(map[bool]int64{true: 1, false: -1}[registered])
		}
	}
	return b.Broker.Consume(ctx, s)
}
