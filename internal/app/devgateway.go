package app

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/identity"
)

// memoryTokens are the endpoints by their tokens, which last as long as the
// process.
type memoryTokens map[string]string

// Endpoint implements [gateway.Authenticator].
func (m memoryTokens) Endpoint(_ context.Context, token string) (string, error) {
	name, ok := m[token]
	if !ok {
		return "", tasker.Errorf(tasker.Unauthorized, "unknown token: this gateway serves its own process only")
	}
	return name, nil
}

// runDevManager runs the manager of the development process: over the gateway, as
// those of a fleet, but for the network.
func (s services) runDevManager(ctx context.Context, cfg config.Config, r *reloader, registry *handlers.Registry, opts ManagerOptions,
) error {
	known, sources := memoryTokens{}, map[string]gateway.Token{}
	for _, name := range opts.Endpoints {
		token := identity.NewToken()
		known[token], sources[name] = name, func() (string, error) { return token, nil }
	}
	limits := cfg.Gateway.Limits
	limits.Heartbeat = cfg.Manager.Heartbeat
	server := gateway.NewServer(limits, s.gatewayStores(), known, s.broker, s.log)
	c, err := gateway.NewClient(gateway.ClientConfig{
		Addresses: []string{gateway.InProcessAddress}, Tokens: sources, Transport: gateway.InProcess(server.Handler()),
		Heartbeat: cfg.Manager.Heartbeat,
	})
	if err != nil {
		return err
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { server.Run(writing); return nil })
	group.Go(func() error {
		defer stop() // after the manager's last write
		side := gatewaySide(c, s.broker, opts.Endpoints, cfg.TaskTypes[0].Name, s.metrics, s.log)
		return side.run(ctx, cfg, r, registry, config.Config.HandlersAfter, opts)
	})
	return group.Wait()
}
