package observe

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/taskerhq/tasker/internal/x/clock"
)

// Handler serves the metrics of a registry to Prometheus.
func Handler(r *Registry) http.Handler {
	// A metric that cannot be read is left out, and the others are served.
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Config says where a manager serves its metrics.
type Config struct {
	// Listen is host:port, or a port, which means that of 127.0.0.1. If it is
	// empty, nothing is served. There is no authentication: whoever can reach the
	// address may read the metrics.
	Listen string
}

// Address returns the address to listen on, host:port; it is empty if nothing is to
// be served.
func (c Config) Address() (string, error) {
	if c.Listen == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		host, port = "", c.Listen
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strings.ContainsAny(host, " \t\r\n/") {
		return "", fmt.Errorf("must be a port, or an address and a port such as 127.0.0.1:9464, got %q", c.Listen)
	} else if host == "" {
		host, port = "127.0.0.1", strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(host, port), nil
}

const (
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 5 * time.Minute
	maxHeader    = 16 << 10
	// listenAgain is the pause before an address in use is tried again.
	listenAgain = 5 * time.Second
)

// Serve serves the metrics of a registry at /metrics, on an address of its own, until
// ctx ends; if c names no address, it does nothing. While the address is in use, as it
// may be by the manager that this one replaces, it tries again: the work must not wait
// for its metrics.
func Serve(ctx context.Context, c Config, r *Registry, log *slog.Logger) {
	address, err := c.Address()
	if err != nil || address == "" {
		return // a configuration is checked before
	}
	for warned := false; ctx.Err() == nil; _ = clock.Sleep(ctx, listenAgain) {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			log.InfoContext(ctx, "metrics listening", "address", l.Addr().String())
			err, warned = serve(ctx, l, r, log), false
		}
		if err != nil && ctx.Err() == nil && !warned {
			log.WarnContext(ctx, "metrics not served: trying again", "address", address, "key", "manager.metrics.listen", "err", err)
			warned = true
		}
	}
}

// serve serves until ctx ends. It aborts requests in progress: whoever scrapes comes
// again.
func serve(ctx context.Context, l net.Listener, r *Registry, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", Handler(r))
	server := &http.Server{
		Handler: guardHost(l, mux), ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(closed); _ = server.Close() })
	err := server.Serve(l)
	if !stop() {
		<-closed // it has closed the connections
	}
	return err
}

// guardHost rejects requests for foreign host names if l can be reached from this
// machine only: a web page that somebody visits here can make its own name resolve
// to 127.0.0.1, and would read the metrics.
func guardHost(l net.Listener, next http.Handler) http.Handler {
	if addr, ok := l.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if !strings.EqualFold(host, "localhost") && (err != nil || !addr.Unmap().IsLoopback()) {
			http.Error(w, "host not allowed: use localhost or 127.0.0.1", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
