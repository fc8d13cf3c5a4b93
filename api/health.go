package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/taskerhq/tasker"
)

// pingTimeout is how long /readyz waits for the database.
const pingTimeout = 2 * time.Second

// health answers GET /healthz: the process lives. It asks nobody, so that an
// outage elsewhere does not get the API restarted.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, struct {
		Status  string `json:"status"`
		Version string `json:"version"`
	}{"alive", s.cfg.Version})
}

// check is the state of one thing that the API needs.
type check struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

type readyChecks struct {
	Database check `json:"database"`
	Broker   check `json:"broker"`
}

type readyAnswer struct {
	Status string      `json:"status"`
	Checks readyChecks `json:"checks"`
}

// ready answers GET /readyz: 503 where the database or the broker is away, or
// the database takes no writes.
// Without the broker tasks are still accepted, as CREATED, but nothing is
// distributed, which is what whoever asks wants to know.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	checks := readyChecks{
		Database: s.check(r, s.store.CheckWrites(ctx), "the database cannot be reached"),
		Broker:   s.check(r, s.broker.Ready(), "the message broker is not connected"),
	}
	if checks.Database.OK && checks.Broker.OK {
		return writeJSON(w, http.StatusOK, readyAnswer{Status: "ready", Checks: checks})
	}
	w.Header().Set("Retry-After", retryAfter)
	return writeJSON(w, http.StatusServiceUnavailable, readyAnswer{Status: "not ready", Checks: checks})
}

// check shows an error's own message only where it was written for clients:
// a driver's may hold addresses and credentials, and goes to the log.
func (s *Server) check(r *http.Request, err error, message string) check {
	if err == nil {
		return check{OK: true}
	}
	s.log.WarnContext(r.Context(), "not ready", "err", err, "request_id", requestInfoOf(r).id)
	if e, ok := errors.AsType[*tasker.Error](err); ok {
		message = e.Message
	}
	return check{Error: message}
}
