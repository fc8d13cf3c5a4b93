package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/internal/observe"
	"github.com/taskerhq/tasker/internal/x/netlimit"
	"github.com/taskerhq/tasker/internal/x/text"
)

// requestInfo is what the access log says about a request; inner handlers fill
// it in.
type requestInfo struct {
	id        string
	route     string // the route's template; empty if no route matched
	principal string // empty before authentication
}

type requestInfoKey struct{}

// requestInfoOf returns the info that the outermost middleware stored.
func requestInfoOf(r *http.Request) *requestInfo { return contextInfo(r.Context()) }

func contextInfo(ctx context.Context) *requestInfo {
	if info, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		return info
	}
	return &requestInfo{}
}

// middleware is what every request passes before the router.
type middleware struct {
	problems problems
	log      *slog.Logger
	refusals *refusals
	metrics  observe.APIMetrics
	guard    guard
}

func newMiddleware(
	cfg Config, auth Authenticator, problems problems, open map[string]bool, metrics observe.APIMetrics,
) *middleware {
	return &middleware{
		problems: problems, log: problems.log, refusals: newRefusals(problems.log), metrics: metrics,
		guard: guard{problems: problems, auth: auth, open: open, loopbackOnly: cfg.guardsHost(), origins: http.NewCrossOriginProtection()},
	}
}

// wrap puts the access log outermost, so that every response is in it, then the
// recovery from panics, then authentication.
func (m *middleware) wrap(router http.Handler) http.Handler {
	return m.accessLog(m.recoverPanic(securityHeaders(m.guard.authenticate(router))))
}

// accessLog gives each request an id and logs it when it is answered.
func (m *middleware) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		info := &requestInfo{id: r.Header.Get("X-Request-Id")}
		if !validRequestID(info.id) {
			info.id = ulid.Make().String()
		}
		w.Header().Set("X-Request-Id", info.id)
		r = r.WithContext(context.WithValue(r.Context(), requestInfoKey{}, info))
		rec := &recorder{ResponseWriter: w}
		defer func() { m.logAccess(r, rec, info, time.Since(start)) }()
		next.ServeHTTP(rec, r)
	})
}

// logAccess logs and counts an answer. It omits headers and the query: they may contain secrets.
func (m *middleware) logAccess(r *http.Request, rec *recorder, info *requestInfo, took time.Duration) {
	status, written := rec.status, rec.bytes
	if status == 0 {
		status = http.StatusOK
	}
	if r.Method == http.MethodHead {
		written = 0
	}
	m.metrics.Answered(info.route, r.Method, status, took)
	rejected := status == http.StatusUnauthorized || status == http.StatusMisdirectedRequest
	if info.principal == "" && rejected && !m.refusals.count(netlimit.Host(r.RemoteAddr)) { //nolint:contextcheck // it reports later
		return
	}
	level := accessLevel(info.route, status)
	if level == slog.LevelInfo && ofPage(r) {
		level = slog.LevelDebug // the page itself is logged
	}
	m.log.LogAttrs(r.Context(), level, "request",
		slog.String("method", clip(r.Method, 16)),
		slog.String("route", info.route),
		slog.String("path", clip(r.URL.Path, 256)),
		slog.Int("status", status),
		slog.Int64("bytes", written),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("remote", r.RemoteAddr),
		slog.String("request_id", info.id),
		slog.String("principal", info.principal),
	)
}

func accessLevel(route string, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		return slog.LevelError
	case status >= http.StatusBadRequest:
		return slog.LevelWarn // 503 too: it means overload, or an outage that is logged elsewhere
	case route == routeHealth || route == routeReady || route == routeMetrics:
		return slog.LevelDebug // probes come every few seconds
	}
	return slog.LevelInfo
}

// recoverPanic turns a handler's panic into a 500; the server keeps running.
func (m *middleware) recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { //nolint:contextcheck // r has the context
			value := recover()
			if value == nil {
				return
			}
			if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(value)
			}
			m.log.ErrorContext(r.Context(), "handler panicked",
				"panic", fmt.Sprint(value), "stack", string(debug.Stack()), "request_id", requestInfoOf(r).id)
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler) // part of the response is written: abort it
			}
			m.problems.write(w, r, tasker.Internal, internalDetail, nil)
		}()
		next.ServeHTTP(w, r)
	})
}

func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// recorder records the status and the size of a response.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap returns the underlying writer, for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// validRequestID reports whether a client's id may go into the log:
// [A-Za-z0-9._-]{1,64}.
func validRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// clip shortens text from a client for logs and messages.
func clip(s string, limit int) string {
	return text.Shorten(s, limit)
}
