package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/taskerhq/tasker/client"
)

// probes answer whether a gateway lives and is ready. Anybody who can reach it may
// ask, so they say nothing else, and the services are asked once a second at most.
type probes struct {
	database interface {
		CheckWrites(ctx context.Context) error
	}
	broker interface {
		Ready() error
	}
	version string
	log     *slog.Logger

	mu     sync.Mutex
	looked time.Time
	state  client.Readiness
}

const (
	probeTimeout = 2 * time.Second
	probePeriod  = time.Second
)

// alive serves GET /healthz: the process runs.
func (p *probes) alive(w http.ResponseWriter, _ *http.Request) {
	p.write(w, http.StatusOK, client.Health{Status: "alive", Version: p.version})
}

// ready serves GET /readyz: 503 if the database or the broker cannot be reached.
func (p *probes) ready(w http.ResponseWriter, r *http.Request) {
	state := p.look(r.Context())
	if state.Status == "ready" {
		p.write(w, http.StatusOK, state)
		return
	}
	w.Header().Set("Retry-After", "5")
	p.write(w, http.StatusServiceUnavailable, state)
}

func (p *probes) look(ctx context.Context) client.Readiness {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) < probePeriod {
		return p.state
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	check := func(err error, message string) client.Check {
		if err == nil {
			return client.Check{OK: true}
		}
		p.log.WarnContext(ctx, "not ready", "err", err)
		return client.Check{Error: message}
	}
	p.state = client.Readiness{Status: "not ready", Checks: client.Checks{
		Database: check(p.database.CheckWrites(ctx), "database cannot be reached"),
		Broker:   check(p.broker.Ready(), "message broker not connected"),
	}}
	if p.state.Checks.Database.OK && p.state.Checks.Broker.OK {
		p.state.Status = "ready"
	}
	p.looked = time.Now()
	return p.state
}

func (*probes) write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // an error means that the client disconnected
}
