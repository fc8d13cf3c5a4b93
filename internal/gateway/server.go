package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/gateway/protocol"
	"github.com/taskerhq/tasker/internal/problem"
)

// Server answers the requests of endpoints. Make one with [NewServer].
type Server struct {
	cfg    Config
	stores Stores
	auth   Authenticator
	log    *slog.Logger
	routes map[string]route
}

// NewServer returns a server. Requests wait until [Server.Run].
func NewServer(cfg Config, stores Stores, auth Authenticator, notifier Notifier, log *slog.Logger) *Server {
	s := &Server{cfg: cfg.withDefaults(), stores: stores, auth: auth, log: log}
	_ = notifier
	s.routes = s.operations()
	return s
}

// Run writes what the requests bring, until ctx ends, and waits for the last
// write. Requests that wait then are answered with 503.
func (s *Server) Run(ctx context.Context) {
	<-ctx.Done()
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
	header := w.Header()
	header.Set(protocol.HeaderRevision, strconv.Itoa(protocol.Revision))
	header.Set(protocol.HeaderTime, s.stores.Database.Now().Format(time.RFC3339Nano))
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
	caller, err := s.caller(r)
	if err != nil {
		return nil, err
	}
	request := route.new()
	if err := s.read(r, request); err != nil {
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
		return tasker.Errorf(problem.Forbidden, "request about endpoint %q with the token of endpoint %q", clip(named), caller)
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

// read reads and decodes the body of a request.
func (s *Server) read(r *http.Request, into protocol.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, s.cfg.MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tasker.Errorf(tasker.TooLarge, "body too large: the limit is %d bytes", s.cfg.MaxBody)
	}
	if err != nil {
		return tasker.WrapError(tasker.Malformed, err, "read body failed")
	}
	theirs, _ := strconv.Atoi(r.Header.Get(protocol.HeaderRevision))
	return protocol.Decode(body, theirs > protocol.Revision, into)
}

// requestID returns a new name for a request in the log.
func requestID() string { return ulid.Make().String() }
