package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/config"
	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/identity"
	"github.com/taskerhq/tasker/internal/x/certfile"
	"github.com/taskerhq/tasker/internal/x/netlimit"
)

// RunGateway serves the gateway, without the API, until ctx ends. An address in
// use, and a schema of another version, are errors; services that cannot be reached
// are not.
func RunGateway(ctx context.Context, cfg config.Config, opts GatewayOptions, log *slog.Logger) error {
	defer logState(ctx, log)()
	if cfg.Gateway.Listen == "" {
		return tasker.Errorf(tasker.Invalid, "missing gateway.listen: set it, or %s, to an address such as %s",
			config.EnvName("gateway.listen"), config.DefaultGatewayListen)
	}
	s, err := open(cfg, "tasker gateway", opts.Version, log)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return reloading(ctx, newReloader(opts.Reload, cfg, log), func(ctx context.Context, _ *reloader) error {
		g, err := s.listenGateway(ctx, cfg, opts.Version)
		if err != nil {
			return err
		}
		if opts.Ready != nil {
			opts.Ready(g.addr())
		}
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return g.serve(ctx) })
		group.Go(func() error { s.store.KeepClock(ctx, clockPeriod); return nil })
		group.Go(func() error {
			if err := s.awaitSchema(ctx); err != nil {
				return err
			}
			_ = s.broker.Ready() // starts to connect
			return nil
		})
		return group.Wait()
	})
}

// gatewayShutdown bounds how long requests may go on when a gateway stops.
const gatewayShutdown = 15 * time.Second

// gatewayRole is a gateway that listens.
type gatewayRole struct {
	server   *gateway.Server
	auth     *identity.Authenticator
	http     *http.Server
	listener net.Listener
	log      *slog.Logger
}

// listenGateway makes the gateway and opens its address.
func (s services) listenGateway(ctx context.Context, cfg config.Config, version string) (*gatewayRole, error) {
	conf, err := s.gatewayTLS(cfg.Gateway)
	if err != nil {
		return nil, err
	}
	tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Gateway.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for endpoints (gateway.listen): %w", err)
	}
	g := &gatewayRole{auth: identity.New(s.store.Tokens, s.log), log: s.log}
	g.server = gateway.NewServer(cfg.Gateway.Limits, s.gatewayStores(), g.auth, s.broker, s.log)
	g.listener = netlimit.New(tcp, cfg.Gateway.MaxConnections, cfg.Gateway.MaxConnectionsPerAddress, s.log)
	probes := &probes{database: s.store.DB, broker: s.broker, version: version, log: s.log}
	g.http = g.server.HTTPServer()
	mux := http.NewServeMux()
	mux.Handle(protocol.Prefix, g.http.Handler)
	mux.HandleFunc("GET /healthz", probes.alive)
	mux.HandleFunc("GET /readyz", probes.ready)
	g.http.Handler, g.http.TLSConfig = mux, conf
	return g, nil
}

// gatewayStores returns what a gateway needs of the database.
func (s services) gatewayStores() gateway.Stores {
	return gateway.Stores{
		Endpoints: s.store.Endpoints, Results: s.store.Inbox, Attempts: s.store.Attempts, Work: s.store.Attempts,
		Live: s.store.Live, Database: s.store.DB,
	}
}

// gatewayTLS returns the configuration with the gateway's certificate, which is
// read again when it changes; nil for clear text.
func (s services) gatewayTLS(conf config.GatewayServer) (*tls.Config, error) {
	if conf.CertFile == "" {
		return nil, nil
	}
	server, err := certfile.ServerConfig(certfile.Files{Cert: conf.CertFile, Key: conf.KeyFile}, s.log)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's certificate: %w", err)
	}
	return server, nil
}

// addr returns the address on which the gateway listens.
func (g *gatewayRole) addr() string { return g.listener.Addr().String() }

// close releases the address of a gateway that does not serve.
func (g *gatewayRole) close() { _ = g.listener.Close() }

// serve serves endpoints until ctx ends, and then lets their requests finish.
func (g *gatewayRole) serve(ctx context.Context) error {
	defer g.auth.Close()
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { g.server.Run(writing); return nil })
	group.Go(func() error {
		defer stop()
		return g.serveHTTP(ctx)
	})
	return group.Wait()
}

// serveHTTP accepts connections until ctx ends, and returns when the last request
// has been answered.
func (g *gatewayRole) serveHTTP(ctx context.Context) error {
	g.log.InfoContext(ctx, "gateway listening", "address", g.addr(), "tls", g.http.TLSConfig != nil)
	ended := make(chan error, 1)
	go func() {
		if g.http.TLSConfig != nil {
			ended <- g.http.ServeTLS(g.listener, "", "")
			return
		}
		ended <- g.http.Serve(g.listener)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve endpoints: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), gatewayShutdown)
	defer cancel()
	if err := g.http.Shutdown(limit); err != nil {
		g.log.WarnContext(ctx, "gateway stopped with requests in progress: their endpoints ask again", "err", err)
		_ = g.http.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve endpoints: %w", err)
	}
	return nil
}
