// Package api is the HTTP server of tasker: it takes tasks, hands them to the
// broker, and answers what became of them. The contract is openapi.yaml, served
// at /openapi.yaml; the tests hold every answer against it.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/taskerhq/tasker"
)

// Limits of the server. They bound what a slow or hostile client can hold.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	// requestTimeout ends the context of a request before writeTimeout cuts
	// its connection, so that a hanging database is answered with 503.
	requestTimeout = 30 * time.Second
)

// Store is what the API needs of the database. Its errors are [tasker.Error]s;
// a database that cannot be reached is [tasker.Unavailable].
type Store interface {
	// CreateTask stores a task as CREATED. created is false where the same
	// task (same type, identifier and body) existed already, which is then
	// given; the same identifier with another body is a [tasker.Conflict].
	// Of t it takes Type, Identifier, Payload and Endpoints (nil, or sorted
	// and unique).
	CreateTask(ctx context.Context, t tasker.Task) (stored tasker.Task, created bool, err error)
	// FindTask returns a task, or a [tasker.NotFound] error. PeekTask leaves out
	// a payload that is longer than maxPayload bytes, and sets PayloadSize.
	FindTask(ctx context.Context, taskType, identifier string) (tasker.Task, error)
	PeekTask(ctx context.Context, taskType, identifier string, maxPayload int64) (tasker.Task, error)
	// TaskName returns the names of the task of an id, or a [tasker.NotFound]
	// error.
	TaskName(ctx context.Context, id int64) (taskType, identifier string, err error)
	// PeekResults returns a task's results, sorted by endpoint, likewise without
	// the payloads that are longer. ResultsOf returns those of some endpoints
	// whole.
	PeekResults(ctx context.Context, taskID, maxPayload int64) ([]tasker.TaskResult, error)
	ResultsOf(ctx context.Context, taskID int64, endpoints []string) ([]tasker.TaskResult, error)
	// Aggregate computes the status of tasks from their results and stores
	// those that changed, guarded by the table of legal moves. changed counts
	// them.
	Aggregate(ctx context.Context, taskIDs []int64, waitForEndpoints time.Duration) (changed int, err error)
	// ListTasks returns one page, and whether more follow.
	ListTasks(ctx context.Context, q tasker.TaskQuery) (tasks []tasker.Task, more bool, err error)
	ListEndpoints(ctx context.Context, q tasker.EndpointQuery) ([]tasker.Endpoint, error)
	// ListDeadLetters gives at most the first [tasker.DeadLetterPreview] bytes
	// of each body.
	ListDeadLetters(ctx context.Context, q tasker.DeadLetterQuery) ([]tasker.DeadLetter, error)
	// FindDeadLetter and DeleteDeadLetter give a [tasker.NotFound] error where
	// there is no such letter.
	FindDeadLetter(ctx context.Context, id int64) (tasker.DeadLetter, error)
	DeleteDeadLetter(ctx context.Context, id int64) error
	// FindResult gives an endpoint's result for a task, or a [tasker.NotFound]
	// error.
	FindResult(ctx context.Context, taskID int64, endpoint string) (tasker.TaskResult, error)
	// Attempts gives the attempts of a result, oldest first.
	Attempts(ctx context.Context, taskID int64, endpoint string) ([]tasker.Attempt, error)
	// LogLines gives lines of an attempt from a number on, in order, one at
	// least where there is one. Some may be before that number, and there may be
	// more than limit.
	LogLines(ctx context.Context, taskID int64, endpoint string, attempt int, from int64, limit int) ([]tasker.LogLine, error)
	// LogChunksAfter gives at most limit pieces of a task's logs, by ID.
	LogChunksAfter(ctx context.Context, taskID, afterID int64, limit int) ([]tasker.LogChunk, error)
	// ChangedTasks returns at most limit tasks, without their payloads, in the
	// order in which they changed last; the position behind which it goes on;
	// and whether there are more. Those that known reports are left out.
	ChangedTasks(ctx context.Context, after tasker.ChangePosition, limit int, known func(tasker.ChangePosition) bool) (tasks []tasker.Task, next tasker.ChangePosition, more bool, err error)
	// ResultNews returns those of the results named that there are, in no
	// order.
	ResultNews(ctx context.Context, keys []tasker.ResultKey) ([]tasker.ResultNews, error)
	// Now is the database's clock, in UTC.
	Now() time.Time
	// Ping tells whether the database answers.
	Ping(ctx context.Context) error
	// CheckWrites reports why the database takes no writes, without making any.
	CheckWrites(ctx context.Context) error
}

// Dispatcher hands tasks to the broker.
type Dispatcher interface {
	// Check returns an error of code [tasker.TooLarge] for a task, not stored
	// yet, that the broker is known to refuse for its size.
	Check(t tasker.Task) error
	// Dispatch publishes a CREATED task and marks it SENT, within a time limit
	// of its own. On an error the task stays CREATED and the relay sends it
	// later; the task given back is the newest known.
	Dispatch(ctx context.Context, t tasker.Task) (tasker.Task, error)
}

// Requeuer sends dead letters back.
type Requeuer interface {
	// Requeue sends a dead letter to the queue that it came from. It gives
	// [tasker.NotFound] where there is no such letter and [tasker.Conflict]
	// where it cannot be sent back; the letter stays on every error.
	Requeue(ctx context.Context, id int64) error
}

// Remover removes endpoints.
type Remover interface {
	// Remove removes an endpoint that is not alive and returns how many open
	// tasks do not expect it any more. Its errors are [tasker.NotFound] and, where
	// its manager lives, [tasker.Conflict]. queuesLeft reports that its queues are
	// deleted later.
	Remove(ctx context.Context, name string) (removal tasker.Removal, tasks int, queuesLeft bool, err error)
}

// Broker is what the API needs of the message broker.
type Broker interface {
	// Ready gives nil, or the reason why a publish could not be sent now.
	Ready() error
	// Listen calls handle for each event whose key matches the pattern, until
	// ctx ends; then it gives nil. Events may be lost.
	Listen(ctx context.Context, pattern string, handle func(key string, body []byte)) error
}

// Deps are what the API works with; all are needed.
type Deps struct {
	Store      Store
	Dispatcher Dispatcher
	Requeuer   Requeuer
	Remover    Remover
	Broker     Broker
	Log        *slog.Logger
}

// Server is the HTTP server. Its zero value is of no use: see [New].
type Server struct {
	cfg        Config
	store      Store
	dispatcher Dispatcher
	requeuer   Requeuer
	remover    Remover
	broker     Broker
	log        *slog.Logger
	auth       Authenticator
	refusals   *refusals
	bodies     *bodies
	origins    *http.CrossOriginProtection // of requests that change something
	types      atomic.Pointer[taskTypes]
	posts      *gate
	gets       *gate
	reads      *byteGate // of what GETs read
	streams    *streams
	handler    http.Handler
	http       *http.Server
	listener   net.Listener
}

// New makes a server of a valid configuration; it does not listen yet.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil || deps.Dispatcher == nil || deps.Requeuer == nil || deps.Remover == nil || deps.Broker == nil || deps.Log == nil {
		return nil, errors.New("api: Deps needs a Store, a Dispatcher, a Requeuer, a Remover, a Broker and a Log")
	}
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, store: deps.Store, dispatcher: deps.Dispatcher, requeuer: deps.Requeuer, remover: deps.Remover, broker: deps.Broker, log: deps.Log,
		auth: newAuthenticator(cfg.Token, cfg.TokenOverlap), refusals: newRefusals(deps.Log), bodies: &bodies{most: cfg.MaxBodies}, origins: http.NewCrossOriginProtection(),
		posts: newGate(cfg.MaxConcurrent), gets: newGate(cfg.MaxConcurrent), reads: newByteGate(maxReadBytes),
	}
	if err := s.SetTaskTypes(cfg.TaskTypes); err != nil {
		return nil, err
	}
	s.streams = newStreams(cfg.MaxStreams, cfg.MaxStreamsPerAddress, newHub(deps.Broker, deps.Store, deps.Log))
	s.handler = s.middleware(s.router())
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelWarn),
		// "OPTIONS *" would otherwise be answered without authentication.
		DisableGeneralOptionsHandler: true,
	}
	// Streams have no end of their own: they would hold up the stop.
	s.http.RegisterOnShutdown(s.streams.stop)
	return s, nil
}

// Handler gives the whole API, with its middleware.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen takes the address, so that an address that is in use is known before
// anything else starts. Requests wait until [Server.Serve] runs.
func (s *Server) Listen() error {
	address := s.cfg.address()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("api: listen on %s (api.listen, api.port): %w", address, err)
	}
	if s.cfg.guardsHost() && !listensOnLoopback(l) {
		_ = l.Close()
		return fmt.Errorf("api: %q stands for %s, which other machines can reach, and no token protects it: set api.token_file, or api.listen to 127.0.0.1", s.cfg.Listen, l.Addr())
	}
	s.listener = newBoundedListener(l, s.cfg.MaxConnections, s.cfg.MaxConnectionsPerAddress, s.log)
	return nil
}

// SetToken exchanges the token; the one of before stays valid for
// Config.TokenOverlap. A server that began without a token stays open, and an
// empty token changes nothing: both need another start.
func (s *Server) SetToken(token string) {
	if tokens, ok := s.auth.(*bearerTokens); ok && token != "" {
		tokens.set(token)
	}
}

// listensOnLoopback looks at what a name such as localhost turned out to be.
func listensOnLoopback(l net.Listener) bool {
	addr, ok := l.Addr().(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// Addr is the address listened on, host:port, with the port that was taken
// where the configuration left it free; empty before [Server.Listen].
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Close gives back the address of a server that listens but shall not serve.
// A server that serves is ended by the context of [Server.Serve].
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("api: close the listener: %w", err)
	}
	return nil
}

// Serve answers requests until ctx ends. Then it takes no more, ends the
// streams of events, lets the requests that run go on for Config.ShutdownTimeout, and gives nil, or an error where
// some had to be cut off. It listens first where [Server.Listen] was not
// called. A server serves once.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	s.log.InfoContext(ctx, "the API listens", "address", s.Addr())
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("api: serve on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(limit)
	if err != nil {
		err = fmt.Errorf("api: requests still ran after %s and were cut off: %w", s.cfg.ShutdownTimeout, errors.Join(err, s.http.Close()))
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("api: serve on %s: %w", s.Addr(), end))
	}
	s.log.InfoContext(ctx, "the API has stopped", "address", s.Addr())
	return err
}
