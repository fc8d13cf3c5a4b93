package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/bodies"
	"github.com/taskerhq/tasker/internal/fleetsize"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/problem"
)

// Server answers the requests of endpoints. Make one with [NewServer].
type Server struct {
	cfg      Config
	database Database
	auth     Authenticator
	log      *slog.Logger
	routes   map[string]route
	limits   *limits
	bodies   *bodies.Pool
	writers  *writers
	fleet    *fleet
	commands *commandWatch
	news     *news
}

// NewServer returns a server. Requests wait until [Server.Run].
func NewServer(cfg Config, stores Stores, auth Authenticator, notifier Notifier, log *slog.Logger) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, database: stores.Database, auth: auth, log: log,
		limits: newLimits(cfg.MaxRequests, cfg.MaxPerEndpoint), bodies: bodies.NewPool(cfg.MaxBodies), writers: newWriters(cfg, stores),
		fleet:    &fleet{size: fleetsize.New(stores.Endpoints, stores.Database.Now), shortest: cfg.Heartbeat, log: log},
		commands: &commandWatch{endpoints: stores.Endpoints, log: log},
		news:     newNews(stores.Live, notifier, log),
	}
	s.routes = s.writers.routes(stores, s.fleet, s.commands, s.news)
	return s
}

// Run writes what the requests bring, until ctx ends, and waits for the last
// write. Requests that wait then are answered with 503, so end it after the HTTP
// server.
func (s *Server) Run(ctx context.Context) {
	telling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { s.fleet.run(ctx) })
	group.Go(func() { s.commands.run(ctx) })
	group.Go(func() { s.news.run(telling) })
	s.writers.run(ctx)
	stop()
	group.Wait()
}

// Handler returns the handler of all paths under [protocol.Prefix].
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// HTTPServer returns an HTTP server for the handler, for many endpoints that are
// idle most of the time.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute, // with the reading and the work
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// idleTimeout is longer than the longest time between two heartbeats, so that an
// idle endpoint keeps its connection.
const idleTimeout = 3 * time.Minute

// serve answers a request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	answer, err := s.answer(r)
	if tasker.CodeOf(err) == tasker.TooLarge {
		bodies.Drop(r)
	}
	header := w.Header()
	header.Set(protocol.HeaderRevision, strconv.Itoa(protocol.Revision))
	header.Set(protocol.HeaderTime, s.database.Now().Format(time.RFC3339Nano))
	header.Set(protocol.HeaderTook, strconv.FormatInt(time.Since(begin).Microseconds(), 10))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.write(w, "application/json", http.StatusOK, answer)
}

// answer returns the answer to a request. Nothing is done for a request before
// its caller is known, and found to be the endpoint that the request is about.
func (s *Server) answer(r *http.Request) (any, error) {
	name, ok := strings.CutPrefix(r.URL.Path, protocol.Prefix)
	route, known := s.routes[name]
	switch {
	case !ok || !known:
		return nil, tasker.Errorf(tasker.NotFound, "unknown operation %q: this gateway speaks revision %d", name, protocol.Revision)
	case r.Method != http.MethodPost:
		return nil, tasker.Errorf(problem.MethodNotAllowed, "method not allowed: use POST")
	}
	if err := s.limits.enter(); err != nil {
		return nil, err
	}
	defer s.limits.leave()
	caller, err := s.caller(r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.enterFor(caller, name == protocol.OpHeartbeat); err != nil {
		return nil, err
	}
	defer s.limits.leaveFor(caller)
	request := route.new()
	release, err := s.read(r, request)
	defer release()
	if err != nil {
		return nil, err
	}
	if err := permit(caller, request); err != nil {
		return nil, err
	}
	return route.serve(r.Context(), request)
}

// permit refuses a request about another endpoint than its caller's.
func permit(caller string, request protocol.Request) error {
	if named := request.Named(); named != caller {
		return tasker.Errorf(tasker.Forbidden, "request about endpoint %q with the token of endpoint %q", clip(named), caller)
	}
	return nil
}

// caller returns the endpoint whose token a request has.
func (s *Server) caller(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", tasker.Errorf(tasker.Unauthorized, `no token: send the header "Authorization: Bearer TOKEN" with the endpoint's token`)
	}
	return s.auth.Endpoint(r.Context(), token)
}

// read reads and decodes the body of a request. release frees its memory.
func (s *Server) read(r *http.Request, into protocol.Request) (release func(), err error) {
	if r.ContentLength > s.cfg.MaxBody {
		return func() {}, bodies.TooLarge(s.cfg.MaxBody)
	}
	body, release, err := s.bodies.Read(io.LimitReader(r.Body, s.cfg.MaxBody+1))
	switch {
	case tasker.CodeOf(err) == tasker.Overloaded:
		return release, err
	case err != nil:
		// A slow or cut connection: nothing is wrong with what it would have brought.
		return release, tasker.WrapError(tasker.Unavailable, err, "incomplete body: send it again")
	case int64(len(body)) > s.cfg.MaxBody:
		return release, bodies.TooLarge(s.cfg.MaxBody)
	}
	theirs, _ := strconv.Atoi(r.Header.Get(protocol.HeaderRevision))
	return release, protocol.Decode(body, theirs > protocol.Revision, into)
}

// requestID returns a new name for a request in the log.
func requestID() string { return ulid.Make().String() }
