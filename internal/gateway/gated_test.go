package gateway_test

import (
	"context"

	"github.com/taskerhq/tasker/internal/gateway"
	"github.com/taskerhq/tasker/internal/ledger"
	"github.com/taskerhq/tasker/internal/store"
)

// gated is a database whose writes wait until the gate is open, and may fail.
type gated struct {
	gateway.Endpoints
	gateway.Results
	attempts
	gateway.Work
	gateway.Live
	gateway.Database
	entered chan string
	gate    chan struct{}
	fail    func(rows []ledger.End) error
}

func newGated(s *store.Store) *gated {
	return &gated{
		Endpoints: s.Endpoints, Results: s.Inbox, attempts: s.Attempts, Work: s.Attempts, Live: s.Live, Database: s.DB,
		entered: make(chan string, 1000), gate: make(chan struct{}), fail: func([]ledger.End) error { return nil },
	}
}

func (g *gated) stores() gateway.Stores {
	return gateway.Stores{Endpoints: g, Results: g, Attempts: g, Work: g, Live: g, Database: g}
}

func (g *gated) enter(ctx context.Context, what string) error {
	g.entered <- what
	select {
	case <-g.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gated) RenewLeases(ctx context.Context, list []ledger.Renewal) ([]bool, error) {
	if err := g.enter(ctx, "heartbeat"); err != nil {
		return nil, err
	}
	return g.Endpoints.RenewLeases(ctx, list)
}

func (g *gated) ReceiveResults(ctx context.Context, list []ledger.Incoming) ([]ledger.Recording, error) {
	if err := g.enter(ctx, "receive"); err != nil {
		return nil, err
	}
	return g.Results.ReceiveResults(ctx, list)
}

func (g *gated) StartAttempts(ctx context.Context, list []ledger.Start) ([]bool, error) {
	if err := g.enter(ctx, "start"); err != nil {
		return nil, err
	}
	return g.attempts.StartAttempts(ctx, list)
}

func (g *gated) FinishAttempts(ctx context.Context, list []ledger.End) ([]bool, error) {
	if err := g.enter(ctx, "finish"); err != nil {
		return nil, err
	}
	if err := g.fail(list); err != nil {
		return nil, err
	}
	return g.attempts.FinishAttempts(ctx, list)
}

func (g *gated) SaveLive(ctx context.Context, list []ledger.LiveUpdate) error {
	if err := g.enter(ctx, "live"); err != nil {
		return err
	}
	return g.Live.SaveLive(ctx, list)
}
