package reconcile

import (
	"context"
	"log/slog"
)

// places gives back the places in tasks that endpoints have taken and not recorded, once no
// manager holds them any more: the manager died in between. Others may take them then.
type places struct {
	store Lost
	log   *slog.Logger
}

func (p *places) runOnce(ctx context.Context) error {
	tasks, err := p.store.ReleasePlaces(ctx, pageSize)
	if len(tasks) > 0 {
		p.log.InfoContext(ctx, "gave back places that endpoints had taken and not recorded", "tasks", len(tasks))
	}
	return err
}
