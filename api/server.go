// Package api is the HTTP server of tasker: it accepts tasks, hands them to the
// broker, and reports what became of them. The contract is openapi.yaml, served
// at /openapi.yaml; the tests check every response against it.
//
// The routes are one table, in routes.go. Each kind of thing that they serve has
// a file with its handlers, which hold what they need of the store and no
// reference to the [Server].
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/access"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/netlimit"
)

// Limits of the server. They bound what a slow or hostile client can hold.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	// requestTimeout ends the context of a request before writeTimeout closes
	// its connection, so that a hanging database is answered with 503.
	requestTimeout = 30 * time.Second
)

// Deps are what the API works with; all but Metrics are required. The errors of the stores
// are [tasker.Error]s; a database that cannot be reached is [tasker.Unavailable].
type Deps struct {
	Tasks       TaskStore
	Statuses    StatusStore
	Results     ResultStore
	Live        LiveStore
	Endpoints   EndpointStore
	Tokens      TokenStore
	DeadLetters DeadLetterStore
	Database    Database
	Dispatcher  Dispatcher
	Starter     Starter
	Requeuer    Requeuer
	Remover     Remover
	Canceler    Canceler
	Holder      Holder
	Holds       HoldStore
	Retrier     Retrier
	Schedules   ScheduleStore
	Scheduler   Scheduler
	Conductor   Conductor
	Rollouts    RolloutStore
	Broker      Broker
	Log         *slog.Logger
	// Exposition serves the metrics. Metrics may be left out: then nothing is
	// counted here.
	Exposition http.Handler
	Metrics    observe.APIMetrics
}

func (d Deps) complete() bool {
	return d.Log != nil && !slices.Contains([]any{
		d.Tasks, d.Statuses, d.Results, d.Live, d.Endpoints, d.Tokens, d.DeadLetters, d.Database, d.Dispatcher, d.Starter, d.Requeuer,
		d.Remover, d.Canceler, d.Retrier, d.Holder, d.Holds, d.Schedules, d.Scheduler, d.Conductor, d.Rollouts, d.Broker,
		d.Exposition,
	}, nil)
}

// Server is the HTTP server. Create one with [New].
type Server struct {
	cfg     Config
	log     *slog.Logger
	auth    Authenticator
	types   *taskTypes
	limits  *limits
	streams *streams
	router  *router
	// refusals are counted until the server ends.
	refusals *refusals
	// scheduled makes the tasks of schedules.
	scheduled scheduledTasks
	handler   http.Handler
	http      *http.Server
	listener  net.Listener
}

// New returns a server with a valid configuration; it does not listen yet.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !deps.complete() {
		return nil, errors.New("api: a field of Deps is missing")
	}
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, log: deps.Log, auth: newAuthenticator(cfg),
		types: &taskTypes{maxBody: cfg.MaxBody}, limits: newLimits(cfg),
		streams: newStreams(cfg.MaxStreams, cfg.MaxStreamsPerAddress, newHub(deps.Broker, deps.Live, deps.Log), deps.Log),
	}
	s.streams.open = deps.Metrics.StreamsOpen
	if err := s.types.replace(cfg.TaskTypes); err != nil {
		return nil, err
	}
	s.scheduled = scheduledTasks{s.types, deps.Dispatcher}
	problems := problems{deps.Log}
	s.router = &router{
		problems: problems, types: s.types, rights: newRights(deps, s.types),
		routes: routes(cfg, deps, s.types, s.limits, s.streams),
	}
	around := newMiddleware(cfg, s.auth, problems, s.router.open(), deps.Metrics)
	s.refusals = around.refusals
	s.handler = around.wrap(s.router.handler())
	if cfg.UI {
		s.handler = around.withUI(s.handler)
	}
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          errorLog(deps.Log),
		// "OPTIONS *" would otherwise be answered without authentication.
		DisableGeneralOptionsHandler: true,
	}
	// Streams do not end by themselves: they would hold up the shutdown.
	s.http.RegisterOnShutdown(s.streams.stop)
	return s, nil
}

// Handler returns the whole API, with its middleware and the dashboard.
func (s *Server) Handler() http.Handler { return s.handler }

// SetTaskTypes replaces the task types after the configuration was read again.
// Requests that begin afterwards see the new ones, those in progress keep the
// old. On an error, which names the broken rule, nothing changes.
func (s *Server) SetTaskTypes(types []tasker.TaskType) error { return s.types.replace(types) }

// SetToken replaces the token; the previous one stays valid for
// Config.TokenOverlap. An empty token is ignored, and so is any token on a server
// that started without one: both need a restart.
func (s *Server) SetToken(token string) {
	if c, ok := s.auth.(*credentials); ok && c.single != nil && token != "" {
		c.single.set(token)
	}
}

// SetAccess replaces the access file. What it says counts for requests that begin
// afterwards, and streams of principals of the previous one end, so that their clients come
// again. Nil is ignored, and so is any on a server that started without authentication: both
// need a restart.
func (s *Server) SetAccess(policy *access.Policy) {
	if c, ok := s.auth.(*credentials); ok {
		c.setPolicy(policy)
	}
}

// Listen opens the listener, so that an address in use, or a certificate that cannot
// be used, is reported before anything else starts. Requests wait until [Server.Serve]
// runs.
func (s *Server) Listen() error {
	if err := s.useTLS(); err != nil {
		return err
	}
	address := s.cfg.address()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("api: listen on %s (api.listen, api.port): %w", address, err)
	}
	if s.cfg.guardsHost() && !listensOnLoopback(l) {
		_ = l.Close()
		return fmt.Errorf("api: %q resolves to %s, which other hosts can reach, and no token protects it: set api.token_file or "+
			"api.access_file, or set api.listen to 127.0.0.1", s.cfg.Listen, l.Addr())
	}
	s.listener = netlimit.New(l, s.cfg.MaxConnections, s.cfg.MaxConnectionsPerAddress, s.log)
	return nil
}

// listensOnLoopback reports whether the address that a name such as localhost
// resolved to is a loopback address.
func listensOnLoopback(l net.Listener) bool {
	addr, ok := l.Addr().(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// Addr returns the address of the listener, host:port, with the actual port; it
// is empty before [Server.Listen].
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Close closes the listener of a server that will not serve. To stop one that
// serves, cancel the context of [Server.Serve].
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("api: close the listener: %w", err)
	}
	return nil
}

// Serve serves requests until ctx ends, and calls [Server.Listen] first if that
// was not done. Then it accepts no more, ends the event streams, and waits for
// requests in progress up to Config.ShutdownTimeout; it returns an error if some
// had to be aborted. A server serves once.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	s.log.InfoContext(ctx, "api listening", "address", s.Addr(), "tls", s.cfg.TLS.On())
	served := make(chan error, 1)
	go func() {
		if s.cfg.TLS.On() {
			served <- s.http.ServeTLS(s.listener, "", "")
			return
		}
		served <- s.http.Serve(s.listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("api: serve on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(limit)
	if err != nil {
		err = fmt.Errorf("api: requests still running after %s were aborted: %w", s.cfg.ShutdownTimeout, errors.Join(err, s.http.Close()))
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("api: serve on %s: %w", s.Addr(), end))
	}
	s.refusals.flush() //nolint:contextcheck // it reports what came before
	s.log.InfoContext(ctx, "api stopped", "address", s.Addr())
	return err
}
