package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// places opens the places in tasks again whose endpoints are gone. Others may take them
// then.
type places struct {
	store    Lost
	attempts atomic.Pointer[map[string]int]
	log      *slog.Logger
}

func newPlaces(store Lost, cfg Config, log *slog.Logger) *places {
	p := &places{store: store, log: log}
	p.attempts.Store(&cfg.Attempts)
	return p
}

// runOnce gives back those that were taken and not recorded, once no manager holds the
// endpoint any more, since it died in between; and passes on those of endpoints that are
// lost, where that is allowed.
func (p *places) runOnce(ctx context.Context) error {
	given, err := p.store.ReleasePlaces(ctx, pageSize)
	if len(given) > 0 {
		p.log.InfoContext(ctx, "gave back places that endpoints had taken and not recorded", "tasks", len(given))
	}
	passed, failed := p.store.PassOnPlaces(ctx, p.allowed, pageSize)
	if len(passed) > 0 {
		p.log.WarnContext(ctx, "passed on places of endpoints that are lost", "tasks", len(passed))
	}
	return errors.Join(err, failed)
}

// allowed returns how many attempts the retry policy of a type allows.
func (p *places) allowed(taskType string) int {
	return max(1, (*p.attempts.Load())[taskType])
}
