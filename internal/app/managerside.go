package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/broker"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/backoff"
	"github.com/taskerhq/tasker/internal/x/certfile"
	"github.com/taskerhq/tasker/internal/x/clock"
	"github.com/taskerhq/tasker/manager"
)

// managerSide is what a manager works with: the database, or a gateway.
type managerSide struct {
	store  manager.Store
	broker manager.Broker
	// await waits until the store answers. It returns an error if the manager
	// cannot work with it, and nil when ctx ends.
	await func(ctx context.Context) error
	// keep keeps the store's clock until ctx ends.
	keep    func(ctx context.Context)
	close   func(ctx context.Context)
	metrics *observe.Registry
	log     *slog.Logger
}

// databaseSide returns the side of a manager that works with the database itself.
func (s services) databaseSide() managerSide {
	return managerSide{
		store: manager.Store{
			Endpoints: s.store.Endpoints, Results: s.store.Inbox, Attempts: s.store.Attempts, Work: s.store.Attempts,
			Live: s.store.Live, Database: s.store.DB, Places: s.store.Inbox, Fleet: s.store.Endpoints,
		},
		broker:  s.broker,
		await:   s.awaitSchema,
		keep:    func(ctx context.Context) { s.store.KeepClock(ctx, clockPeriod) },
		close:   s.close,
		metrics: s.metrics,
		log:     s.log,
	}
}

// gatewayBroker is the broker of a manager in gateway mode: the gateway publishes
// the events, and the hints to managers come from the broker.
type gatewayBroker struct {
	broker.Consumer
	broker.Control
	*gateway.Client
}

// gatewaySide returns the side of a manager that works over a gateway.
func gatewaySide(
	c *gateway.Client, b broker.Broker, endpoints []string, taskType string, metrics *observe.Registry, log *slog.Logger,
) managerSide {
	return managerSide{
		store: manager.Store{
			Endpoints: c.Endpoints, Results: c.Results, Attempts: c.Attempts, Work: c.Work, Live: c.Live, Database: c.Database,
			Places: c.Results, Pacer: c, Gateway: true,
		},
		broker: gatewayBroker{b, b, c},
		await:  func(ctx context.Context) error { return awaitGateway(ctx, c, endpoints, taskType, log) },
		keep:   func(ctx context.Context) { <-ctx.Done() }, // each answer has the time
		close: func(ctx context.Context) {
			c.Close()
			if err := b.Close(); err != nil {
				log.WarnContext(ctx, "close broker failed", "err", err)
			}
		},
		metrics: metrics,
		log:     log,
	}
}

// openManager prepares what a manager works with, as configured.
func openManager(cfg config.Config, endpoints []string, version string, log *slog.Logger) (managerSide, error) {
	if cfg.ManagerMode != config.ModeGateway {
		s, err := open(cfg, "tasker manager", version, log)
		if err != nil {
			return managerSide{}, err
		}
		return s.databaseSide(), nil
	}
	c, err := newGatewayClient(cfg, endpoints)
	if err != nil {
		return managerSide{}, err
	}
	b, err := openBroker(cfg, "tasker manager", log)
	if err != nil {
		return managerSide{}, err
	}
	return gatewaySide(c, b, endpoints, cfg.TaskTypes[0].Name, observe.NewRegistry(version), log), nil
}

// newGatewayClient returns a client of the configured gateway.
func newGatewayClient(cfg config.Config, endpoints []string) (*gateway.Client, error) {
	if err := cfg.CheckEndpoints(endpoints); err != nil {
		return nil, err
	}
	conf := gateway.ClientConfig{
		Addresses: cfg.GatewayClient.Addresses, Tokens: map[string]gateway.Token{}, Heartbeat: cfg.Manager.Heartbeat,
	}
	var err error
	if conf.TLS, err = gatewayClientTLS(cfg); err != nil {
		return nil, err
	}
	for _, name := range endpoints {
		conf.Tokens[name] = func() (string, error) { return cfg.GatewayClient.Token(name) }
	}
	return gateway.NewClient(conf)
}

// gatewayClientTLS returns the configuration of connections to the gateway.
func gatewayClientTLS(cfg config.Config) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if file := cfg.GatewayClient.CAFile; file != "" {
		pool, err := certfile.Pool(file)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of the gateway's certificate: %w", err)
		}
		conf.RootCAs = pool
	}
	return conf, nil
}

// awaitGateway waits until the gateway answers, for each of the endpoints. It
// returns an error if the gateway refuses one, such as one with a wrong token, and
// nil when ctx ends.
func awaitGateway(ctx context.Context, c *gateway.Client, endpoints []string, taskType string, log *slog.Logger) error {
	pause := backoff.Backoff{First: 250 * time.Millisecond, Most: 5 * time.Second}
	warned := false
	for _, name := range endpoints {
		for {
			err := probeGateway(ctx, c, name, taskType)
			if err == nil || ctx.Err() != nil {
				break
			}
			if code := tasker.CodeOf(err); code != tasker.Unavailable && code != tasker.Overloaded && code != tasker.Internal {
				return fmt.Errorf("the gateway refuses endpoint %s: %w", name, err)
			}
			if !warned {
				log.WarnContext(ctx, "waiting for the gateway", "endpoint", name, "err", err)
				warned = true
			}
			if clock.Sleep(ctx, pause.Next()) != nil {
				return nil
			}
		}
	}
	if warned && ctx.Err() == nil {
		log.InfoContext(ctx, "gateway reachable")
	}
	return nil
}
