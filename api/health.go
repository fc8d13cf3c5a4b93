package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/client"
)

// pingTimeout is how long /readyz waits for the database.
const pingTimeout = 2 * time.Second

// Database is the database itself.
type Database interface {
	// Now returns the database's time, in UTC.
	Now() time.Time
	// Ping returns an error if the database does not answer.
	Ping(ctx context.Context) error
	// CheckWrites returns why the database accepts no writes, without making any.
	CheckWrites(ctx context.Context) error
}

// healthHandlers serve the probes.
type healthHandlers struct {
	db      Database
	broker  Broker
	version string
	log     *slog.Logger
}

// alive serves GET /healthz: the process runs. It checks nothing else, so that
// an outage elsewhere does not get the API restarted.
func (h *healthHandlers) alive(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, client.Health{Status: "alive", Version: h.version})
}

// ready serves GET /readyz: 503 if the database or the broker cannot be reached,
// or the database accepts no writes. Without the broker tasks are still accepted,
// as CREATED, but not distributed, which is what whoever asks wants to know.
func (h *healthHandlers) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	checks := client.Checks{
		Database: h.check(r, h.db.CheckWrites(ctx), "database cannot be reached"),
		Broker:   h.check(r, h.broker.Ready(), "message broker not connected"),
	}
	if checks.Database.OK && checks.Broker.OK {
		return writeJSON(w, http.StatusOK, client.Readiness{Status: "ready", Checks: checks})
	}
	w.Header().Set("Retry-After", retryAfter)
	return writeJSON(w, http.StatusServiceUnavailable, client.Readiness{Status: "not ready", Checks: checks})
}

// serveMetrics serves GET /metrics.
func serveMetrics(exposition http.Handler) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		exposition.ServeHTTP(w, r)
		return nil
	}
}

// check shows an error's own message only if it was written for clients: that of
// a driver may contain addresses and credentials, and goes to the log.
func (h *healthHandlers) check(r *http.Request, err error, message string) client.Check {
	if err == nil {
		return client.Check{OK: true}
	}
	h.log.WarnContext(r.Context(), "not ready", "err", err, "request_id", requestInfoOf(r).id)
	if e, ok := errors.AsType[*tasker.Error](err); ok {
		message = e.Message
	}
	return client.Check{Error: message}
}
